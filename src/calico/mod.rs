//! Calico's calculations, bit for bit: IPAM, names, encapsulation (docs/calico-behaviour.md).

pub mod encap;
mod go_rand;
mod go_rand_table;
pub mod ipam;
pub mod names;
pub mod peering;
