//! Verbs on a lab that stands, and verbs without root.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::{LAB, Running, TestLab, alive, command, eventually, host, lab, run, shell};

#[test]
fn without_root_one_line_says_what_to_type() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-nobody", 2, "fast").up();
    // Readable by everybody: only root is missing.
    let folder = mesh.folder.path();
    shell(&format!("chmod 755 {0}; cp {1} {0}/lab-copy; chmod 755 {0}/lab-copy", folder.display(), LAB)).ok();
    let scenario = folder.join("scenario.toml");
    let text = "topology = \"t-nobody-topology.toml\"\n\n[[step]]\nping = { from = \"n1\", to = \"n2\" }\n";
    fs::write(&scenario, text).unwrap();
    let program = folder.join("lab-copy");
    let nobody = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        Running::start(Command::new(&program).args(&words).current_dir(folder).uid(65534).gid(65534)).end()
    };
    for words in [
        "up t-nobody-topology.toml",
        "down t-nobody",
        "down --all",
        "ls",
        "status t-nobody",
        "test scenario.toml",
        "exec n1 -- true",
        "shell n1",
        "ping n1 n2",
        "curl n1 n2-pod1",
        "capture n1:eth0",
        "show n1 routes",
        "show n1 sessions",
        "calicoctl node status n1",
        "birdc n1 show protocols",
        "link down n1:eth0",
        "peer disable n1 n2",
    ] {
        let typed = format!("sudo {} {words}", program.display());
        let said = nobody(words).fails(3, &[&typed]);
        assert_eq!(said.lines().count(), 1, "{words}: {said}");
    }
    for words in [
        "check t-nobody-topology.toml scenario.toml",
        "plan t-nobody-topology.toml",
        "plan -o json t-nobody-topology.toml",
        "schema topology",
        "schema scenario",
        "calico block n1",
        "calico vtep-mac n1",
        "calico veth-name default.n1-pod1",
        "calico selector all()",
        "completions bash",
    ] {
        let said = nobody(words).ok();
        assert!(!said.is_empty() || words.starts_with("check"), "{words}");
    }
    lab("status t-nobody").ok();
}

#[test]
fn up_in_a_pipe_ends_and_the_daemon_keeps_nothing_of_its_caller() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-pipe", 2, "fast");
    let (nine, file) = (mesh.folder.path().join("nine"), mesh.file.display());
    shell(&format!("exec 9>{}; {LAB} up {file} 2>&1 | cat >/dev/null; exit ${{PIPESTATUS[0]}}", nine.display())).ok();
    let pid = mesh.pid().unwrap();
    let kept: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.unwrap().path()).ok()?.display().to_string()))
        .filter(|target| target.starts_with('/') || target.starts_with("pipe:"))
        .filter(|target| !["/run/netns/", "/run/lab/t-pipe/"].iter().any(|ours| target.starts_with(ours)))
        .filter(|target| target != "/dev/null")
        .collect();
    assert_eq!(kept, Vec::<String>::new());
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-reader", 2, "fast");
    for words in [format!("up {}", mesh.file.display()), "status".into(), "ls".into(), "down".into()] {
        // Nobody reads from the first moment on.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(LAB).args(words.split_whitespace()).stdout(writer).stderr(Stdio::piped()).output();
        let ended = ended.unwrap();
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""), "{words}");
    }
}

#[test]
fn exec_ends_as_the_command_ends() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-exec", 2, "fast").up();
    for (words, code) in [("true", 0), ("false", 1), ("sh -c exit\u{a0}7", 7), ("no-such-program", 127), ("/", 126)] {
        let arguments = words.split(' ').map(|word| word.replace('\u{a0}', " "));
        let ended = Running::start(Command::new(LAB).args(["exec", "n1", "--"]).args(arguments)).end();
        assert_eq!(ended.code, code, "{words}: {}", ended.stderr);
    }
    let killed = Running::start(Command::new(LAB).args(["exec", "n1", "--", "sh", "-c", "kill -TERM $$"])).end();
    assert_eq!(killed.code, 128 + 15);
    lab("exec n9 -- true").fails(2, &["no node or pod `n9`"]);
    // Inside it is the pod, for `ip` and for whoever reads /sys.
    let addresses = lab("exec n1-pod1 -- ip -o -4 address show dev eth0").ok();
    assert!(addresses.contains("/32 scope global eth0"), "{addresses}");
    assert_eq!(lab("exec n1-pod1 -- ls /sys/class/net").ok(), "eth0\nlo\n");
    assert_eq!(lab("exec n1-pod1 -- ip netns identify").ok().trim(), mesh.netns("n1-pod1"));
}

#[test]
fn what_was_started_inside_is_gone_after_down() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-inside", 2, "fast").up();
    // One that ends when told, and one that does not listen.
    let deaf = [
        "exec",
        "n2-pod1",
        "--",
        "bash",
        "-c",
        "trap '' TERM HUP INT; echo deaf >&2; while :; do read -t 1000 <> <(:) || :; done",
    ];
    let mut running =
        [Running::start(&mut command(LAB, "exec n1 -- sleep 1000")), Running::start(Command::new(LAB).args(deaf))];
    running[1].says("deaf");
    eventually("it sleeps", || {
        fs::read_to_string(format!("/proc/{}/comm", running[0].pid)).ok().filter(|comm| comm == "sleep\n")
    });
    assert!(running.iter_mut().all(|process| !process.has_ended()));
    lab("down t-inside").ok();
    assert!(running.iter().all(|process| !alive(process.pid)));
    assert_eq!(running.map(|process| process.end().code), [128 + 15, 128 + 9]);
    assert_eq!(mesh.remains(), Vec::<String>::new());
}

#[test]
fn links_and_peers_can_be_cut_and_mended() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-faults", 3, "fast").up();
    let blocks = || -> Vec<String> {
        let routes = lab("show n1 routes -o json").json();
        let dst = |route: &Value| route["dst"].as_str().map(str::to_owned);
        let mut blocks: Vec<String> = routes.as_array().unwrap().iter().filter_map(dst).collect();
        blocks.sort_unstable();
        blocks
    };
    let session = |node: &str, peer: &str| -> String {
        let sessions = lab(&format!("show {node} sessions -o json")).json();
        let found = sessions.as_array().unwrap().iter().find(|session| session["name"] == peer);
        found.unwrap()["state"].as_str().unwrap().to_owned()
    };
    let whole = blocks();

    lab("peer disable n1 n2").ok();
    assert_eq!(
        (session("n1", "Mesh_10_7_0_12").as_str(), session("n1", "Mesh_10_7_0_13").as_str()),
        ("Idle", "Established")
    );
    assert_eq!(blocks().len(), whole.len() - 1);
    let status = lab("status -o json").json();
    assert_eq!(
        (&status["converged"], &status["faults"]),
        (&true.into(), &serde_json::json!(["n1: session Mesh_10_7_0_12 is disabled"]))
    );
    lab("peer enable n1 n2").ok();
    assert_eq!(blocks(), whole);
    let restarted = lab("peer restart n1 Mesh_10_7_0_13 -o json").json();
    assert_eq!(restarted["converged"], true);
    assert_eq!((session("n1", "Mesh_10_7_0_13").as_str(), blocks()), ("Established", whole.clone()));

    lab("link down n1:eth0").ok();
    let links = lab("show n1 links").ok();
    assert!(links.lines().any(|line| line.contains("eth0") && line.contains("DOWN")), "{links}");
    assert_eq!(lab("ping n1-pod1 n2-pod1 -c 1 -W 200ms").code, 1);
    lab("ping n2-pod1 n3-pod1 -c 1").ok();
    lab("link up n1:eth0").ok();
    assert_eq!(blocks(), whole);
    lab("ping n1-pod1 n2-pod1 -c 1").ok();
    assert_eq!(lab("status -o json").json()["faults"], serde_json::json!([]));

    for (words, said) in [
        ("peer disable n1 n9", "n9"),
        ("peer disable n9 n1", "n9"),
        ("peer disable n1-pod1 n1", "speaks no BGP"),
        ("link down n1:eth7", "eth7"),
        ("link down n1", "WHERE:IFACE"),
    ] {
        lab(words).fails(2, &[said]);
    }
    let rows = lab("ls -o json").json();
    let expected = serde_json::json!([{
        "lab": "t-faults", "state": "up", "namespaces": 8, "nodes": 3, "pods": 3, "pid": mesh.pid(),
    }]);
    assert_eq!(rows, expected);
}

#[test]
fn everything_that_prints_data_prints_json() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-json", 2, "fast");
    let up = lab(&format!("up -o json {}", mesh.file.display())).json();
    assert_eq!((&up["lab"], &up["converged"]), (&"t-json".into(), &true.into()));
    for words in [
        "status",
        "ls",
        "show n1 routes",
        "show n1 neighbours",
        "show fabric fdb",
        "show n1 links",
        "show n1 protocols",
        "show n1 sessions",
        "show n1 bgp",
        "show n1 bgp 10.7.0.0/24",
        "ping n1 n2 -c 1",
        "curl n1 n2-pod1",
        "doctor",
        "peer restart n1 n2",
        "link down n1-pod1:eth0",
        "link up n1-pod1:eth0",
    ] {
        let value = lab(&format!("{words} -o json")).json();
        assert!(value.is_array() || value.is_object(), "{words}: {value}");
    }
}

#[test]
fn a_capture_of_two_nodes_is_one_file_that_tshark_reads() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-capture", 2, "fast").up();
    let file = mesh.folder.path().join("two.pcapng");
    // Request and reply, on both interfaces.
    let words = format!("capture n1:eth0 n2:eth0 -c 4 -w {} icmp", file.display());
    let mut capture = Running::start(&mut command(LAB, &words));
    capture.says("listening on n1:eth0, n2:eth0");
    lab("ping n1-pod1 n2-pod1 -c 1").ok();
    assert_eq!(capture.end().code, 0);
    let read = |file: &Path| {
        let words = format!("-n -r {} -T fields -e frame.interface_name -e icmp.type -e ip.ttl", file.display());
        let mut lines: Vec<String> = run("tshark", &words).ok().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let seen = ["n1:eth0\t0\t63", "n1:eth0\t8\t63", "n2:eth0\t0\t63", "n2:eth0\t8\t63"];
    assert_eq!(read(&file), seen);

    let piped = mesh.folder.path().join("piped.pcapng");
    let script = format!("{LAB} capture n1:eth0 n2:eth0 -c 4 -w - icmp | cat >{}", piped.display());
    let mut capture = Running::start(Command::new("bash").args(["-euc", &script]));
    capture.says("listening on");
    lab("ping n1-pod1 n2-pod1 -c 1").ok();
    capture.end().ok();
    assert_eq!(read(&piped), seen);

    let mut capture = Running::start(&mut command(LAB, "capture n1:eth0 -c 2 icmp and host 10.7.0.12"));
    capture.says("listening on");
    lab("ping n1 n2 -c 1").ok();
    let lines = capture.end().ok();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().all(|line| line.contains("10.7.0.11") && line.contains("10.7.0.12")), "{lines}");

    let mut capture = Running::start(&mut command(LAB, "capture n1:eth0 icmp"));
    capture.says("listening on");
    capture.signal(Signal::SIGINT);
    assert_eq!(capture.end().code, 0);
    lab("capture n1:eth0 -w /nonexistent/file").fails(3, &["/nonexistent/file"]);
    lab("capture n1:eth0 hots 10.7.0.12").fails(2, &["hots"]);
    lab("capture n1:eth7").fails(2, &["eth7", "eth0"]);
}
