//! BGP daemons other than ours, which a lab can run in the place of a speaker.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::RouteProtocol;

/// A daemon that the host has, and that runs inside a node's or router's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExternalSpeaker {
    /// BIRD 2.
    Bird,
    /// FRRouting: its zebra and bgpd.
    Frr,
    /// GoBGP: it writes no routes into the kernel.
    GoBgp,
    /// ExaBGP: it announces its networks, passes nothing on, and writes no routes into the kernel.
    ExaBgp,
}

impl ExternalSpeaker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bird, Self::Frr, Self::GoBgp, Self::ExaBgp];

    /// As a topology file names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::GoBgp => "gobgp",
            Self::ExaBgp => "exabgp",
        }
    }

    /// The package of Debian and Ubuntu that has it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::GoBgp => "gobgpd",
            Self::ExaBgp => "exabgp",
        }
    }

    /// The programs that a lab runs of it.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Bird => &["bird"],
            Self::Frr => &["zebra", "bgpd"],
            Self::GoBgp => &["gobgpd", "gobgp"],
            Self::ExaBgp => &["exabgp"],
        }
    }

    /// Under which protocol number it writes what it learned into the kernel; `None` for one that does not.
    pub fn route_protocol(self) -> Option<RouteProtocol> {
        match self {
            Self::Bird => Some(RouteProtocol::BIRD),
            Self::Frr => Some(RouteProtocol::BGP),
            Self::GoBgp | Self::ExaBgp => None,
        }
    }

    /// Whether it tells its peers what it learned from others.
    pub fn passes_on(self) -> bool {
        self != Self::ExaBgp
    }
}

impl fmt::Display for ExternalSpeaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::GoBgp => "GoBGP",
            Self::ExaBgp => "ExaBGP",
        })
    }
}
