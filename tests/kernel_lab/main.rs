//! The real `lab` on the real kernel, from outside: what a user types, what the host shows, and what is left afterwards.
//!
//! Needs root. Without it every test says "not run"; with `LAB_TEST_KERNEL=require` it fails instead. The tests look at
//! the whole host, so they take turns, and each has a lab name of its own. Nothing waits for a time, only for facts.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test runs programs, reads files and the clock")]

mod capture_load;
mod dissect;
mod external;
mod faults;
mod golden;
mod golden_modes;
mod host;
mod hygiene;
mod interrupted;
mod lacking;
mod scenarios;
mod tshark;
mod tunnel_faults;
mod verbs;
