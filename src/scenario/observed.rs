//! What was observed, as plain values: the edge fills them in, [`assert`](mod@super::assert) compares them.

use std::net::IpAddr;
use std::time::Duration;

use super::model::Encap;

/// What became of some echo requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PingResult {
    /// Requests sent.
    pub sent: u32,
    /// Replies, in the order in which they came; at most one per request.
    pub replies: Vec<PingReply>,
    /// What came instead: ICMP errors, `From 172.18.0.2: Destination Host Unreachable`, and refusals to send, `Network is
    /// unreachable`. Not what is no fact of the network (no privilege, no such namespace): that is an error of the run.
    pub errors: Vec<String>,
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
