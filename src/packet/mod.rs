//! Captured frames: bytes to layers, layers to one line of text, and the capture filter.
//!
//! Works on bytes and values only: no sockets, no clock, no files (its partner `capture` has those). Whatever comes off a
//! wire is decoded without panicking: what cannot be understood becomes a [`Layer::Opaque`] or [`Layer::Truncated`].
//!
//! | File | Holds |
//! |---|---|
//! | `layer` | the layers of a packet, and questions about a whole packet (which addresses, which encapsulation) |
//! | `decode` | bytes to layers |
//! | `bgp` | which messages a TCP segment of port 179 holds |
//! | `line` | a packet as one line in tcpdump's words |
//! | `filter` | the filter language of tcpdump |
//! | `echo` | ICMP echo messages, and the report of a ping |
//! | `path_mtu` | the search for the largest packet that passes |
//! | `identity` | by what a packet is recognised on several interfaces |
//! | `ipip` | what Linux's IP-in-IP tunnel makes of a packet |
//! | `offload` | segmentation and its reverse, for a device that takes large packets |
//! | `checksum` | the Internet checksum |

mod bgp;
mod checksum;
mod decode;
pub mod echo;
pub mod filter;
mod identity;
pub mod ipip;
mod layer;
mod line;
pub mod offload;
pub mod path_mtu;

pub use bgp::BgpMessage;
pub use decode::decode;
pub use filter::{Filter, FilterError};
pub use identity::Identity;
pub use layer::{
    Arp, Direction, Encap, Ethernet, Icmp, Icmpv6, IpPair, Ipv4, Ipv6, Layer, LinkType, Packet, Tcp, TcpFlags,
    TcpOption, Udp, Vxlan,
};
pub use line::line;
