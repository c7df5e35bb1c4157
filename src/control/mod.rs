//! The daemon that keeps a lab, its Unix socket, and the client of it.
//!
//! `lab up` starts one daemon per lab. It builds the fabric, runs the speakers and the pods' web servers, and answers on
//! `/run/lab/<lab>/control.sock`. What can be seen in the kernel is looked at there by whoever asks; the daemon is asked
//! only for what nobody else knows: sessions, paths, faults in force, and whether the lab has converged.

mod client;
mod converge;
mod daemon;
mod down;
mod interrupt;
mod lab;
mod protocol;
mod server;
mod speaker;
mod state;
mod sweep;
mod tunnels;
mod up;

pub use crate::bgp_io::Order;
pub use client::{Client, ClientError};
pub use daemon::run as run_daemon;
pub use down::{DownError, down};
pub use interrupt::Interrupt;
pub use protocol::*;
pub use state::{LabState, StateDir, StateError, labs};
pub use sweep::marked;
pub use up::{UpError, UpOptions, up};
