//! Our speakers over real TCP in real namespaces: with BIRD 2 in the place of one of them, and with peers that mean harm.
//!
//! Needs root, `bird`, `tcpdump` and `tshark`.

#![expect(clippy::disallowed_methods, reason = "a test against the real kernel runs programs and reads the clock")]

mod bird;
mod cluster;
mod hostile;
