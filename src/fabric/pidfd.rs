//! Process descriptors, which neither `std` nor `nix` wraps: with `tcp_options` and `spawn` the only `unsafe` of this folder.
//!
//! A descriptor goes on meaning the same process when its number is used again, and polls readable once it has ended.

#![expect(unsafe_code, reason = "pidfd_open and pidfd_send_signal have no safe wrapper in nix 0.31")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::signal::Signal;

/// Opens the process `pid`.
///
/// # Errors
/// It has gone (`ESRCH`), or there are no descriptors left.
pub(super) fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends `signal` to the process.
///
/// # Errors
/// It has gone (`ESRCH`), or is not ours to signal.
pub(super) fn send(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo makes the kernel fill it in as kill(2) does; the descriptor is open while borrowed.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as i32, info, 0) };
    match sent {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
