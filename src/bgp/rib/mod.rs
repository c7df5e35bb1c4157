//! The three tables of RFC 4271 §3.2, and the decision between them.
//!
//! With everything imported there is one table of paths, as in BIRD: [`LocRib`] holds every path of every prefix, with the one
//! selected; an [`AdjRibIn`] is the set of its entries that a peer has a path in, an [`AdjRibOut`] the set of those that the peer has
//! been told or is still to be told. Sets of small integers cost a bit per prefix and peer, which is what makes thousands of
//! sessions in one process possible.

mod adj_rib_in;
mod adj_rib_out;
mod decision;
mod fib_hop;
mod id_set;
mod loc_rib;
mod path;
mod prefixes;

pub(super) use adj_rib_in::AdjRibIn;
pub(super) use adj_rib_out::{AdjRibOut, Said};
pub(super) use decision::{Candidate, Clause, PeerFacts, decide, is_resolvable};
pub(super) use fib_hop::FibHop;
pub(super) use id_set::IdSet;
pub(super) use loc_rib::{Entry, EntryId, LocRib, Marked};
pub(super) use path::{Path, PathId, PathSource, SourceKey};
