//! A scenario file: raw → steps, expectations, and the verdict of comparing what was expected with what was found.
//!
//! Pure: [`parse`] takes text, [`mod@assert`] takes values that somebody else observed, and [`RunEvent`]s are all that a
//! report ever sees of a run. `runner` is the I/O partner.

pub mod assert;
mod check;
pub mod event;
pub mod model;
pub mod observed;
pub mod pattern;
mod raw;
mod raw_capture;
mod read;
pub mod reproduce;
mod resolve;
mod resolve_capture;
mod resolve_traffic;
mod schema;
mod suggest;

pub use assert::{DiffLine, Mark, Mismatch, Verdict};
pub use check::check;
pub use event::{Failure, RunEvent, ScenarioOutcome, ScenarioResult, StepOutcome, StepResult, Summary};
pub use model::*;
pub use observed::{ExecResult, HttpResult, MtuResult, Obstacle, PingReply, PingResult, SeenPacket};
pub use resolve::parse;
pub use schema::schema;
