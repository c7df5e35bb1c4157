//! Processes that live inside namespaces: finding them, and ending them before the namespace goes.

#![expect(clippy::disallowed_methods, reason = "I/O edge: reads the clock to bound a wait")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::fstat;

use super::error::FabricError;
use super::netns::Netns;
use super::pidfd;
use crate::net::NetnsName;

/// How long a process may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_millis(300);
/// How long the kernel may take to end it after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// Numbers of the processes whose network namespace is `netns`, in ascending order, the calling process excepted.
///
/// # Errors
/// `/proc` cannot be read, or the namespace's descriptor not be examined.
pub fn processes_in(netns: &Netns) -> io::Result<Vec<i32>> {
    Ok(scan(&inodes(std::slice::from_ref(netns))?)?.into_iter().map(|(pid, _)| pid).collect())
}

/// Ends the process `pid` and returns once it has gone: SIGTERM, and SIGKILL if it is still there after `grace`. Blocks. One
/// that has gone already is no error.
///
/// # Errors
/// It may not be signalled, or does not end.
pub fn end_process(pid: i32, grace: Duration) -> io::Result<()> {
    let process = match pidfd::open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        opened => opened?,
    };
    pidfd::send(&process, Signal::SIGTERM)?;
    let mut open = vec![process];
    wait(&mut open, grace);
    for process in &open {
        pidfd::send(process, Signal::SIGKILL)?;
    }
    wait(&mut open, KILL_WAIT);
    match open.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end")),
    }
}

/// Ends every process inside `namespaces`, except the calling one: SIGTERM and SIGHUP (an interactive shell heeds only
/// the second), then SIGKILL to those that are left.
pub(super) fn end_all(namespaces: &[Netns]) -> Vec<FabricError> {
    let host = |source| vec![FabricError::Host { action: "look for processes in namespaces", source }];
    let inodes = match inodes(namespaces) {
        Ok(inodes) => inodes,
        Err(error) => return host(error),
    };
    // A process may start another while it is being ended; three rounds catch all but a fork bomb.
    for round in 0.. {
        let found = match scan(&inodes) {
            Ok(found) => found,
            Err(error) => return host(error),
        };
        if found.is_empty() {
            return Vec::new();
        }
        if round == 3 {
            return found.into_iter().map(|(pid, netns)| FabricError::Process { netns: netns.clone(), pid }).collect();
        }
        end(&found, &inodes);
    }
    Vec::new()
}

fn end(found: &[(i32, &NetnsName)], inodes: &HashMap<u64, &NetnsName>) {
    let mut open: Vec<OwnedFd> = found
        .iter()
        .filter_map(|(pid, _)| {
            let process = pidfd::open(*pid).ok()?;
            // The number may have passed to another process since the scan.
            inode_of(*pid).filter(|inode| inodes.contains_key(inode)).map(|_| process)
        })
        .collect();
    for process in &open {
        // Whoever cannot be signalled has gone, or is found again by the next scan.
        let _ = pidfd::send(process, Signal::SIGTERM).and_then(|()| pidfd::send(process, Signal::SIGHUP));
    }
    wait(&mut open, GRACE);
    for process in &open {
        let _ = pidfd::send(process, Signal::SIGKILL);
    }
    wait(&mut open, KILL_WAIT);
}

/// Waits until all have ended, at most for `limit`; leaves those that have not.
fn wait(open: &mut Vec<OwnedFd>, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds: Vec<_> = open.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) => return,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let ended: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut ended = ended.into_iter();
        open.retain(|_| !ended.next().unwrap_or(false));
    }
}

fn inodes(namespaces: &[Netns]) -> io::Result<HashMap<u64, &NetnsName>> {
    namespaces.iter().map(|netns| Ok((fstat(netns.fd())?.st_ino, netns.name()))).collect()
}

fn scan<'a>(inodes: &HashMap<u64, &'a NetnsName>) -> io::Result<Vec<(i32, &'a NetnsName)>> {
    let own = std::process::id().cast_signed();
    let mut found: Vec<(i32, &NetnsName)> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| Some((pid, *inodes.get(&inode_of(pid)?)?)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The inode of the process's network namespace; `None` for a process that has gone, and for a zombie, which has none.
fn inode_of(pid: i32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|file| file.ino())
}
