//! What was observed, as plain values: the edge fills them in, [`assert`](mod@super::assert) compares them.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::model::Encap;
use crate::packet::Identity;

/// What became of some echo requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PingResult {
    /// Requests sent.
    pub sent: u32,
    /// Replies, in the order in which they came; at most one per request.
    pub replies: Vec<PingReply>,
    /// What came instead. Not what is no fact of the network (no privilege, no such namespace): that is an error of the run.
    pub obstacles: Vec<Obstacle>,
}

/// Why a packet does not get through, as its sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is longer than the MTU that the sender's own kernel goes by.
    Local {
        /// In bytes, where the kernel says it.
        mtu: Option<u32>,
    },
    /// It is longer than the next hop's MTU at somebody on the way: ICMP "fragmentation needed" (RFC 1191 §4).
    FragmentationNeeded {
        /// Who says so.
        from: IpAddr,
        /// In bytes, where it is said.
        mtu: Option<u16>,
    },
    /// Any other ICMP error, `From 172.18.0.2: Destination Host Unreachable`, and any other refusal to send, `Network is unreachable`.
    Other(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { mtu: Some(mtu) } => write!(f, "local error: message too long, mtu={mtu}"),
            Self::Local { mtu: None } => f.write_str("local error: message too long"),
            Self::FragmentationNeeded { from, mtu } => {
                write!(f, "from {from}: fragmentation needed, mtu={}", mtu.unwrap_or(0))
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// How long a packet may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MtuResult {
    /// Length in bytes of the largest packet that passed; `None` if not even the shortest did.
    pub largest: Option<u16>,
    /// Why one byte more, or the shortest, did not pass; `None` is silence.
    pub obstacle: Option<Obstacle>,
}

/// One echo reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReply {
    /// Sequence number of the request, from 1.
    pub sequence: u16,
    /// TTL with which the reply arrived.
    pub ttl: u8,
    /// Between request and reply.
    pub round_trip: Duration,
}

/// What became of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpResult {
    /// An answer came.
    Answer {
        /// Status.
        status: u16,
        /// Body, as text.
        body: String,
        /// Length of the body in bytes.
        length: usize,
    },
    /// None came, for this reason: `Connection refused`, `timed out`.
    None(String),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit status; 128 + n if signal n ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A captured packet, decoded down to the innermost IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPacket {
    /// Where it was seen, `node1:eth0`.
    pub interface: String,
    /// When, by the kernel's clock.
    pub at: SystemTime,
    /// By what it is recognised elsewhere.
    pub identity: Option<Identity>,
    /// How it was wrapped.
    pub encap: Encap,
    /// Source of the innermost IP packet; `None` for what is not IP.
    pub src: Option<IpAddr>,
    /// Destination of the innermost IP packet.
    pub dst: Option<IpAddr>,
    /// Source of the outermost IP packet, where there are two.
    pub outer_src: Option<IpAddr>,
    /// Destination of the outermost IP packet, where there are two.
    pub outer_dst: Option<IpAddr>,
    /// TTL of the outermost IP packet, where there are two.
    pub outer_ttl: Option<u8>,
    /// UDP destination port of the outermost packet, where VXLAN wraps another.
    pub outer_port: Option<u16>,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// Bytes that wrapping adds; 0 where nothing is wrapped.
    pub overhead: usize,
    /// TTL or hop limit of the innermost IP packet.
    pub ttl: Option<u8>,
    /// IP protocol of the innermost IP packet.
    pub protocol: Option<u8>,
    /// Source and destination port, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Length of the frame on the wire, in bytes.
    pub length: usize,
    /// The packet in one line, as `lab capture` prints it.
    pub text: String,
}
