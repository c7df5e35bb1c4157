//! Runs BGP daemons of the host inside namespaces, and asks them for their sessions.
//!
//! They are children of this process and end with it. Each has a folder in the lab's state directory with its configuration, its
//! log and the sockets over which it is asked; nothing of it is anywhere else.

mod ask;
mod process;
mod programs;

pub use ask::birdc;
pub use process::{External, ExternalError};
pub use programs::{Missing, find};
