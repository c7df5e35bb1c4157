//! A kernel route as a value, and its text as `ip route` reads and prints it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::IfName;

/// Who wrote a route (`rtm_protocol`, names from iproute2's `rt_protos`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// 2: made by the kernel itself, e.g. for an interface address.
    pub const KERNEL: Self = Self(2);
    /// 3: `ip route add` without a protocol; `ip route` does not print it.
    pub const BOOT: Self = Self(3);
    /// 4: set by an administrator.
    pub const STATIC: Self = Self(4);
    /// 12: BIRD.
    pub const BIRD: Self = Self(12);
    /// 186: FRR's bgpd, through its zebra.
    pub const BGP: Self = Self(186);
    /// 80: Felix (calico-behaviour 3).
    pub const FELIX: Self = Self(80);

    const NAMES: [(u8, &'static str); 12] = [
        (0, "unspec"),
        (1, "redirect"),
        (2, "kernel"),
        (3, "boot"),
        (4, "static"),
        (8, "gated"),
        (9, "ra"),
        (11, "zebra"),
        (12, "bird"),
        (16, "dhcp"),
        (186, "bgp"),
        (188, "ospf"),
    ];
}

impl fmt::Display for RouteProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for RouteProtocol {
    type Err = ParseRouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::NAMES.iter().find(|(_, name)| *name == text) {
            Some((number, _)) => Ok(Self(*number)),
            None => text.parse().map(Self).map_err(|_| ParseRouteError::value("a route protocol", text)),
        }
    }
}

impl From<RouteProtocol> for String {
    fn from(protocol: RouteProtocol) -> Self {
        protocol.to_string()
    }
}

impl TryFrom<String> for RouteProtocol {
    type Error = ParseRouteError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How far away a route's destination is (`rtm_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// 0: beyond a gateway; `ip route` does not print it.
    Global,
    /// 253: on the link.
    Link,
    /// 254: on this host.
    Host,
}

/// What the kernel does with a packet for the destination (`rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Forward it; `ip route` prints no word for this.
    Unicast,
    /// Drop it silently; the sender of a local packet gets EINVAL.
    Blackhole,
    /// Drop it and answer ICMP unreachable.
    Unreachable,
    /// Drop it and answer ICMP prohibited.
    Prohibit,
}

/// One way out of a multipath route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The gateway.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: Option<IfName>,
    /// As `ip` prints it: 1 is the kernel's 0.
    pub weight: u16,
}

/// A route of table main, as `ip route` prints it:
/// `dst via gw dev d proto p scope s src a metric m onlink mtu n`.
///
/// Equality is structural: a route read from the kernel equals the same route parsed from text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The destination; `0.0.0.0/0` prints as `default`. Host bits are clear.
    pub dst: IpNet,
    /// Forward, or drop.
    pub kind: RouteKind,
    /// The gateway, for a single-path route beyond the link.
    pub via: Option<IpAddr>,
    /// The interface, for a single-path route.
    pub dev: Option<IfName>,
    /// Who wrote it.
    pub proto: RouteProtocol,
    /// The scope.
    pub scope: Scope,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// Metric; 0 is the kernel's default and is not printed.
    pub metric: u32,
    /// RTNH_F_ONLINK: the gateway counts as on the link whatever the addresses say.
    pub onlink: bool,
    /// RTAX_MTU.
    pub mtu: Option<u32>,
    /// The ways of a multipath route; empty for any other.
    pub nexthops: Vec<NextHop>,
}

impl Route {
    /// A unicast route to `dst` with every option at its default (proto boot, scope global, no way out yet).
    pub fn unicast(dst: impl Into<IpNet>) -> Self {
        Self {
            dst: dst.into().trunc(),
            kind: RouteKind::Unicast,
            via: None,
            dev: None,
            proto: RouteProtocol::BOOT,
            scope: Scope::Global,
            src: None,
            metric: 0,
            onlink: false,
            mtu: None,
            nexthops: Vec::new(),
        }
    }

    /// A blackhole for `dst`.
    pub fn blackhole(dst: impl Into<IpNet>) -> Self {
        Self { kind: RouteKind::Blackhole, ..Self::unicast(dst) }
    }

    /// The same route through `gateway`.
    pub fn via(self, gateway: impl Into<IpAddr>) -> Self {
        Self { via: Some(gateway.into()), ..self }
    }

    /// The same route out of `dev`.
    pub fn dev(self, dev: IfName) -> Self {
        Self { dev: Some(dev), ..self }
    }

    /// The same route, written by `proto`.
    pub fn proto(self, proto: RouteProtocol) -> Self {
        Self { proto, ..self }
    }

    /// The same route with scope `scope`.
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The same route with metric `metric`.
    pub fn metric(self, metric: u32) -> Self {
        Self { metric, ..self }
    }

    /// The same route with preferred source `src`.
    pub fn src(self, src: impl Into<IpAddr>) -> Self {
        Self { src: Some(src.into()), ..self }
    }

    /// Reads a route as `ip route` prints it; a word that is not there takes `defaults`' protocol, or the kernel's default.
    ///
    /// # Errors
    /// A word that no route has, or a value that does not parse: the error names it.
    pub fn parse(text: &str, default_proto: RouteProtocol) -> Result<Self, ParseRouteError> {
        let mut words = text.split_whitespace().peekable();
        let kind = match words.peek() {
            Some(&"unicast") => Some(RouteKind::Unicast),
            Some(&"blackhole") => Some(RouteKind::Blackhole),
            Some(&"unreachable") => Some(RouteKind::Unreachable),
            Some(&"prohibit") => Some(RouteKind::Prohibit),
            _ => None,
        };
        if kind.is_some() {
            words.next();
        }
        let dst = words.next().ok_or(ParseRouteError::Empty)?;
        let mut route = Self { kind: kind.unwrap_or(RouteKind::Unicast), ..Self::unicast(parse_dst(dst)?) };
        route.proto = default_proto;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| ParseRouteError::Missing { word: word.into() });
            match word {
                "via" => route.via = Some(parse_addr(value()?)?),
                "dev" => route.dev = Some(parse_dev(value()?)?),
                "proto" => route.proto = value()?.parse()?,
                "scope" => {
                    route.scope = match value()? {
                        "global" | "universe" => Scope::Global,
                        "link" => Scope::Link,
                        "host" => Scope::Host,
                        other => return Err(ParseRouteError::value("a scope (global, link, host)", other)),
                    }
                }
                "src" => route.src = Some(parse_addr(value()?)?),
                "metric" => route.metric = parse_number(value()?)?,
                "mtu" => route.mtu = Some(parse_number(value()?)?),
                "onlink" => route.onlink = true,
                "linkdown" | "dead" => {}
                "pref" => drop(value()?),
                "nexthop" => {
                    route.nexthops.push(NextHop { via: None, dev: None, weight: 1 });
                    while let Some(word) = words.next_if(|w| matches!(*w, "via" | "dev" | "weight")) {
                        let value = words.next().ok_or_else(|| ParseRouteError::Missing { word: word.into() })?;
                        let hop = route.nexthops.last_mut().expect("pushed above");
                        match word {
                            "via" => hop.via = Some(parse_addr(value)?),
                            "dev" => hop.dev = Some(parse_dev(value)?),
                            _ => hop.weight = parse_number(value)?,
                        }
                    }
                }
                other => return Err(ParseRouteError::Word { word: other.into() }),
            }
        }
        Ok(route)
    }
}

fn parse_dst(text: &str) -> Result<IpNet, ParseRouteError> {
    if text == "default" {
        return Ok(IpNet::V4(Ipv4Net::default()));
    }
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| ParseRouteError::value("a destination", text))?;
    match net.trunc() == net {
        true => Ok(net),
        false => Err(ParseRouteError::value("a destination without host bits", text)),
    }
}

fn parse_addr(text: &str) -> Result<IpAddr, ParseRouteError> {
    text.parse().map_err(|_| ParseRouteError::value("an address", text))
}

fn parse_dev(text: &str) -> Result<IfName, ParseRouteError> {
    IfName::new(text).map_err(|_| ParseRouteError::value("an interface name", text))
}

fn parse_number<T: FromStr>(text: &str) -> Result<T, ParseRouteError> {
    text.parse().map_err(|_| ParseRouteError::value("a number", text))
}

impl FromStr for Route {
    type Err = ParseRouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, RouteProtocol::BOOT)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => f.write_str("blackhole ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
            RouteKind::Prohibit => f.write_str("prohibit ")?,
        }
        match self.dst {
            dst if dst.prefix_len() == 0 => f.write_str("default")?,
            dst if dst.prefix_len() == dst.max_prefix_len() => write!(f, "{}", dst.addr())?,
            dst => write!(f, "{dst}")?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.proto != RouteProtocol::BOOT {
            write!(f, " proto {}", self.proto)?;
        }
        match self.scope {
            Scope::Global => {}
            Scope::Link => f.write_str(" scope link")?,
            Scope::Host => f.write_str(" scope host")?,
        }
        if let Some(src) = self.src {
            write!(f, " src {src}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        for hop in &self.nexthops {
            f.write_str(" nexthop")?;
            if let Some(via) = hop.via {
                write!(f, " via {via}")?;
            }
            if let Some(dev) = &hop.dev {
                write!(f, " dev {dev}")?;
            }
            write!(f, " weight {}", hop.weight)?;
        }
        Ok(())
    }
}

/// Why a text is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRouteError {
    /// There is no word at all.
    #[error("a route begins with its destination")]
    Empty,
    /// A word needs a value and is the last one.
    #[error("`{word}` needs a value")]
    Missing {
        /// The word.
        word: String,
    },
    /// A word that no route has.
    #[error("`{word}` is no word of a route")]
    Word {
        /// The word.
        word: String,
    },
    /// A value that does not parse.
    #[error("`{text}` is not {what}")]
    Value {
        /// What it was to be, with its article.
        what: &'static str,
        /// The value as given.
        text: String,
    },
}

impl ParseRouteError {
    fn value(what: &'static str, text: &str) -> Self {
        Self::Value { what, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_tables_lines_read_and_print_unchanged() {
        for line in [
            "default via 172.18.0.1 dev eth0",
            "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
            "10.244.140.128 dev cali995a1e92786 scope link",
            "blackhole 10.244.140.128/26 proto bird",
            "172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2",
            "10.244.36.0/26 via 10.0.0.202 dev tunl0 proto 80 onlink mtu 1480",
            "10.0.0.0/8 proto bird nexthop via 10.1.0.1 dev eth0 weight 1 nexthop via 10.1.0.2 dev eth0 weight 1",
        ] {
            assert_eq!(line.parse::<Route>().map(|r| r.to_string()), Ok(line.into()));
        }
    }

    #[test]
    fn an_omitted_protocol_takes_the_default_given() {
        let route = Route::parse("blackhole 10.244.140.128/26", RouteProtocol::BIRD).unwrap();
        assert_eq!(route.to_string(), "blackhole 10.244.140.128/26 proto bird");
    }

    #[test]
    fn errors_name_the_word_or_the_value() {
        let error = |text: &str| text.parse::<Route>().unwrap_err().to_string();
        assert_eq!(error("10.0.0.1/8"), "`10.0.0.1/8` is not a destination without host bits");
        assert_eq!(error("10.0.0.0/8 via"), "`via` needs a value");
        assert!(error("10.0.0.0/8 through 1.2.3.4").starts_with("`through` is no word of a route"));
    }
}
