//! What every namespace and every speaker of a lab must contain, as a value.
//!
//! `build` is a function of the topology alone. The plan is what `fabric::apply` carries out, what `lab plan` prints,
//! and what the convergence check and the scenarios compare the kernel with.
//!
//! `desired` holds the types, `build` puts a plan together from `netns` (links, addresses, sysctls), `felix` (tunnels and
//! Felix's routes) and `speakers` (sessions); `expect` says what must hold while faults are in force: `sessions` which sessions stand,
//! by the paths that `graph` finds, and `bgp::solve` which routes they carry.

mod build;
pub mod desired;
pub mod expect;
mod felix;
pub mod graph;
mod impossible;
mod netns;
mod sessions;
pub mod speakers;
#[cfg(test)]
pub(crate) mod testing;

pub use build::build;
pub use desired::*;
pub use expect::{Difference, Expectation, Faults, verify};
pub use impossible::causes;
