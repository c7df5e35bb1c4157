//! Our speakers over real TCP in real namespaces: with BIRD 2 in the place of one of them, with every daemon that Debian has at the other
//! end, and with peers that mean harm.
//!
//! Needs root, `tcpdump`, `tshark`, and BIRD 2, FRR, GoBGP and ExaBGP: one that is missing fails its tests.

#![expect(clippy::disallowed_methods, reason = "a test against the real kernel runs programs and reads the clock")]

mod bird;
mod capture;
mod cluster;
mod hostile;
mod matrix;
mod removals;
mod wire;
