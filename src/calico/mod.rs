//! Calico's calculations, bit for bit: IPAM, names, selectors (docs/calico-behaviour.md).
