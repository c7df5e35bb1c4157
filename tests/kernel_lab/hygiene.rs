//! Nothing of the host changes, and labs do not touch each other.

use crate::host::{Snapshot, TestLab, host, lab, run};

/// What is done to a lab, in words, and doing it.
type Deed<'a> = (&'a str, &'a dyn Fn(&TestLab));

#[test]
fn the_host_is_the_same_before_a_lab_and_after_it() {
    let Some(_host) = host() else { return };
    let table: [Deed<'_>; 4] = [
        ("after down", &|it| {
            lab(&format!("down {}", it.name)).ok();
        }),
        ("after the daemon was killed, and down", &|it| {
            it.kill_daemon();
            lab(&format!("down {}", it.name)).ok();
        }),
        ("after a peer was disabled, a link cut, and down", &|it| {
            lab("peer disable n1 n2").ok();
            lab("link down n3:eth0").ok();
            lab(&format!("down {}", it.name)).ok();
        }),
        ("after an `up` that found it up, and down", &|it| {
            lab(&format!("up {}", it.file.display())).fails(3, &["is up"]);
            lab(&format!("down {}", it.name)).ok();
        }),
    ];
    for (when, end) in table {
        let mesh = TestLab::mesh("t-hygiene", 3, "fast");
        let before = Snapshot::take();
        let mesh = mesh.up();
        end(&mesh);
        before.assert_same(when);
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{when}");
    }
}

#[test]
fn a_namespace_of_a_wanted_name_that_is_not_ours_stays_and_the_host_is_the_same() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-taken", 3, "fast");
    // Bare as `ip netns add` leaves it, and in use.
    for (taken, used) in [("t-taken-n1", false), ("t-taken-n3-pod1", true), ("t-taken-fabric", false)] {
        run("ip", &format!("netns add {taken}")).ok();
        if used {
            run("ip", &format!("-n {taken} link add theirs type bridge")).ok();
        }
        let before = Snapshot::take();
        let said = lab(&format!("up {}", mesh.file.display())).fails(3, &[taken, "not of lab `t-taken`"]);
        before.assert_same("after `up` found a name taken");
        run("ip", &format!("netns del {taken}")).ok();
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn labs_of_the_same_addresses_do_not_touch_each_other() {
    let Some(_host) = host() else { return };
    let remove: [Deed<'_>; 2] = [
        ("down", &|first| {
            lab("down t-hyg").ok();
            assert_eq!(first.remains(), Vec::<String>::new());
        }),
        ("killed", &|first| {
            first.kill_daemon();
            assert_eq!(states(), [("t-hyg".into(), "broken".into()), ("t-hyg-2".into(), "up".into())]);
            lab("status t-hyg").fails(3, &["broken", "lab down t-hyg"]);
            lab("down t-hyg").ok();
        }),
    ];
    let second = TestLab::mesh("t-hyg-2", 3, "fast");
    for (how, remove) in remove {
        let before = Snapshot::take();
        let first = TestLab::mesh("t-hyg", 3, "fast").up();
        lab(&format!("up {}", second.file.display())).ok();
        assert_eq!(states(), [("t-hyg".into(), "up".into()), ("t-hyg-2".into(), "up".into())]);
        let look = || {
            let places = ["n1", "n2", "n3", "n1-pod1"];
            places.map(|place| second.inside(place, "ip route show table all"))
        };
        let (routes, daemon) = (look(), second.pid());
        remove(&first);
        assert_eq!(look(), routes, "{how}");
        assert_eq!(second.pid(), daemon, "{how}");
        lab("status t-hyg-2").ok();
        lab("ping n1-pod1 n3-pod1 -c 1").ok();
        assert_eq!(states(), [("t-hyg-2".into(), "up".into())]);
        lab("down").ok();
        before.assert_same(how);
    }
}

/// Names and states as `lab ls` tells them.
fn states() -> Vec<(String, String)> {
    let rows = lab("ls -o json").json();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "lab"), text(row, "state"))).collect()
}

#[test]
fn down_of_several_labs_wants_a_name_or_all() {
    let Some(_host) = host() else { return };
    let first = TestLab::mesh("t-several-1", 1, "fast").up();
    let second = TestLab::mesh("t-several-2", 1, "fast").up();
    lab("down").fails(2, &["t-several-1", "t-several-2", "--all"]);
    lab("status").fails(2, &["t-several-1", "t-several-2"]);
    lab("ping n1 n1-pod1").fails(2, &["--lab", "t-several-1", "t-several-2"]);
    lab("ping --lab t-several-2 n1 n1-pod1 -c 1").ok();
    lab("down --all").ok();
    assert_eq!((first.remains(), second.remains()), (vec![], vec![]));
    lab("down --all").ok();
    lab("down").fails(3, &["no lab exists"]);
    lab("down t-several-1").fails(3, &["no lab `t-several-1` exists"]);
}

#[test]
fn down_needs_no_topology_file() {
    let Some(_host) = host() else { return };
    for by_file in [true, false] {
        let mesh = TestLab::mesh("t-nofile", 2, "fast").up();
        std::fs::remove_file(&mesh.file).unwrap();
        let what = if by_file { mesh.file.display().to_string() } else { mesh.name.clone() };
        lab(&format!("down {what}")).ok();
        assert_eq!(mesh.remains(), Vec::<String>::new());
        lab(&format!("down {what}")).fails(3, &[&what]);
    }
}
