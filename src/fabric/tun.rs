//! TUN devices: the kernel makes none by netlink, so they come from `/dev/net/tun`.
//!
//! A device made here lives as long as its descriptor: `tunl0` in user space ends with the daemon, as a tunnel without a server would
//! swallow packets.

use std::fs::OpenOptions;
use std::io;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::netns::Netns;
use crate::net::IfName;

/// Makes the TUN device `name` in `netns`, down, without address, with offloads, and gives the descriptor to exchange packets with it, each
/// with a `virtio_net_hdr` before it. Read and write only: its other calls work on the caller's namespace.
///
/// # Errors
/// There is a device of that name (`ResourceBusy`, `InvalidInput`), no TUN in this kernel (`NotFound`), no permission.
pub fn open_tun(netns: &Netns, name: &IfName) -> io::Result<SyncDevice> {
    let name = name.clone();
    netns.run(move || open_here(&name))?
}

/// Whether this kernel has TUN, as far as opening `/dev/net/tun` tells; cheap.
///
/// # Errors
/// The system's reason why not: no such device node, no driver behind it, no permission.
pub fn has_tun() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop)
}

/// As [`open_tun`], in the namespace of the calling thread.
///
/// # Errors
/// As [`open_tun`].
pub(super) fn open_here(name: &IfName) -> io::Result<SyncDevice> {
    // The library would make the device node where there is none, and nothing of the host may change.
    has_tun()?;
    // "Inherit" is: neither up nor down is asked for.
    DeviceBuilder::new().name(name.as_str()).offload(true).inherit_enable_state().build_sync()
}
