//! What every namespace and every speaker of a lab must contain, as a value.
//!
//! `build` is a function of the topology alone. The plan is what `fabric::apply` carries out, what `lab plan` prints,
//! and what the convergence check and the scenarios compare the kernel with.

pub mod desired;

pub use desired::*;
