//! Neighbour (ARP) entries and bridge forwarding (FDB) entries, as read from or written to the kernel.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{IfName, MacAddr};

/// One neighbour entry. Prints as `ip neigh` does: `169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// The neighbour's address.
    pub dst: IpAddr,
    /// The interface it is on.
    pub dev: IfName,
    /// Its link-layer address; `None` while unresolved.
    pub lladdr: Option<MacAddr>,
    /// NUD state in upper case as `ip` prints it: `PERMANENT`, `REACHABLE`, `STALE`, …
    pub state: String,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.dst, self.dev)?;
        if let Some(mac) = self.lladdr {
            write!(f, " lladdr {mac}")?;
        }
        write!(f, " {}", self.state)
    }
}

/// One forwarding entry of a VXLAN device or a bridge port. Prints as `bridge fdb` does:
/// `66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201 self permanent`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The Ethernet destination that this entry is for.
    pub mac: MacAddr,
    /// The device.
    pub dev: IfName,
    /// The remote VTEP's outer address, on a VXLAN device.
    pub dst: Option<IpAddr>,
    /// Whether the entry never ages.
    pub permanent: bool,
}

impl fmt::Display for FdbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.mac, self.dev)?;
        if let Some(dst) = self.dst {
            write!(f, " dst {dst}")?;
        }
        if self.permanent { write!(f, " self permanent") } else { write!(f, " self") }
    }
}
