//! The real kernel, over rtnetlink. This folder alone knows the packet crates.
//!
//! Blocking sockets, opened inside the namespace by the thread that uses them: of what was measured the fastest, and the
//! simplest to attribute answers to requests with.

#![expect(clippy::disallowed_methods, reason = "I/O edge: reads the clock to bound a wait")]

pub(super) mod decode;
mod departure;
pub(super) mod encode;
pub(super) mod nftables;
pub(super) mod socket;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use self::departure::Departures;
use self::encode::LO;
use self::socket::{BATCH, Request, RouteSocket, wait_readable};
use super::error::{FabricError, KernelReason};
use super::kernel::{Change, FoundNetns, Kernel, Mark, Work};
use super::netns::{self, Netns, in_parallel};
use super::process;
use crate::net::{IfName, NetnsName};
use crate::plan::Sysctl;

/// How long a link may take to pass packets after it was set up.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// RTNLGRP_LINK: links come, go and change.
pub(super) const GROUP_LINK: u32 = 1;

/// Parameters that come with a module.
const OPTIONAL: [&str; 2] = ["net/ipv6/", "net/bridge/"];

/// This host's kernel. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetlinkKernel;

impl Kernel for NetlinkKernel {
    fn namespaces(&self) -> Result<Vec<FoundNetns>, FabricError> {
        let names = netns::names()
            .map_err(|source| FabricError::Host { action: "list the namespaces in /run/netns", source })?;
        Ok(in_parallel(&names, |name| FoundNetns { name: name.clone(), mark: mark_of(name) }))
    }

    fn create(&self, names: &[NetnsName], alias: &str) -> (Vec<NetnsName>, Result<(), FabricError>) {
        if let Err(source) = netns::prepare_directory() {
            return (Vec::new(), Err(FabricError::Host { action: "set up /run/netns", source }));
        }
        let failed = AtomicBool::new(false);
        let outcomes = in_parallel(names, |name| {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let outcome = netns::create(name, || set_mark(alias));
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            Some(outcome)
        });
        let mut created = Vec::new();
        let mut first = Ok(());
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Some(Ok(())) => created.push(name.clone()),
                Some(Err(source)) if first.is_ok() => {
                    first = Err(FabricError::Netns { action: "create namespace", netns: name.clone(), source });
                }
                _ => {}
            }
        }
        (created, first)
    }

    fn configure(&self, work: &[Work]) -> Result<(), FabricError> {
        in_parallel(work, configure_one).into_iter().collect()
    }

    fn settle(&self, links: &[(NetnsName, Vec<IfName>)]) -> Result<(), FabricError> {
        in_parallel(links, |(netns, links)| settle_one(netns, links)).into_iter().collect()
    }

    fn delete(&self, names: &[NetnsName]) -> Vec<FabricError> {
        let failed = |action, netns: &NetnsName, source| FabricError::Netns { action, netns: netns.clone(), source };
        let mut errors = Vec::new();
        let mut open = Vec::new();
        for name in names {
            match Netns::open(name) {
                Ok(netns) => open.push(netns),
                // Gone, or the empty file that `netns::remove` takes away below.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
                Err(error) => errors.push(failed("open namespace", name, error)),
            }
        }
        errors.extend(process::end_all(&open));
        let departures = match open.is_empty() {
            true => None,
            false => match Departures::watch(open) {
                Ok(departures) => Some(departures),
                Err(source) => {
                    errors.push(FabricError::Host { action: "watch namespaces go", source });
                    None
                }
            },
        };
        let removed = in_parallel(names, netns::remove);
        for (name, outcome) in names.iter().zip(removed) {
            errors.extend(outcome.err().map(|source| failed("remove namespace", name, source)));
        }
        if let Some(departures) = departures {
            match departures.wait() {
                Ok(held) => errors.extend(held.into_iter().map(|netns| FabricError::Held { netns })),
                Err(source) => errors.push(FabricError::Host { action: "wait for namespaces to go", source }),
            }
        }
        errors
    }
}

fn set_mark(alias: &str) -> io::Result<()> {
    let answers = RouteSocket::new()?.batch(vec![encode::set_alias(LO, alias)])?;
    answers.into_iter().collect::<Result<(), _>>().map_err(|reason| io::Error::from_raw_os_error(reason.errno))
}

fn mark_of(name: &NetnsName) -> Mark {
    let netns = match Netns::open(name) {
        Err(_) if netns::is_empty_file(name) => return Mark::EmptyFile,
        Err(_) => return Mark::Unreadable,
        Ok(netns) => netns,
    };
    read_mark(&netns).unwrap_or(Mark::Unreadable)
}

fn read_mark(netns: &Netns) -> io::Result<Mark> {
    netns::enter(netns)?;
    let mut socket = RouteSocket::new()?;
    let lo = socket.query(encode::get_link(LO)).map_err(|reason| io::Error::from_raw_os_error(reason.errno))?;
    if let Some(alias) = decode::link(lo).and_then(|lo| lo.alias) {
        return Ok(Mark::Alias(alias));
    }
    Ok(Mark::None)
}

fn configure_one(work: &Work) -> Result<(), FabricError> {
    let mut hand = Hand::open(&work.netns)?;
    for change in &work.changes {
        hand.take(change)?;
    }
    hand.flush()
}

fn enter(name: &NetnsName) -> Result<RouteSocket, FabricError> {
    let opened = Netns::open(name).and_then(|netns| {
        netns::enter(&netns)?;
        RouteSocket::new()
    });
    opened.map_err(|source| FabricError::Netns { action: "enter namespace", netns: name.clone(), source })
}

/// Carries out the changes of one namespace, gathering messages into batches. The thread stays inside.
struct Hand<'a> {
    netns: &'a NetnsName,
    socket: RouteSocket,
    /// Interface indices; `None` until they are needed, and after links were made.
    indices: Option<HashMap<IfName, u32>>,
    /// What has been encoded and not yet sent.
    pending: Vec<(&'a Change, Request)>,
    /// The namespaces that the pending messages name by descriptor.
    peers: Vec<Netns>,
}

impl<'a> Hand<'a> {
    fn open(netns: &'a NetnsName) -> Result<Self, FabricError> {
        Ok(Self { netns, socket: enter(netns)?, indices: None, pending: Vec::new(), peers: Vec::new() })
    }

    fn take(&mut self, change: &'a Change) -> Result<(), FabricError> {
        if let Change::Sysctl(sysctl) = change {
            self.flush()?;
            return write_sysctl(sysctl).map_err(|error| refused(change, self.netns, error.into()));
        }
        if encode::needs_index(change) && self.indices.is_none() {
            self.flush()?;
            self.indices = Some(indices(&mut self.socket).map_err(|error| refused(change, self.netns, error.into()))?);
        }
        let mut peer = None;
        match change {
            Change::AddVeth { peer_netns, .. } => {
                let netns = Netns::open(peer_netns).map_err(|error| refused(change, self.netns, error.into()))?;
                peer = Some(netns.fd().as_raw_fd());
                self.peers.push(netns);
                self.indices = None;
            }
            Change::AddBridge(_) | Change::AddIpip(_) => self.indices = None,
            _ => {}
        }
        let request = encode::change(change, |dev| self.indices.as_ref()?.get(dev).copied(), peer)
            .map_err(|reason| refused(change, self.netns, reason))?;
        if matches!(change, Change::AddVxlan { .. }) {
            self.indices = None;
        }
        self.pending.push((change, request));
        if self.pending.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        let (changes, requests): (Vec<_>, Vec<_>) = self.pending.drain(..).unzip();
        let Some(first) = changes.first() else { return Ok(()) };
        let answers = self.socket.batch(requests).map_err(|error| refused(first, self.netns, error.into()))?;
        self.peers.clear();
        for (change, answer) in changes.into_iter().zip(answers) {
            match answer {
                // The one that came with the namespace.
                Err(reason) if reason.errno == Errno::EEXIST as i32 && matches!(change, Change::AddIpip(_)) => {}
                answer => answer.map_err(|reason| refused(change, self.netns, reason))?,
            }
        }
        Ok(())
    }
}

fn refused(change: &Change, netns: &NetnsName, reason: KernelReason) -> FabricError {
    FabricError::Change { change: Box::new(change.clone()), netns: netns.clone(), reason }
}

/// Interface indices of the socket's namespace by name.
///
/// # Errors
/// The kernel refuses the dump.
pub(super) fn indices(socket: &mut RouteSocket) -> io::Result<HashMap<IfName, u32>> {
    let pairs = socket.dump(&encode::get_links(), |message| {
        let link = decode::link(message)?.link;
        Some((link.name, link.index))
    })?;
    Ok(pairs.into_iter().collect())
}

/// Writes a kernel parameter of the calling thread's namespace.
fn write_sysctl(sysctl: &Sysctl) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(&sysctl.key);
    match fs::OpenOptions::new().write(true).open(path) {
        // A kernel without IPv6, or without `br_netfilter`, has it switched off already.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && OPTIONAL
                    .iter()
                    .any(|tree| sysctl.key.starts_with(tree) && !Path::new("/proc/sys").join(tree).exists()) =>
        {
            Ok(())
        }
        file => io::Write::write_all(&mut file?, sysctl.value.as_bytes()),
    }
}

fn settle_one(netns: &NetnsName, links: &[IfName]) -> Result<(), FabricError> {
    let failed =
        |source| FabricError::Netns { action: "wait for the links of namespace", netns: netns.clone(), source };
    let mut socket = enter(netns)?;
    let indices = indices(&mut socket).map_err(failed)?;
    let mut waiting = Vec::new();
    for name in links {
        match indices.get(name) {
            Some(index) => waiting.push((name, *index)),
            None => return Err(failed(Errno::ENODEV.into())),
        }
    }
    // Asking for one link (not a dump) makes a kernel from 6.8 on bring its state up to date; on an older one, and while
    // the other end is still down, a notification says when to ask again.
    retain_unsettled(&mut socket, &mut waiting).map_err(failed)?;
    if waiting.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut watch = RouteSocket::new().map_err(failed)?;
    watch.socket().add_membership(GROUP_LINK).map_err(failed)?;
    loop {
        retain_unsettled(&mut socket, &mut waiting).map_err(failed)?;
        let Some((link, _)) = waiting.first() else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(FabricError::NoCarrier { link: (*link).clone(), netns: netns.clone() });
        }
        wait_readable(watch.socket(), left).map_err(failed)?;
        loop {
            match watch.notifications() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Lost notifications are as good a reason to look again.
                Err(_) => break,
            }
        }
    }
}

fn retain_unsettled(socket: &mut RouteSocket, waiting: &mut Vec<(&IfName, u32)>) -> io::Result<()> {
    let mut still = Vec::new();
    for (name, index) in waiting.drain(..) {
        let answer = socket.query(encode::get_link(index));
        let message = answer.map_err(|reason| io::Error::from_raw_os_error(reason.errno))?;
        if !decode::link(message).is_some_and(|link| link.operational && link.link.carrier) {
            still.push((name, index));
        }
    }
    *waiting = still;
    Ok(())
}
