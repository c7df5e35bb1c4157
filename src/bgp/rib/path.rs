//! One prefix's paths, and where each came from.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Clause;
use crate::bgp::event::PeerId;
use crate::bgp::wire::Attributes;
use crate::net::{IfName, Route};

/// Which protocol instance a path came from: each has at most one path per prefix and path identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bgp) enum SourceKey {
    /// `direct1`.
    Direct,
    /// `static1`.
    Static,
    /// `kernel1`.
    Kernel,
    /// A BGP session.
    Peer(PeerId),
}

/// Where a path came from and what it says: in two words, of which there would be a million.
#[derive(Clone, Debug)]
pub(in crate::bgp) enum PathSource {
    /// The network of an address on this interface.
    Direct(Arc<IfName>),
    /// A configured route: a blackhole, or through this gateway.
    Static(Option<Arc<IpAddr>>),
    /// A route of the kernel's that somebody else wrote.
    Kernel(Arc<Route>),
    /// An UPDATE.
    Bgp(PeerId, Arc<Attributes>),
}

impl PathSource {
    /// The protocol instance.
    pub(in crate::bgp) fn key(&self) -> SourceKey {
        match self {
            Self::Direct(_) => SourceKey::Direct,
            Self::Static(_) => SourceKey::Static,
            Self::Kernel(_) => SourceKey::Kernel,
            Self::Bgp(peer, _) => SourceKey::Peer(*peer),
        }
    }

    /// What its way is found by, through other routes.
    pub(in crate::bgp) fn next_hop(&self) -> Option<IpAddr> {
        match self {
            Self::Bgp(_, attributes) => Some(attributes.next_hop),
            Self::Static(gateway) => gateway.as_ref().map(|gateway| **gateway),
            Self::Direct(_) | Self::Kernel(_) => None,
        }
    }

    /// BIRD's preference (calico-behaviour 7.1).
    pub(in crate::bgp) fn preference(&self) -> u32 {
        match self {
            Self::Direct(_) => 240,
            Self::Static(_) => 200,
            Self::Bgp(..) => 100,
            Self::Kernel(_) => 10,
        }
    }

    /// The same path as `other`, by identity of what it shares: a cheap test that may miss equality but never difference.
    pub(in crate::bgp) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Direct(a), Self::Direct(b)) => a == b,
            (Self::Static(a), Self::Static(b)) => a == b,
            (Self::Kernel(a), Self::Kernel(b)) => Arc::ptr_eq(a, b),
            (Self::Bgp(p, a), Self::Bgp(q, b)) => p == q && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// One path.
#[derive(Clone, Debug)]
pub(in crate::bgp) struct Path {
    /// What it is.
    pub(in crate::bgp) source: PathSource,
    /// The path identifier that it came with (RFC 7911 §3); 0 without ADD-PATH, and for what did not come by BGP.
    pub(in crate::bgp) received_id: u32,
    /// Since when.
    pub(super) since: Millis,
    /// Which of its prefix's paths it is, the lowest number that was free: what it is told on with.
    pub(in crate::bgp) id: PathId,
    /// The clause of the decision process that it lost by.
    pub(in crate::bgp) lost: Option<Clause>,
    /// From before its peer restarted or began to send everything again, and not announced since (RFC 4724 §4.2, RFC 7313 §4). As
    /// good as any other until it goes.
    pub(in crate::bgp) stale: bool,
}

/// A path's number among those of its prefix. It stays while the path's source and path identifier are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) struct PathId(pub(in crate::bgp) u16);

impl Path {
    /// Whether it is the one that `source` announces with `received_id`.
    pub(super) fn is_of(&self, source: SourceKey, received_id: u32) -> bool {
        self.source.key() == source && self.received_id == received_id
    }
}

/// Milliseconds of a table's own time, up to 49 days; it stands still then. A quarter of an `Instant`, of which there would be a million.
pub(super) type Millis = u32;

/// The paths of one prefix, in no allocation of their own while there is but one.
#[derive(Debug, Default)]
pub(in crate::bgp) enum Paths {
    /// None.
    #[default]
    None,
    /// One.
    One(Path),
    /// Several.
    #[expect(clippy::box_collection, reason = "a vector would make every entry as large as itself")]
    Several(Box<Vec<Path>>),
}

impl Paths {
    /// Adds one at the end.
    pub(super) fn push(&mut self, path: Path) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(path),
            Self::One(first) => Self::Several(Box::new(vec![first, path])),
            Self::Several(mut paths) => {
                paths.push(path);
                Self::Several(paths)
            }
        };
    }

    /// Takes out those that are to `go`, and leaves the others in order: the selected one stays the first.
    pub(super) fn remove(&mut self, go: impl Fn(&Path) -> bool) {
        match self {
            Self::Several(paths) => {
                paths.retain(|path| !go(path));
                if paths.len() < 2 {
                    *self = paths.pop().map_or(Self::None, Self::One);
                }
            }
            Self::One(path) if go(path) => *self = Self::None,
            Self::None | Self::One(_) => {}
        }
    }
}

impl Deref for Paths {
    type Target = [Path];

    fn deref(&self) -> &[Path] {
        match self {
            Self::None => &[],
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }
}

impl DerefMut for Paths {
    fn deref_mut(&mut self) -> &mut [Path] {
        match self {
            Self::None => &mut [],
            Self::One(path) => std::slice::from_mut(path),
            Self::Several(paths) => paths,
        }
    }
}
