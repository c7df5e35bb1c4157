//! What passes on the way to a node: the kernel's path MTU, which it learns from devices, routes and ICMP.

#![expect(clippy::disallowed_methods, reason = "an answer of the kernel holds for a while")]

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use crate::fabric::Netns;

/// Path MTUs in bytes. The kernel tells nobody that one has changed, so they are asked for again after a while.
#[derive(Debug)]
pub(super) struct PathMtus {
    /// Sends nothing: connecting it makes the kernel look up the route.
    socket: UdpSocket,
    known: HashMap<Ipv4Addr, (u16, Instant)>,
}

/// How long an answer holds; shorter than any retransmission of TCP.
const HOLDS: Duration = Duration::from_millis(50);

/// How many answers are kept.
const MOST: usize = 4096;

impl PathMtus {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        let socket = netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        Ok(Self { socket, known: HashMap::new() })
    }

    /// To `node`, in bytes. Where there is no route nothing limits: the sending will fail.
    pub(super) fn to(&mut self, node: Ipv4Addr) -> u16 {
        match self.known.get(&node) {
            Some((mtu, at)) if at.elapsed() < HOLDS => *mtu,
            _ => {
                let mtu = self.ask(node).unwrap_or(u16::MAX);
                // A route without gateway makes any destination a node of its own.
                if self.known.len() >= MOST {
                    self.known.clear();
                }
                self.known.insert(node, (mtu, Instant::now()));
                mtu
            }
        }
    }

    /// Takes the last answer back.
    pub(super) fn forget(&mut self, node: Ipv4Addr) {
        self.known.remove(&node);
    }

    fn ask(&self, node: Ipv4Addr) -> io::Result<u16> {
        // The port is discard's; connecting a datagram socket again replaces its route.
        self.socket.connect((node, 9))?;
        let mtu = getsockopt(&self.socket, sockopt::IpMtu)?;
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }
}
