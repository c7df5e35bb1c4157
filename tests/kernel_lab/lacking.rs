//! Hosts that lack something: `lab doctor` names it, `lab up` ends with 3 and leaves nothing, or runs without it and says so.

use std::process::Command;

use serde_json::Value;

use crate::host::{Ended, LAB, Running, Snapshot, TestLab, host, lab};

/// Runs `lab` where `hide` was done before, in a mount namespace of its own: the rest of the host sees nothing of it.
fn lab_where(hide: &str, words: &str) -> Ended {
    let script = format!("mount --make-rprivate / && {hide} && {LAB} {words}");
    Running::start(Command::new("unshare").args(["--mount", "bash", "-euc", &script])).end()
}

/// A device node that is not there.
const WITHOUT_TUN: &str = "mount -t tmpfs tmpfs /dev/net";

/// A node without a driver behind it, as far as that can be had: it opens, and makes no device.
const WITH_ANOTHER_TUN: &str =
    "mount -t tmpfs tmpfs /dev/net && touch /dev/net/tun && mount --bind /dev/null /dev/net/tun";

fn finding(doctor: &Value, what: &str) -> Value {
    let found = doctor["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == what);
    found.unwrap_or_else(|| panic!("{what} is not in {doctor}")).clone()
}

#[test]
fn without_tun_and_ipip_the_ipip_modes_end_with_3_and_leave_nothing() {
    let Some(_host) = host() else { return };
    if std::path::Path::new("/sys/module/ipip").exists() {
        eprintln!("not run: ipip is loaded, no TUN is needed");
        return;
    }
    let cluster = TestLab::of_repository("calico-ipip");
    let before = Snapshot::take();
    for (hide, reason) in [
        (WITHOUT_TUN, "IPIP needs a tunl0, and here is neither ipip loaded nor a TUN device"),
        (WITH_ANOTHER_TUN, "serve tunl0 in netns calico-ipip-"),
    ] {
        let doctor = lab_where(hide, "doctor -o json").json();
        let tunl0 = finding(&doctor, "tunl0");
        assert_eq!(tunl0["standing"], "limited", "{tunl0}");
        assert!(tunl0["remedy"].as_str().unwrap().contains("modprobe ipip, or modprobe tun"), "{tunl0}");
        let said = lab_where(hide, &format!("up {}", cluster.file.display()))
            .fails(3, &[reason, "modprobe ipip, or modprobe tun"]);
        assert_eq!(said.lines().count(), 1, "{said}");
        before.assert_same("after an `up` that failed");
    }
    // No device node was made, to be left there.
    assert_eq!(lab_where(WITHOUT_TUN, "doctor >/dev/null; ls -A /dev/net").ok(), "");
    // The modes without IPIP do not need it.
    let plain = TestLab::of_repository("calico-bgp-blocks-of-24");
    lab_where(WITHOUT_TUN, &format!("up {}; {LAB} down {}", plain.file.display(), plain.name)).ok();
    before.assert_same("after a lab without IPIP");
}

/// Refuses netfilter's sockets as a kernel without nftables does, and becomes the program of its arguments: seccomp(2) answers
/// `socket(AF_NETLINK, _, NETLINK_NETFILTER)` with EPROTONOSUPPORT. Perl, because it is on every Debian and calls the kernel.
const WITHOUT_NFTABLES: &str = r"
    my $socket = `uname -m` =~ /x86_64/ ? 41 : 198;
    sub code { pack('SCCL', @_) }
    my $filter = join '',
        code(0x20, 0, 0, 0), code(0x15, 0, 5, $socket),
        code(0x20, 0, 0, 16), code(0x15, 0, 3, 16),
        code(0x20, 0, 0, 32), code(0x15, 0, 1, 12),
        code(0x06, 0, 0, 0x00050000 | 93), code(0x06, 0, 0, 0x7fff0000);
    my $prctl = $socket == 41 ? 157 : 167;
    syscall($prctl, 38, 1, 0, 0, 0) == 0 or die qq(no_new_privs: $!);
    syscall($prctl, 22, 2, pack('S x6 P', 8, $filter), 0, 0) == 0 or die qq(seccomp: $!);
    exec @ARGV;
";

fn lab_without_nftables(words: &str) -> Ended {
    Running::start(Command::new("perl").args(["-e", WITHOUT_NFTABLES, LAB]).args(words.split_whitespace())).end()
}

#[test]
fn without_nftables_a_lab_runs_without_nat_outgoing_and_says_so() {
    let Some(_host) = host() else { return };
    let doctor = lab_without_nftables("doctor -o json").json();
    let nftables = finding(&doctor, "nftables masquerade");
    assert_eq!((&doctor["ready"], &nftables["standing"]), (&true.into(), &"limited".into()), "{nftables}");
    assert!(nftables["remedy"].as_str().unwrap().contains("only natOutgoing needs it"), "{nftables}");
    let mesh = TestLab::mesh("t-no-nft", 2, "fast");
    let off = "natOutgoing is off: this kernel has no nftables NAT (`lab doctor`)";
    let said = lab_without_nftables(&format!("up {}", mesh.file.display())).ok();
    assert!(said.contains(off) && said.contains("has converged"), "{said}");
    let status = lab("status").ok();
    assert!(status.contains(off), "{status}");
    assert_eq!(lab("status -o json").json()["nat_outgoing"], off.strip_prefix("natOutgoing is ").unwrap());
    lab("ping n1-pod1 n2-pod1 -c 1").ok();
}
