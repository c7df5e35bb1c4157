//! What goes wrong with a lab that stands, or stands in the way: its daemon dead, its name taken, its convergence late.

use crate::host::{Snapshot, TestLab, eventually, host, lab};

#[test]
fn up_of_a_lab_that_is_up_does_it_no_harm() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-again", 3, "fast").up();
    let before = Snapshot::take();
    lab(&format!("up {}", mesh.file.display())).fails(3, &["lab `t-again` is up", "lab down t-again"]);
    before.assert_same("after a second `up`");
    lab("status t-again").ok();
    lab("ping n1-pod1 n2-pod1 -c 1").ok();
}

#[test]
fn a_lab_without_its_daemon_can_be_looked_at_and_removed() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-dead", 3, "fast").up();
    mesh.kill_daemon();
    let routes = lab("show n1 routes").ok();
    assert!(routes.contains("proto bird"), "{routes}");
    assert_eq!(lab("exec n1 -- echo here").ok(), "here\n");
    let ping = lab("ping n1-pod1 n3-pod1 -c 1").ok();
    assert!(ping.contains("ttl=62"), "{ping}");
    let broken = ["t-dead", "broken", "lab down t-dead"];
    for words in [
        "status".into(),
        "show n1 sessions".into(),
        "birdc n1 show protocols".into(),
        "calicoctl node status n1".into(),
        "peer disable n1 n2".into(),
        "link down n1:eth0".into(),
        format!("up {}", mesh.file.display()),
    ] {
        let said = lab(&words).fails(3, &broken);
        assert_eq!(said.lines().count(), 1, "{words}: {said}");
    }
    // Any number may look at once: none of them must take another for the daemon.
    let looking = std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..8).map(|_| scope.spawn(|| lab("ls -o json").json()[0]["state"].clone())).collect();
        lookers.into_iter().map(|looker| looker.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(looking, vec!["broken"; 8]);
    lab("down").ok();
    assert_eq!(mesh.remains(), Vec::<String>::new());
}

#[test]
fn a_lab_of_which_only_namespaces_are_left_is_broken_and_can_be_removed() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-forgot", 2, "fast").up();
    mesh.kill_daemon();
    std::fs::remove_dir_all(mesh.state()).unwrap();
    assert_eq!(lab("ls -o json").json()[0]["state"], "broken");
    lab("status t-forgot").fails(3, &["lab down t-forgot"]);
    lab("exec n1 -- true").fails(3, &["lab down t-forgot"]);
    lab(&format!("up {}", mesh.file.display())).fails(3, &["broken", "lab down t-forgot"]);
    lab("down t-forgot").ok();
    assert_eq!(mesh.remains(), Vec::<String>::new());
}

#[test]
fn a_lab_that_converges_late_stays_up_and_says_what_is_missing() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-late", 3, "calico");
    let late = lab(&format!("up --timeout 1ms {}", mesh.file.display()));
    let said = late.fails(1, &["has not converged within 1ms", "stays up"]);
    for fact in ["n1: session Mesh_10_7_0_12 is", "n2: session Mesh_10_7_0_13 is", "n3: session Mesh_10_7_0_11 is"] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    let status = lab("status t-late");
    assert_eq!(status.code, 1, "{}{}", status.stdout, status.stderr);
    assert!(status.stdout.contains("lab `t-late` has not converged:\n  n1: session"), "{}", status.stdout);
    let healthy = eventually("it converges", || Some(lab("status")).filter(|status| status.code == 0)).ok();
    assert!(healthy.contains("lab `t-late` is healthy"), "{healthy}");
}
