//! What decides about BGP routes: BGPFilter rules, communities, and the next hop of what is told on, as values.
//!
//! What they do to a route is `bgp::filter`'s matter.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Asn;

/// One BGPFilter's rules for one direction. The first rule that matches decides; without one the next filter is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// `metadata.name`.
    pub name: String,
    /// The rules, in order.
    pub rules: Vec<FilterRule>,
}

/// One rule: every criterion that is given must hold; without any it matches every route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilterRule {
    /// Let it through, or not.
    pub accept: bool,
    /// `cidr`, `matchOperator` and `prefixLength`.
    pub prefix: Option<PrefixMatch>,
    /// `source: RemotePeers`: only what BGP brought.
    pub remote_only: bool,
    /// `interface`: a shell pattern of the interface that the route leads out of. A blackhole leads out of none.
    pub interface: Option<String>,
    /// `peerType`: `true` for eBGP.
    pub external: Option<bool>,
    /// `communities.values`: the route carries it.
    pub community: Option<Community>,
    /// `asPathPrefix`: the AS path begins with it.
    pub as_path_prefix: Vec<Asn>,
    /// `priority`: LOCAL_PREF is 2147483647 less this.
    pub priority: Option<u32>,
    /// What an accepting rule changes, in order.
    pub operations: Vec<FilterOperation>,
}

/// Destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixMatch {
    /// `cidr`.
    pub net: IpNet,
    /// `matchOperator`.
    pub operator: MatchOperator,
    /// `prefixLength`, from and to: which lengths count as inside.
    pub lengths: Option<(u8, u8)>,
}

/// How a destination stands to a `cidr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum MatchOperator {
    /// The same.
    Equal,
    /// Another one.
    NotEqual,
    /// The same, or inside.
    In,
    /// Neither.
    NotIn,
}

/// A standard (RFC 1997) or large (RFC 8092) community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// `aa:nn`.
    Standard(u32),
    /// `aa:nn:mm`.
    Large(u32, u32, u32),
}

/// What an accepting rule changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterOperation {
    /// `addCommunity`.
    AddCommunity(Community),
    /// `prependASPath`: the path then begins with these, in this order.
    PrependAsPath(Vec<Asn>),
    /// `setPriority`: LOCAL_PREF becomes 2147483647 less this.
    SetPriority(u32),
}

impl std::fmt::Display for Community {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standard(value) => write!(f, "{}:{}", value >> 16, value & 0xffff),
            Self::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

impl Serialize for Community {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for Community {
    type Err = String;

    /// Reads `aa:nn` of two octets each, or `aa:nn:mm` of four.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no community: write `64512:100`, or a large one, `64512:1:2`");
        let parts: Vec<&str> = text.split(':').collect();
        // `parse` alone would take `+1`.
        if parts.iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(wrong());
        }
        match parts[..] {
            [high, low] => match (high.parse::<u16>(), low.parse::<u16>()) {
                (Ok(high), Ok(low)) => Ok(Self::Standard(u32::from(high) << 16 | u32::from(low))),
                _ => Err(wrong()),
            },
            [a, b, c] => match (a.parse(), b.parse(), c.parse()) {
                (Ok(a), Ok(b), Ok(c)) => Ok(Self::Large(a, b, c)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

/// Communities for what lies inside a network (`prefixAdvertisements`, calico-behaviour 7.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixAdvertisement {
    /// The network.
    pub cidr: IpNet,
    /// The communities, sorted.
    pub communities: Vec<Community>,
}

/// NEXT_HOP of exported routes (`nextHopMode`, calico-behaviour 7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopMode {
    /// BGP's default: our address towards external peers, unchanged towards internal ones (RFC 4271 §5.1.3).
    #[default]
    Auto,
    /// Our address, always.
    Own,
    /// As it was received, always.
    Keep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_two_or_three_numbers() {
        assert_eq!("65535:65281".parse(), Ok(Community::Standard(0xffff_ff01)));
        assert_eq!("1:2:4294967295".parse(), Ok(Community::Large(1, 2, u32::MAX)));
        for wrong in ["", "1", "1:", "65536:1", "1:2:3:4", "+1:2", "a:b", "1:2:4294967296"] {
            assert!(wrong.parse::<Community>().is_err(), "{wrong}");
        }
        assert_eq!("64512:100".parse::<Community>().unwrap().to_string(), "64512:100");
    }
}
