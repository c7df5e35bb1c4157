//! The prefixes of a table by their numbers, packed: of a million every byte counts.

use std::hash::BuildHasher;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustc_hash::FxBuildHasher;

use super::loc_rib::EntryId;
use crate::bgp::wire::Family;

/// All of one family, so that an IPv4 prefix takes its five bytes and not the seventeen of either.
#[derive(Debug)]
pub(super) enum Prefixes {
    V4(Vec<Ipv4Net>),
    V6(Vec<Ipv6Net>),
}

impl Default for Prefixes {
    fn default() -> Self {
        Self::new(Family::default())
    }
}

impl Prefixes {
    pub(super) fn new(family: Family) -> Self {
        match family {
            Family::Ipv4Unicast => Self::V4(Vec::new()),
            Family::Ipv6Unicast => Self::V6(Vec::new()),
        }
    }

    /// Puts `prefix` in the place of `old`, else behind the last; its number, or `None` if it is of the other family.
    pub(super) fn put(&mut self, old: Option<EntryId>, prefix: &IpNet) -> Option<EntryId> {
        match (self, prefix) {
            (Self::V4(prefixes), IpNet::V4(prefix)) => Some(put(prefixes, old, *prefix)),
            (Self::V6(prefixes), IpNet::V6(prefix)) => Some(put(prefixes, old, *prefix)),
            _ => None,
        }
    }

    pub(super) fn get(&self, id: EntryId) -> IpNet {
        match self {
            Self::V4(prefixes) => prefixes[id.0 as usize].into(),
            Self::V6(prefixes) => prefixes[id.0 as usize].into(),
        }
    }

    /// Whether `id` is the number of `prefix`.
    pub(super) fn is(&self, id: EntryId, prefix: &IpNet) -> bool {
        match (self, prefix) {
            (Self::V4(prefixes), IpNet::V4(prefix)) => prefixes[id.0 as usize] == *prefix,
            (Self::V6(prefixes), IpNet::V6(prefix)) => prefixes[id.0 as usize] == *prefix,
            _ => false,
        }
    }

    pub(super) fn hash_of(&self, id: EntryId) -> u64 {
        Self::hash(&self.get(id))
    }

    pub(super) fn hash(prefix: &IpNet) -> u64 {
        match prefix {
            IpNet::V4(prefix) => FxBuildHasher.hash_one((u32::from(prefix.addr()), prefix.prefix_len())),
            IpNet::V6(prefix) => FxBuildHasher.hash_one((u128::from(prefix.addr()), prefix.prefix_len())),
        }
    }
}

fn put<T>(prefixes: &mut Vec<T>, old: Option<EntryId>, prefix: T) -> EntryId {
    match old {
        Some(id) => {
            prefixes[id.0 as usize] = prefix;
            id
        }
        None => {
            prefixes.push(prefix);
            EntryId((prefixes.len() - 1) as u32)
        }
    }
}
