//! Waiting for the end of namespaces as a fact.
//!
//! Removing a name returns at once; the kernel takes the namespace apart later, on one work queue, a batch at a time. It
//! says so to whoever knows the namespace by a number (RTM_DELNSID), at the *beginning* of the batch, when nothing holds
//! it any more. So a nameless namespace is made to know all the doomed ones by number; when the last has been heard
//! of, one more namespace is made and dropped: it can only be in a later batch, and batches do not overlap, so
//! hearing of it means that every batch before it is finished: devices, addresses, routes and sockets are gone.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rtnetlink::packet_route::RouteNetlinkMessage;

use super::socket::{BATCH, RouteSocket, wait_readable};
use super::{decode, encode};
use crate::fabric::netns::{self, Netns};
use crate::net::NetnsName;

/// How long nothing may go on: no holder lets go of a namespace, and the kernel takes none apart.
const LIMIT: Duration = Duration::from_secs(10);

/// RTNLGRP_NSID: namespaces known by number come and go.
const GROUP_NSID: u32 = 28;

/// Namespaces that are about to go.
pub(super) struct Departures {
    /// In a nameless namespace of its own, which it keeps alive.
    socket: RouteSocket,
    /// By number; `None` once it has begun to go.
    names: Vec<Option<NetnsName>>,
}

impl Departures {
    /// Begins to watch, and lets go of the handles: only names and other holders keep the namespaces now.
    ///
    /// # Errors
    /// No memory or descriptors.
    pub(super) fn watch(namespaces: Vec<Netns>) -> io::Result<Self> {
        let mut socket = netns::in_new(|| {
            let mut socket = RouteSocket::new()?;
            socket.socket().add_membership(GROUP_NSID)?;
            Ok(socket)
        })?;
        for (batch, namespaces) in namespaces.chunks(BATCH).enumerate() {
            let ids = (batch * BATCH..).map(number);
            let requests = ids.zip(namespaces).map(|(id, netns)| encode::new_nsid(id, netns.fd().as_raw_fd()));
            introduce(&mut socket, requests.collect())?;
        }
        let names = namespaces.into_iter().map(|netns| Some(netns.name().clone())).collect();
        Ok(Self { socket, names })
    }

    /// Returns when all have gone entirely; the names of those that somebody still holds when none has gone for [`LIMIT`]: a busy host
    /// takes its time for hundreds.
    ///
    /// # Errors
    /// No memory or descriptors, or the kernel does not finish.
    pub(super) fn wait(self) -> io::Result<Vec<NetnsName>> {
        self.wait_at_most(LIMIT)
    }

    fn wait_at_most(mut self, limit: Duration) -> io::Result<Vec<NetnsName>> {
        self.wait_for_all(limit)?;
        let held: Vec<NetnsName> = self.names.iter_mut().filter_map(Option::take).collect();
        // The sentinel's number is new: those that are held keep theirs.
        let sentinel = self.names.len();
        self.names = vec![None; sentinel];
        let netns = netns::in_new(netns::own)?;
        introduce(&mut self.socket, vec![encode::new_nsid(number(sentinel), netns.as_raw_fd())])?;
        self.names.push(Some(NetnsName::new("sentinel").expect("a valid name")));
        drop(netns);
        self.wait_for_all(LIMIT)?;
        match self.names.iter().all(Option::is_none) {
            true => Ok(held),
            false => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }

    fn wait_for_all(&mut self, limit: Duration) -> io::Result<()> {
        let (mut deadline, mut there) = (Instant::now() + limit, usize::MAX);
        loop {
            self.drain()?;
            let now = self.names.iter().flatten().count();
            if std::mem::replace(&mut there, now) > now {
                deadline = Instant::now() + limit;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || there == 0 {
                return Ok(());
            }
            wait_readable(self.socket.socket(), left)?;
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        loop {
            match self.socket.notifications() {
                Ok(None) => return Ok(()),
                Ok(Some(messages)) => messages.iter().for_each(|message| self.heard(message)),
                // Some were lost: ask who is still there.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    let there = self.socket.dump(&encode::get_nsids(), |message| Some(decode::nsid(&message)?.1))?;
                    for (id, name) in self.names.iter_mut().enumerate() {
                        if !there.contains(&number(id)) {
                            *name = None;
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn heard(&mut self, message: &RouteNetlinkMessage) {
        let Some((false, id)) = decode::nsid(message) else { return };
        if let Some(name) = usize::try_from(id).ok().and_then(|id| self.names.get_mut(id)) {
            *name = None;
        }
    }
}

fn introduce(socket: &mut RouteSocket, requests: Vec<super::Request>) -> io::Result<()> {
    let answers = socket.batch(requests)?;
    answers.into_iter().collect::<Result<(), _>>().map_err(|reason| io::Error::from_raw_os_error(reason.errno))
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_somebody_holds_is_named_and_one_that_nobody_holds_is_gone() {
        if !nix::unistd::Uid::effective().is_root() {
            let required = std::env::var_os("LAB_TEST_KERNEL").is_some_and(|value| value == "require");
            assert!(!required, "needs root");
            eprintln!("not run: needs root");
            return;
        }
        let names = ["t-fabric-held", "t-fabric-free"].map(|name| NetnsName::new(name).unwrap());
        netns::prepare_directory().unwrap();
        for outcome in netns::in_parallel(&names, |name| netns::create(name, || Ok(()))) {
            outcome.unwrap();
        }
        let open = || names.iter().map(|name| Netns::open(name).unwrap()).collect::<Vec<_>>();
        let held = open().swap_remove(0);
        let departures = Departures::watch(open()).unwrap();
        let all = Departures::watch(vec![held.clone()]).unwrap();
        names.iter().for_each(|name| netns::remove(name).unwrap());
        assert_eq!(departures.wait_at_most(Duration::from_millis(100)).unwrap(), names[..1]);
        drop(held);
        assert_eq!(all.wait().unwrap(), []);
    }
}
