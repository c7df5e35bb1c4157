//! (expected, observed) → [`Verdict`]: comparisons of structure, never of text, and never of anything that is not an argument.

mod bgp_path;
mod bgp_session;
mod encapsulation;
mod entries;
mod links;
mod packet_pattern;
mod path;
mod path_mtu;
mod reachability;
mod route_table;

use std::fmt;

use serde::{Serialize, Serializer};

pub use bgp_path::paths;
pub use bgp_session::bgp;
pub use encapsulation::packets;
pub use entries::{fdb, neighbours};
pub use links::links;
pub use packet_pattern::PacketEnds;
pub use path::path;
pub use path_mtu::mtu;
pub use reachability::{curl, exec, ping};
pub use route_table::routes;

/// Whether what was found is what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Fail(Box<Mismatch>),
}

/// In what way something is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// The lines that differ, those about one thing side by side; may be empty.
    pub difference: Vec<DiffLine>,
}

impl Verdict {
    fn fail(expected: impl Into<String>, found: impl Into<String>, difference: Vec<DiffLine>) -> Self {
        Self::Fail(Box::new(Mismatch { expected: expected.into(), found: found.into(), difference }))
    }
}

/// One line that differs; prints as `- …` or `+ …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// Which side it is of.
    pub mark: Mark,
    /// The line.
    pub text: String,
}

impl DiffLine {
    fn missing(text: impl fmt::Display) -> Self {
        Self { mark: Mark::Missing, text: text.to_string() }
    }

    fn unexpected(text: impl fmt::Display) -> Self {
        Self { mark: Mark::Unexpected, text: text.to_string() }
    }
}

impl fmt::Display for DiffLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Missing => '-',
            Mark::Unexpected => '+',
        };
        write!(f, "{mark} {}", self.text)
    }
}

impl Serialize for DiffLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which side a differing line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `-`: expected, and not found.
    Missing,
    /// `+`: found, and not expected.
    Unexpected,
}

/// `1 route`, `2 routes`.
fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ if what.ends_with('y') => format!("{number} {}ies", &what[..what.len() - 1]),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod testing {
    //! What the tests of every assertion need.

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::scenario::{Encap, SeenPacket, Step, parse};

    /// A segment from 10.244.0.`src` to 10.244.0.`dst`.
    pub(super) fn seen(interface: &str, encap: Encap, src: u8, dst: u8) -> SeenPacket {
        SeenPacket {
            interface: interface.into(),
            at: UNIX_EPOCH,
            identity: None,
            encap,
            src: Some([10, 244, 0, src].into()),
            dst: Some([10, 244, 0, dst].into()),
            outer_src: None,
            outer_dst: None,
            outer_ttl: None,
            outer_port: None,
            vni: None,
            overhead: 0,
            ttl: Some(63),
            protocol: Some(6),
            ports: Some((40000, 80)),
            length: 74,
            text: format!("{interface} 10.244.0.{src} > 10.244.0.{dst} {encap}"),
        }
    }

    /// The only step of a scenario that consists of `step`.
    pub(super) fn step(step: &str) -> Step {
        parse(&format!("topology = 'x'\n[[step]]\n{step}")).unwrap().steps.remove(0)
    }

    /// `expected | found`, and the differing lines; empty if it passes.
    pub(super) fn shown(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Pass => vec![],
            Verdict::Fail(mismatch) => std::iter::once(format!("{} | {}", mismatch.expected, mismatch.found))
                .chain(mismatch.difference.iter().map(ToString::to_string))
                .collect(),
        }
    }
}
