//! A network interface, as read from the kernel.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{IfName, MacAddr};

/// One interface of a namespace, as the kernel reports it (`ip -d -j link`, `ip -j addr`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The interface's index in its namespace.
    pub index: u32,
    /// The name.
    pub name: IfName,
    /// What made it.
    pub kind: LinkKind,
    /// IFF_UP: administratively up.
    pub up: bool,
    /// IFF_LOWER_UP: it has a carrier.
    pub carrier: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Link-layer address; `None` where the device has none of six octets.
    pub mac: Option<MacAddr>,
    /// The bridge that it is a port of, by name.
    pub master: Option<IfName>,
    /// Addresses with their prefix length, in the kernel's order.
    pub addresses: Vec<IpNet>,
}

/// What kind of device a [`Link`] is (`IFLA_INFO_KIND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// One end of a veth pair.
    Veth,
    /// An Ethernet bridge.
    Bridge,
    /// The kernel's IP-in-IP tunnel.
    Ipip,
    /// A VXLAN tunnel end.
    Vxlan,
    /// A TUN device.
    Tun,
    /// Anything else.
    Other,
}
