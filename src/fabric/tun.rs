//! TUN devices: the kernel makes none by netlink, so they come from `/dev/net/tun`.
//!
//! A device made here is persistent: it belongs to its namespace and goes with it, whoever holds a descriptor. So it is made with the
//! other links, configured by netlink like them, and given to whoever serves it later; without a server its packets are lost.

use std::io;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::netns::Netns;
use crate::net::IfName;

/// Makes the TUN device `name` in `netns`: down, without address, with offloads. There may be one of that name already.
///
/// # Errors
/// `name` is a device of another kind (`InvalidInput`), no TUN in this kernel (`NotFound`), no permission.
pub fn create_tun(netns: &Netns, name: &IfName) -> io::Result<()> {
    let name = name.clone();
    netns.run(move || create_tun_here(&name))?
}

/// As [`create_tun`], in the namespace of the calling thread.
///
/// # Errors
/// As [`create_tun`].
pub(super) fn create_tun_here(name: &IfName) -> io::Result<()> {
    open_here(name)?.persist()
}

/// A descriptor to exchange packets with the TUN device `name` of `netns`, each with a `virtio_net_hdr` before it. Where there is no such
/// device, one is made, which lives as long as the descriptor. Read and write only: its other calls work on the caller's namespace.
///
/// # Errors
/// The device has a server already (`ResourceBusy`); as [`create_tun`].
pub fn open_tun(netns: &Netns, name: &IfName) -> io::Result<SyncDevice> {
    let name = name.clone();
    netns.run(move || open_here(&name))?
}

fn open_here(name: &IfName) -> io::Result<SyncDevice> {
    // "Inherit" is: neither up nor down is asked for.
    DeviceBuilder::new().name(name.as_str()).offload(true).inherit_enable_state().build_sync()
}
