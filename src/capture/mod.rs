//! Packet sockets inside the namespaces, and pcapng files.
//!
//! The edge of `packet`: [`Tap`] hears frames, [`pcapng::Writer`] keeps them; what is in them is `packet`'s business.

pub mod pcapng;
mod stamps;
mod tap;

pub use tap::{CaptureError, Captured, Interface, Tap};
