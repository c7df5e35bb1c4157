//! Traffic: ping, the HTTP client, and the web server of every pod.
//!
//! The edge of what a lab is asked: every socket is opened inside a namespace and used from the runtime. Nothing here knows
//! labs, nodes or scenarios.

mod close;
mod http;
mod ping;
mod pod;

pub use http::{HttpError, HttpReply, http_get};
pub use ping::{PathMtuDiscovery, PingError, PingOptions, ping};
pub use pod::{PodPage, PodServer, serve_pod};
