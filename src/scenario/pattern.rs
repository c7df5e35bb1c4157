//! Descriptions of kernel objects in which what is left out may be anything. They never compare text.

use std::fmt;
use std::net::IpAddr;

use crate::net::{FdbEntry, IfName, MacAddr, Neighbour, ParseRouteError, Route, RouteKind, RouteProtocol, Scope};

/// A route of which only some words are said. `exclude` needs it: compared as a whole, `10.0.0.0/8` would be no route that
/// exists, and its absence would show nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    text: String,
    stated: Route,
    proto: Option<RouteProtocol>,
}

impl RoutePattern {
    /// Reads `text`; where it names no protocol, `proto` is the protocol, or any if that is `None`.
    ///
    /// # Errors
    /// As [`Route::parse`].
    pub fn parse(text: &str, proto: Option<RouteProtocol>) -> Result<Self, ParseRouteError> {
        let stated = Route::parse(text, RouteProtocol::BOOT)?;
        let names_proto = text.split_whitespace().any(|word| word == "proto");
        Ok(Self { text: text.into(), proto: if names_proto { Some(stated.proto) } else { proto }, stated })
    }

    /// The destination that it speaks of.
    pub fn dst(&self) -> ipnet::IpNet {
        self.stated.dst
    }

    /// Whether every word that it says is true of `route`.
    pub fn fits(&self, route: &Route) -> bool {
        let said = &self.stated;
        route.dst == said.dst
            && (said.kind == RouteKind::Unicast && !self.text.starts_with("unicast") || route.kind == said.kind)
            && (said.via.is_none() || route.via == said.via)
            && (said.dev.is_none() || route.dev == said.dev)
            && self.proto.is_none_or(|proto| route.proto == proto)
            && (said.scope == Scope::Global || route.scope == said.scope)
            && (said.src.is_none() || route.src == said.src)
            && (said.metric == 0 || route.metric == said.metric)
            && (!said.onlink || route.onlink)
            && (said.mtu.is_none() || route.mtu == said.mtu)
            && (said.nexthops.is_empty() || route.nexthops == said.nexthops)
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A neighbour entry of which only some words are said: `169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourPattern {
    /// The neighbour.
    pub dst: IpAddr,
    /// The interface.
    pub dev: Option<IfName>,
    /// The link-layer address.
    pub lladdr: Option<MacAddr>,
    /// NUD state, in upper case.
    pub state: Option<String>,
}

impl NeighbourPattern {
    const STATES: [&str; 8] = ["PERMANENT", "NOARP", "REACHABLE", "STALE", "DELAY", "PROBE", "INCOMPLETE", "FAILED"];

    /// Reads an entry as `ip neigh` prints it.
    ///
    /// # Errors
    /// The first word that does not belong there, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let first = words.next().ok_or("an entry begins with the neighbour's address")?;
        let dst = first.parse().map_err(|_| format!("`{first}` is not an address"))?;
        let mut entry = Self { dst, dev: None, lladdr: None, state: None };
        while let Some(word) = words.next() {
            match word {
                "dev" => entry.dev = Some(dev(words.next())?),
                "lladdr" => entry.lladdr = Some(words.next().ok_or("`lladdr` needs a value")?.parse()?),
                state if Self::STATES.contains(&state) => entry.state = Some(state.into()),
                other => return Err(format!("`{other}` is no word of a neighbour entry")),
            }
        }
        Ok(entry)
    }

    /// Whether every word that it says is true of `entry`.
    pub fn fits(&self, entry: &Neighbour) -> bool {
        entry.dst == self.dst
            && self.dev.as_ref().is_none_or(|dev| entry.dev == *dev)
            && self.lladdr.is_none_or(|mac| entry.lladdr == Some(mac))
            && self.state.as_ref().is_none_or(|state| entry.state == *state)
    }
}

impl fmt::Display for NeighbourPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if let Some(mac) = self.lladdr {
            write!(f, " lladdr {mac}")?;
        }
        match &self.state {
            Some(state) => write!(f, " {state}"),
            None => Ok(()),
        }
    }
}

/// A forwarding entry of which only some words are said: `66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbPattern {
    /// The Ethernet destination.
    pub mac: MacAddr,
    /// The device.
    pub dev: Option<IfName>,
    /// The remote VTEP.
    pub dst: Option<IpAddr>,
    /// It is said to be permanent.
    pub permanent: bool,
}

impl FdbPattern {
    /// Reads an entry as `bridge fdb` prints it.
    ///
    /// # Errors
    /// The first word that does not belong there, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mac = words.next().ok_or("an entry begins with a MAC address")?.parse()?;
        let mut entry = Self { mac, dev: None, dst: None, permanent: false };
        while let Some(word) = words.next() {
            match word {
                "dev" => entry.dev = Some(dev(words.next())?),
                "dst" => {
                    let value = words.next().ok_or("`dst` needs a value")?;
                    entry.dst = Some(value.parse().map_err(|_| format!("`{value}` is not an address"))?);
                }
                "permanent" => entry.permanent = true,
                "self" => {}
                other => return Err(format!("`{other}` is no word of a forwarding entry")),
            }
        }
        Ok(entry)
    }

    /// Whether every word that it says is true of `entry`.
    pub fn fits(&self, entry: &FdbEntry) -> bool {
        entry.mac == self.mac
            && self.dev.as_ref().is_none_or(|dev| entry.dev == *dev)
            && (self.dst.is_none() || entry.dst == self.dst)
            && (!self.permanent || entry.permanent)
    }
}

impl fmt::Display for FdbPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mac)?;
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if let Some(dst) = self.dst {
            write!(f, " dst {dst}")?;
        }
        if self.permanent { f.write_str(" permanent") } else { Ok(()) }
    }
}

fn dev(word: Option<&str>) -> Result<IfName, String> {
    IfName::new(word.ok_or("`dev` needs a value")?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn a_destination_alone_fits_every_route_to_it() {
        let pattern = RoutePattern::parse("10.244.83.128/26", None).unwrap();
        assert!(pattern.fits(&route("10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird")));
        assert!(pattern.fits(&route("blackhole 10.244.83.128/26 proto bird")));
        assert!(!pattern.fits(&route("10.244.83.0/24 via 172.18.0.4 dev eth0 proto bird")));
    }

    #[test]
    fn every_word_said_must_be_true() {
        let pattern = RoutePattern::parse("10.244.83.128/26 via 172.18.0.4", Some(RouteProtocol::BIRD)).unwrap();
        assert!(pattern.fits(&route("10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird")));
        assert!(!pattern.fits(&route("10.244.83.128/26 via 172.18.0.4 dev eth0 proto static")));
        assert!(!pattern.fits(&route("10.244.83.128/26 via 172.18.0.3 dev eth0 proto bird")));
    }

    #[test]
    fn neighbours_and_fdb_entries_read_as_the_tools_print_them() {
        let neighbour = NeighbourPattern::parse("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE").unwrap();
        assert_eq!(neighbour.to_string(), "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE");
        let fdb = FdbPattern::parse("66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201 self permanent").unwrap();
        assert_eq!(fdb.to_string(), "66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201 permanent");
        assert_eq!(NeighbourPattern::parse("10.0.0.1 via x"), Err("`via` is no word of a neighbour entry".into()));
        assert_eq!(FdbPattern::parse("66:69"), Err("`66:69` is not a MAC address".into()));
    }
}
