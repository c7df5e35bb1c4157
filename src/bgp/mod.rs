//! BGP without I/O: the codec, the session state machine, the RIBs and the speaker that joins them.
//!
//! Everything here is deterministic: time comes in as an argument, bytes and socket events come in as [`Event`]s,
//! and what is to be done goes out as [`Action`]s. `bgp_io` drives it with real sockets, tests with queues and a
//! virtual clock. It knows nothing of topologies and plans: a speaker takes a [`SpeakerConfig`].

pub mod config;
pub mod event;
pub mod solve;
pub mod view;
pub mod wire;

mod filter;
mod next_hop;
mod peer;
mod policy;
mod reach;
mod rib;
mod session;
mod speaker;
mod timers;

#[cfg(test)]
mod tests;

pub use config::*;
pub use event::*;
pub use speaker::{PeerProgress, Speaker};
