//! Runs a scenario: executes steps, waits for facts, emits events.
//!
//! `run` knows a lab only as the trait [`Lab`], and judges nothing itself: `scenario::assert` does. [`LiveLab`] is the
//! real one.

mod lab;
mod live;
mod path_mtu;
mod run;
mod wait;

pub use lab::{Captured, ExecRequest, HttpRequest, Lab, LabError, PingRequest};
pub use live::{LiveLab, Taps};
pub use run::run;
