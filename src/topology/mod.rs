//! A topology file: raw (serde mirror of the TOML) → [`Topology`] (every reference resolved), with every error at once.
//!
//! | File | Holds |
//! |---|---|
//! | `raw` | the TOML as it is written, and its JSON schema |
//! | `shape` | keys, types, ranges and choices, checked against the schema |
//! | `resolve` | what the words mean together: names, addresses, segments, pools, pods |
//! | `selector` | Calico's selector language |
//! | `model` | the result |
//!
//! Takes text, reads no file.

pub mod error;
pub mod model;
mod parse;
mod raw;
mod resolve;
pub mod selector;
mod shape;
pub mod spelling;
#[cfg(test)]
mod tests;

pub use error::{Diagnostic, Faults};
pub use model::*;
pub use parse::{SYNTAX_FAULTS, parse, syntax_fault};
pub use raw::schema;
pub use selector::Selector;
