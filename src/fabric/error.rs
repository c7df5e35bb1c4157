//! What can go wrong between a plan and the kernel: always what was attempted, on what, where, and the kernel's reason.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::kernel::Change;
use crate::net::{IfName, LabName, NetnsName, Route, RouteProtocol};

/// A failure of this folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FabricError {
    /// A wanted namespace exists and is not ours: nothing was changed.
    #[error("create namespace {netns}: the name is taken by a namespace that is not of lab `{lab}`")]
    NameTaken {
        /// The lab that wanted it.
        lab: LabName,
        /// The name.
        netns: NetnsName,
    },
    /// A wanted namespace exists and bears this lab's mark: the lab is up, or was left behind. Nothing was changed.
    #[error("create namespace {netns}: lab `{lab}` already exists; `lab down {lab}` removes it")]
    LabExists {
        /// The lab.
        lab: LabName,
        /// The first of its namespaces that is in the way.
        netns: NetnsName,
    },
    /// The kernel refused one change.
    #[error("{change} in netns {netns}: {reason}{}", remedy(.change, .reason))]
    Change {
        /// What was attempted.
        change: Box<Change>,
        /// Where.
        netns: NetnsName,
        /// Why not.
        reason: KernelReason,
    },
    /// A route of the speaker would displace one that somebody else wrote.
    #[error("add route {route} in netns {netns}: a route of proto {holder} is already there")]
    RouteTaken {
        /// The speaker's route.
        route: Box<Route>,
        /// Where.
        netns: NetnsName,
        /// Who wrote the one that is there.
        holder: RouteProtocol,
    },
    /// An operation on a namespace as a whole failed.
    #[error("{action} {netns}: {source}")]
    Netns {
        /// What was attempted, up to the name: `create namespace`.
        action: &'static str,
        /// Which.
        netns: NetnsName,
        /// The system's reason.
        source: io::Error,
    },
    /// An operation outside any namespace failed.
    #[error("{action}: {source}")]
    Host {
        /// What was attempted.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The plan contradicts itself: a veth end whose other end is not planned, or planned differently.
    #[error("add link {link} in netns {netns}: its other end, {peer} in netns {peer_netns}, does not name it in turn")]
    Unpaired {
        /// The end.
        link: IfName,
        /// Where it is.
        netns: NetnsName,
        /// The end that it names.
        peer: IfName,
        /// Where that would be.
        peer_netns: NetnsName,
    },
    /// There is no such thing in the plan.
    #[error("restore link {link} in netns {netns}: the plan has no such link")]
    NotPlanned {
        /// The interface.
        link: IfName,
        /// Where.
        netns: NetnsName,
    },
    /// A link was set up and got no carrier in time.
    #[error("set link {link} up in netns {netns}: no carrier")]
    NoCarrier {
        /// The interface.
        link: IfName,
        /// Where.
        netns: NetnsName,
    },
    /// A namespace's name is gone, but somebody holds it open: the kernel keeps what is in it.
    #[error("remove namespace {netns}: its name is gone, yet a process still holds it open")]
    Held {
        /// Its former name.
        netns: NetnsName,
    },
    /// A process inside a namespace did not end.
    #[error("remove namespace {netns}: process {pid} in it does not end")]
    Process {
        /// The namespace.
        netns: NetnsName,
        /// The process.
        pid: i32,
    },
    /// The kernel refused the masquerade rules of one node.
    #[error("set up natOutgoing in netns {netns}: {reason}")]
    Masquerade {
        /// The node's namespace.
        netns: NetnsName,
        /// Why not.
        reason: KernelReason,
    },
    /// A build failed, and so did removing a part of what it had built.
    #[error("{error}; and these remain: {}", join(leftovers))]
    RollBack {
        /// The first failure.
        error: Box<Self>,
        /// What could not be removed, and why.
        leftovers: Vec<Self>,
    },
}

/// What to do where the kernel does not know such a device; nothing where it refused for another reason.
fn remedy(change: &Change, reason: &KernelReason) -> &'static str {
    // rtnetlink's answer to a kind that is neither built in nor loaded on demand (`__rtnl_newlink`).
    if !reason.is(Errno::EOPNOTSUPP) {
        return "";
    }
    match change {
        Change::AddBridge(_) => "; this kernel has no bridge: `modprobe bridge`, or one with CONFIG_BRIDGE",
        Change::AddVeth { .. } => "; this kernel has no veth: `modprobe veth`, or one with CONFIG_VETH",
        Change::AddVxlan { .. } => {
            "; this kernel has no VXLAN: `modprobe vxlan`, or one with CONFIG_VXLAN; the modes without VXLAN do not need it"
        }
        _ => "",
    }
}

fn join(errors: &[FabricError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The kernel's reason for refusing a request: errno, and the text of its extended acknowledgement where it sent one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelReason {
    /// The error number, positive.
    pub errno: i32,
    /// `Nexthop has invalid gateway`.
    pub text: Option<String>,
}

impl KernelReason {
    /// The reason `errno` without a text.
    pub fn errno(errno: Errno) -> Self {
        Self { errno: errno as i32, text: None }
    }

    /// Whether the error number is `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno as i32
    }
}

impl From<io::Error> for KernelReason {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, text: None },
            None => Self { errno: Errno::EIO as i32, text: Some(error.to_string()) },
        }
    }
}

impl fmt::Display for KernelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The C library's words, which `ip` prints too, without the number that std adds.
        let words = io::Error::from_raw_os_error(self.errno).to_string();
        f.write_str(words.strip_suffix(&format!(" (os error {})", self.errno)).unwrap_or(&words))?;
        match &self.text {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Route;

    #[test]
    fn a_refused_route_names_itself_its_namespace_and_the_kernels_reason() {
        let error = FabricError::Change {
            change: Box::new(Change::AddRoute(
                "10.65.1.0/26 via 10.0.0.9 dev eth0 proto bird".parse::<Route>().unwrap(),
            )),
            netns: NetnsName::new("hyg-node1").unwrap(),
            reason: KernelReason { errno: Errno::ENETUNREACH as i32, text: Some("Nexthop has invalid gateway".into()) },
        };
        assert_eq!(
            error.to_string(),
            "add route 10.65.1.0/26 via 10.0.0.9 dev eth0 proto bird in netns hyg-node1: \
             Network is unreachable (Nexthop has invalid gateway)"
        );
    }
}
