//! What the host can do for a lab. Device kinds are tried in a namespace that has no name and is gone when the look is over.

use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;
use serde::Serialize;

use super::kernel::{Change, NewLink};
use super::netlink::socket::{Request, RouteSocket};
use super::netlink::{encode, nftables};
use super::netns;
use super::tun::open_here;
use crate::net::IfName;

/// How the host stands in one matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is there.
    Good,
    /// Labs can be built, but something is off.
    Limited,
    /// No lab can be built.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found, in words.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub remedy: String,
}

/// Looks at everything that a lab needs. Blocks for some milliseconds.
pub fn examine() -> Vec<Finding> {
    let root = geteuid().is_root();
    let mut findings =
        vec![finding("root", Standing::Missing, root.then(|| "yes".into()).ok_or("no"), "sudo lab doctor")];
    let devices = match root {
        false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        true => netns::in_new(devices),
    };
    match devices {
        Ok(devices) => {
            findings.push(finding("network namespaces", Standing::Missing, Ok::<_, String>("can be made".into()), ""));
            findings.extend(devices);
        }
        Err(error) => {
            let remedy = "run as root on a kernel with CONFIG_NET_NS, in a container with CAP_SYS_ADMIN";
            findings.push(finding("network namespaces", Standing::Missing, Err(error.to_string()), remedy));
        }
    }
    findings.push(open_files());
    findings.push(tunl0(if root { tun() } else { Err(io::ErrorKind::PermissionDenied.into()) }));
    findings
}

/// Tries each kind of device in the calling thread's namespace, which must be a new one.
fn devices() -> io::Result<Vec<Finding>> {
    let mut socket = RouteSocket::new()?;
    let link = |name: &str| NewLink { name: IfName::new(name).unwrap_or_else(|_| IfName::lo()), mac: None, mtu: 1500 };
    let bridge = encode::change(&Change::AddBridge(link("br0")), |_| None, None);
    let mut tried = vec![("bridge", Standing::Missing, "modprobe bridge", bridge)];
    let own = netns::own()?;
    let pair = Change::AddVeth {
        link: link("a"),
        peer_netns: crate::net::NetnsName::new("doctor").map_err(io::Error::other)?,
        peer: link("b"),
    };
    let veth = encode::change(&pair, |_| None, Some(std::os::fd::AsRawFd::as_raw_fd(&own)));
    tried.push(("veth", Standing::Missing, "modprobe veth", veth));
    tried.push((
        "vxlan",
        Standing::Limited,
        "modprobe vxlan; only the VXLAN modes need it",
        Ok(encode::new_vxlan(&link("v"))),
    ));
    let mut findings = Vec::new();
    for (what, standing, remedy, request) in tried {
        let outcome = request.map_err(|reason| reason.to_string()).and_then(|request: Request| {
            let mut answers = socket.batch(vec![request]).map_err(|error| error.to_string())?;
            answers.pop().unwrap_or(Ok(())).map_err(|reason| reason.to_string())
        });
        findings.push(finding(what, standing, outcome.map(|()| "works".into()), remedy));
    }
    findings.push(masquerade());
    Ok(findings)
}

/// Whether natOutgoing works here; no without root.
pub fn can_masquerade() -> bool {
    netns::in_new(|| Ok(masquerade().standing == Standing::Good)).unwrap_or(false)
}

/// Whether the kernel takes a masquerade rule, tried in the calling thread's namespace.
fn masquerade() -> Finding {
    let outcome = nftables::try_masquerade().map(|()| "works".into()).map_err(|reason| reason.to_string());
    let remedy = "modprobe nft_masq; a kernel with CONFIG_NF_TABLES and CONFIG_NFT_MASQ; only natOutgoing needs it";
    finding("nftables masquerade", Standing::Limited, outcome, remedy)
}

fn open_files() -> Finding {
    let outcome = match getrlimit(Resource::RLIMIT_NOFILE) {
        // A full mesh of 100 nodes takes 9,900 sockets and some.
        Ok((_, hard)) if hard >= 12_000 => Ok(format!("{hard}")),
        Ok((_, hard)) => Err(format!("{hard}: large meshes do not fit, each session takes two")),
        Err(errno) => Err(errno.to_string()),
    };
    finding("open files, hard limit", Standing::Limited, outcome, "ulimit -Hn 1048576")
}

/// Whether this kernel has its `ipip` at hand, so that a namespace can have a tunl0 of it.
pub fn ipip_is_loaded() -> bool {
    Path::new("/sys/module/ipip").exists()
}

/// Whether a TUN device can be made, tried in a new namespace.
fn tun() -> io::Result<()> {
    let name = IfName::new("tun0").map_err(io::Error::other)?;
    netns::in_new(|| open_here(&name).map(drop))
}

/// What makes a `tunl0` possible where neither `ipip` is loaded nor a TUN device can be made.
pub const TUNL0_REMEDY: &str = "modprobe ipip, or modprobe tun and a /dev/net/tun";

/// `lab` never loads `ipip` itself, because that puts a `tunl0` into every namespace of the host.
fn tunl0(tun: io::Result<()>) -> Finding {
    let outcome = match (ipip_is_loaded(), tun) {
        (true, _) => Ok("ipip is loaded: the kernel's".into()),
        (false, Ok(())) => Ok("ipip is not loaded: user space, behind a TUN device".into()),
        (false, Err(error)) => {
            Err(format!("ipip is not loaded, and no TUN device can be made: {error}; only the IPIP modes need one"))
        }
    };
    finding("tunl0", Standing::Limited, outcome, TUNL0_REMEDY)
}

/// A finding that is good, or as bad as `otherwise`.
fn finding(
    what: &'static str,
    otherwise: Standing,
    outcome: Result<String, impl Into<String>>,
    remedy: &str,
) -> Finding {
    match outcome {
        Ok(found) => Finding { what, standing: Standing::Good, found, remedy: String::new() },
        Err(found) => Finding { what, standing: otherwise, found: found.into(), remedy: remedy.into() },
    }
}
