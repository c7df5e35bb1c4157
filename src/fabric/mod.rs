//! Makes the kernel what a plan says, reads it back, and removes it: namespaces, links, addresses, routes.
//!
//! [`apply`] and [`remove`] decide what to do and speak to the [`kernel::Kernel`] trait; [`netlink`] is the real kernel
//! and [`fake`] one in memory. [`mod@observe`], [`routes`], [`monitor`] and [`fault`] serve a lab that stands. Nothing here
//! is asynchronous but where it says so: a batch takes the kernel micro- to milliseconds, so a caller with a runtime puts
//! [`apply::build`] and [`remove::remove_lab`] on a blocking thread.

pub mod apply;
pub mod error;
pub mod fake;
pub mod fault;
pub mod host;
pub mod kernel;
pub mod masquerade;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod observe;
pub mod process;
pub mod remove;
pub mod routes;
pub mod socket;
pub mod spawn;
pub mod tun;

mod pidfd;
mod tcp_options;

pub use apply::{Progress, Stage, add_tunl0, build, configure_tunl0};
pub use error::{FabricError, KernelReason};
pub use fault::{restore_link, set_link};
pub use kernel::{Change, FoundNetns, Kernel, Mark};
pub use masquerade::{MasqueradeOutcome, apply_masquerade};
pub use monitor::{Changed, Monitor};
pub use netlink::NetlinkKernel;
pub use netns::Netns;
pub use observe::{Observed, observe, snapshot};
pub use process::{end_process, processes_in};
pub use remove::{list_labs, remove_lab};
pub use routes::RouteWriter;
pub use spawn::{Program, spawn};
pub use tun::{has_tun, open_tun};
