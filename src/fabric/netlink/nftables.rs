//! The one nftables ruleset of a node, over nfnetlink: table `ip lab` with a chain that masquerades.
//!
//! What `nft -f` needs ten milliseconds for, most of them its own start, is one datagram and a tenth of a millisecond. The
//! datagram is a batch, and a batch is a transaction: a table that is there is deleted and added in one.
//! Names and numbers are those of `linux/netfilter/nf_tables.h`; nfnetlink's integers are big-endian.

use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::socket::{NLMSG_ERROR, acknowledgement, split};
use crate::fabric::error::KernelReason;
use crate::plan::Masquerade;

const TABLE: &[u8] = b"lab\0";
const CHAIN: &[u8] = b"postrouting\0";

/// `struct nlmsghdr`.
const HEADER: usize = 16;

const NESTED: u16 = libc::NLA_F_NESTED as u16;
/// NFTA_LIST_ELEM.
const ELEMENT: u16 = 1 | NESTED;
/// NFT_REG_1.
const REGISTER: u32 = 1;
/// Offsets of the addresses in the IPv4 header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
/// NFT_CMP_EQ and NFT_CMP_NEQ.
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
/// NF_NAT_RANGE_PROTO_RANDOM_FULLY.
const FULLY_RANDOM: u32 = 1 << 4;

/// Makes table `ip lab` of the calling thread's namespace what `masquerade` says, whatever was in it.
///
/// # Errors
/// The kernel's; `ENOENT` or `EOPNOTSUPP` where it has no nftables or no NAT.
pub(in crate::fabric) fn replace_masquerade(masquerade: &Masquerade) -> Result<(), KernelReason> {
    match send(masquerade, Before::Nothing) {
        Err(reason) if reason.is(Errno::EEXIST) => send(masquerade, Before::Table),
        outcome => outcome,
    }
}

/// What a ruleset is to find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// No table; else the kernel says `EEXIST`.
    Nothing,
    /// A table, to be deleted. Then the socket's end waits until no processor can be looking at it any more, which takes
    /// milliseconds, many times as long as all the rest.
    Table,
}

fn send(masquerade: &Masquerade, before: Before) -> Result<(), KernelReason> {
    let (datagram, mut missing) = batch(masquerade, before);
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
    // As with rtnetlink, every answer is there when `send` returns. What the kernel refuses as a whole has a single one.
    let mut buffer = Vec::with_capacity(4096);
    while missing > 0 {
        buffer.clear();
        socket.recv(&mut buffer, libc::MSG_DONTWAIT)?;
        for answer in split(&buffer).filter(|answer| answer.kind == NLMSG_ERROR) {
            acknowledgement(answer.payload)?;
            missing -= 1;
        }
    }
    Ok(())
}

/// Whether the kernel takes such a ruleset, tried in the calling thread's namespace, which must be a new one.
///
/// # Errors
/// The kernel's reason why not.
pub(in crate::fabric) fn try_masquerade() -> Result<(), KernelReason> {
    replace_masquerade(&Masquerade { sources: vec![Ipv4Net::default()], pools: Vec::new() })
}

/// The transaction, and how many of its messages are acknowledged.
fn batch(masquerade: &Masquerade, before: Before) -> (Vec<u8>, usize) {
    let table = attribute(1, TABLE); // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE
    let hook = [number(1, libc::NF_INET_POST_ROUTING as u32), number(2, libc::NF_IP_PRI_NAT_SRC as u32)].concat();
    let chain = [
        table.clone(),
        attribute(3, CHAIN),               // NFTA_CHAIN_NAME
        attribute(4 | NESTED, &hook),      // NFTA_CHAIN_HOOK
        number(5, libc::NF_ACCEPT as u32), // NFTA_CHAIN_POLICY
        attribute(7, b"nat\0"),            // NFTA_CHAIN_TYPE
    ]
    .concat();
    let create = NLM_F_CREATE | NLM_F_ACK;
    let mut messages = Vec::new();
    if before == Before::Table {
        messages.push((libc::NFT_MSG_DELTABLE, NLM_F_ACK, table.clone()));
    }
    messages.push((libc::NFT_MSG_NEWTABLE, create | NLM_F_EXCL, table.clone()));
    messages.push((libc::NFT_MSG_NEWCHAIN, create, chain));
    // One rule per source, and each pool compared in turn: with the few pools there are, sets would be no gain.
    for source in &masquerade.sources {
        let rule = [
            table.clone(),
            attribute(2, CHAIN),                                             // NFTA_RULE_CHAIN
            attribute(4 | NESTED, &expressions(*source, &masquerade.pools)), // NFTA_RULE_EXPRESSIONS
        ];
        messages.push((libc::NFT_MSG_NEWRULE, create | NLM_F_APPEND, rule.concat()));
    }
    let mut datagram = Vec::new();
    let subsystem = libc::NFNL_SUBSYS_NFTABLES as u16;
    append(&mut datagram, libc::NFNL_MSG_BATCH_BEGIN as u16, 0, subsystem, &[]);
    let count = messages.len();
    for (kind, flags, attributes) in messages {
        append(&mut datagram, subsystem << 8 | kind as u16, flags, 0, &attributes);
    }
    append(&mut datagram, libc::NFNL_MSG_BATCH_END as u16, 0, subsystem, &[]);
    (datagram, count)
}

/// `ip saddr SOURCE ip daddr != POOL … masquerade fully-random`.
fn expressions(source: Ipv4Net, pools: &[Ipv4Net]) -> Vec<u8> {
    let mut list = compare(SOURCE, EQUAL, source);
    for pool in pools {
        list.extend(compare(DESTINATION, UNEQUAL, *pool));
    }
    list.extend(expression(b"masq\0", &number(1, FULLY_RANDOM))); // NFTA_MASQ_FLAGS
    list
}

/// Loads an address of the IPv4 header, cuts it to the prefix, and compares.
fn compare(offset: u32, operation: u32, with: Ipv4Net) -> Vec<u8> {
    let value = |kind: u16, bytes: [u8; 4]| attribute(kind | NESTED, &attribute(1, &bytes)); // NFTA_DATA_VALUE
    let load = [number(1, REGISTER), number(2, 1), number(3, offset), number(4, 4)]; // from NFT_PAYLOAD_NETWORK_HEADER
    let cut =
        [number(1, REGISTER), number(2, REGISTER), number(3, 4), value(4, with.netmask().octets()), value(5, [0; 4])];
    let compare = [number(1, REGISTER), number(2, operation), value(3, with.network().octets())];
    [
        expression(b"payload\0", &load.concat()),
        expression(b"bitwise\0", &cut.concat()),
        expression(b"cmp\0", &compare.concat()),
    ]
    .concat()
}

fn expression(name: &[u8], data: &[u8]) -> Vec<u8> {
    attribute(ELEMENT, &[attribute(1, name), attribute(2 | NESTED, data)].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// `struct nlattr` and its value, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    // Nothing here comes near the 64 KiB of an attribute: a rule has a hundred bytes for each pool.
    bytes.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct nlmsghdr`, `struct nfgenmsg` and the attributes.
fn append(datagram: &mut Vec<u8>, kind: u16, flags: u16, resource: u16, attributes: &[u8]) {
    let family = if kind >> 8 == 0 { libc::NFPROTO_UNSPEC } else { libc::NFPROTO_IPV4 };
    let length = u32::try_from(HEADER + 4 + attributes.len()).unwrap_or(u32::MAX);
    datagram.extend(length.to_ne_bytes());
    datagram.extend(kind.to_ne_bytes());
    datagram.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    datagram.extend([0; 8]); // sequence and port
    datagram.extend([family as u8, 0]); // and NFNETLINK_V0
    datagram.extend(resource.to_be_bytes());
    datagram.extend(attributes);
}
