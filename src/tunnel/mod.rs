//! `tunl0` in user space, for kernels without `ipip`: a TUN device, and a task per direction that does what `packet::ipip` says.
//!
//! May use a namespace's device, sockets and routes; configures nothing: address, MTU and state of the device are links of the plan like
//! any other. What is on the wire is the kernel's IP in IP: protocol 4, routed and fragmented by the kernel.
//!
//! | File | Holds |
//! |---|---|
//! | `tunl0` | starting a tunnel, its statistics, its end |
//! | `outbound` | device to wire |
//! | `inbound` | wire to device |
//! | `next_hops` | which node a packet goes to, from the namespace's own routes |
//! | `path_mtu` | what passes on the way there |
//! | `counters` | what was carried and what dropped, with reasons |

mod counters;
mod inbound;
mod next_hops;
mod outbound;
mod path_mtu;
mod tunl0;

pub use counters::{DropReason, Statistics, Traffic};
pub use tunl0::{Config, Failure, TUNL0, Tunl0};

/// Who provides `tunl0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The kernel's `ipip`.
    Kernel,
    /// [`Tunl0`].
    User,
}

/// Who provides `tunl0` on this host: the kernel where `ipip` is loaded. It is never loaded from here, because that would put a `tunl0`
/// into every namespace of the host (calico-behaviour 1.1).
pub fn provider() -> Provider {
    match crate::fabric::host::ipip_is_loaded() {
        true => Provider::Kernel,
        false => Provider::User,
    }
}
