//! Drives speakers: TCP sockets inside the namespaces, timers, and the kernel's routes.
//!
//! One [`Driver`] per speaker. What happens becomes an [`Event`](crate::bgp::Event), the speaker answers with
//! [`Action`](crate::bgp::Action)s, and the driver carries them out; nothing is decided here.
//!
//! ```text
//!   listener ── Accepted ─┐                            ┌─ Connect ──▶ a task per connection
//!   reader per connection ┼─▶ Mutex<Core { Speaker }> ─┼─ Transmit ─▶ the socket, at once
//!   timer ── timeout ─────┤                            ├─ Fib ──────▶ route writer, batched
//!   kernel monitor ───────┘                            └─ SessionChanged ─▶ whoever waits
//! ```

mod connection;
mod driver;
mod fib;

pub use crate::net::Order;
pub use driver::{Driver, DriverError};
