//! The few things the fabric asks of a kernel, as a trait: `apply` and `remove` know no other door to it.
//!
//! Every verb takes a whole batch, because that is what makes it fast: one entry per namespace, many messages per system
//! call, several namespaces at once.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::error::FabricError;
use crate::net::{IfName, MacAddr, NetnsName, Route};
use crate::plan::{FdbPlan, NeighbourPlan, Sysctl};

/// A kernel. [`super::NetlinkKernel`] is the real one, [`super::fake::FakeKernel`] one in memory.
pub trait Kernel: Sync {
    /// Every name under `/run/netns` with its mark, in the order of the names.
    ///
    /// # Errors
    /// The directory cannot be read. A namespace that cannot is [`Mark::Unreadable`].
    fn namespaces(&self) -> Result<Vec<FoundNetns>, FabricError>;

    /// Creates namespaces that bear `alias` on their `lo` from the first moment on in which their name exists.
    ///
    /// Returns the names that now exist because of this call, also when it fails half-way, and the first failure; a name
    /// that somebody else took in the meantime is an error with `EEXIST`.
    fn create(&self, names: &[NetnsName], alias: &str) -> (Vec<NetnsName>, Result<(), FabricError>);

    /// Carries out changes: within a namespace in order, the namespaces in any order, or at once.
    ///
    /// # Errors
    /// The first change that was refused, in the order of `work`. The rest of that namespace's changes are not carried
    /// out (but those of the same batch may be), other namespaces' may be.
    fn configure(&self, work: &[Work]) -> Result<(), FabricError>;

    /// Returns once every one of `links` passes packets: the kernel turns a carrier that has come into a usable queue and
    /// a forwarding bridge port only some time after both ends went up, and drops what is sent before.
    ///
    /// # Errors
    /// A link does not exist, or has no carrier after a few seconds.
    fn settle(&self, links: &[(NetnsName, Vec<IfName>)]) -> Result<(), FabricError>;

    /// Removes namespaces, the processes inside them included, and returns when nothing of them is left.
    ///
    /// Goes on after an error; returns all of them. A name that does not exist is no error.
    fn delete(&self, names: &[NetnsName]) -> Vec<FabricError>;
}

/// What to do in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The namespace.
    pub netns: NetnsName,
    /// What to do in it, in order.
    pub changes: Vec<Change>,
}

/// One change of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a kernel parameter. One below `net/ipv6` on a kernel without IPv6 counts as written.
    Sysctl(Sysctl),
    /// Make a bridge without spanning tree and without multicast snooping.
    AddBridge(NewLink),
    /// Make a veth pair: this end here, the other one straight in its namespace. Both are down.
    AddVeth {
        /// This end.
        link: NewLink,
        /// Where the other end goes.
        peer_netns: NetnsName,
        /// The other end.
        peer: NewLink,
    },
    /// Make a VXLAN device without learning, on an interface of the namespace.
    AddVxlan {
        /// The device.
        link: NewLink,
        /// VXLAN network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
        /// Source of the outer packets.
        local: Ipv4Addr,
        /// The interface that they leave by.
        parent: IfName,
    },
    /// Make the kernel's IP-in-IP device that takes any packet; one of that name that is there already is as good.
    AddIpip(NewLink),
    /// Make `dev` a port of the bridge `master`.
    SetMaster {
        /// The port.
        dev: IfName,
        /// The bridge.
        master: IfName,
    },
    /// Bring a link up or down.
    SetLink {
        /// The link.
        dev: IfName,
        /// Up, or down.
        up: bool,
    },
    /// Set a link's MTU.
    SetMtu {
        /// The link.
        dev: IfName,
        /// In bytes.
        mtu: u32,
    },
    /// Give a link an address.
    AddAddress {
        /// The link.
        dev: IfName,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Add a permanent neighbour entry, or replace the entry for that neighbour.
    AddNeighbour(NeighbourPlan),
    /// Add a permanent forwarding entry to a VXLAN device, or replace the entry for that MAC.
    AddFdb(FdbPlan),
    /// Add a route; there must be none of the same destination and metric.
    AddRoute(Route),
    /// Remove a route.
    RemoveRoute(Route),
}

/// A link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// The name.
    pub name: IfName,
    /// Link-layer address; `None` lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// A name under `/run/netns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNetns {
    /// The name.
    pub name: NetnsName,
    /// What it bears.
    pub mark: Mark,
}

/// What is known of the owner of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The alias of its `lo`: `lab=hyg`, or a stranger's.
    Alias(String),
    /// It has no alias: never ours, because ours get theirs before their name.
    None,
    /// An empty file, no namespace: its creator died half-way, or is not done yet.
    EmptyFile,
    /// It cannot be looked into: never ours.
    Unreadable,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(sysctl) => write!(f, "set sysctl {} = {}", sysctl.key, sysctl.value),
            Self::AddBridge(link) => write!(f, "add bridge {}", link.name),
            Self::AddVeth { link, peer_netns, peer } => {
                write!(f, "add veth {} with peer {} in netns {peer_netns}", link.name, peer.name)
            }
            Self::AddVxlan { link, vni, parent, .. } => write!(f, "add vxlan {} id {vni} dev {parent}", link.name),
            Self::AddIpip(link) => write!(f, "add ipip {}", link.name),
            Self::SetMaster { dev, master } => write!(f, "set link {dev} master {master}"),
            Self::SetLink { dev, up } => write!(f, "set link {dev} {}", if *up { "up" } else { "down" }),
            Self::SetMtu { dev, mtu } => write!(f, "set link {dev} mtu {mtu}"),
            Self::AddAddress { dev, address } => write!(f, "add address {address} dev {dev}"),
            Self::AddNeighbour(entry) => {
                write!(f, "add neighbour {} dev {} lladdr {}", entry.dst, entry.dev, entry.lladdr)
            }
            Self::AddFdb(entry) => write!(f, "add fdb entry {} dev {} dst {}", entry.mac, entry.dev, entry.dst),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::RemoveRoute(route) => write!(f, "remove route {route}"),
        }
    }
}
