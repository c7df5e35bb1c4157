//! The daemon that keeps a lab, its Unix socket, and the client of it.
