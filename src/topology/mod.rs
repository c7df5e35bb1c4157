//! A topology file: raw (serde mirror of the TOML) → [`Topology`] (every reference resolved), with every error at once.

pub mod error;
pub mod model;

pub use error::Diagnostic;
pub use model::*;
