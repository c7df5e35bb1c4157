//! Drives speakers: TCP sockets inside the namespaces, timers, and the kernel's routes.
//!
//! One [`Driver`] per speaker. What happens becomes an [`Event`](crate::bgp::Event), the speaker answers with
//! [`Action`](crate::bgp::Action)s, and the driver carries them out; nothing is decided here.
//!
//! ```text
//!   listener ── Accepted ─┐                            ┌─ Connect ──▶ a task per connection
//!   reader per connection ┼─▶ Mutex<Core { Speaker }> ─┼─ Transmit ─▶ the socket, at once
//!   timer ── timeout ─────┤                            ├─ Fib ──────▶ route writer: the last word about each route, in batches
//!   kernel monitor ───────┘                            └─ SessionChanged ─▶ whoever waits
//! ```
//!
//! No queue grows without end. Bytes to a peer are encoded when its socket takes them; routes to the kernel wait once each, and
//! beyond a limit nothing more is read from the peers that bring them.

mod connection;
mod driver;
mod fib;

pub use crate::net::Order;
pub use driver::{Driver, DriverError};
