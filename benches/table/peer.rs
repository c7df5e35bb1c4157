//! The candidate's peers: the least that is a BGP speaker to it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net};
use lab::bgp::wire::{self, AsPath, AsSegment, Attributes, Capability, Context, Family, Nlri, Open};
use lab::fabric::Netns;
use lab::net::{Asn, BgpIdentifier};
use socket2::{Domain, Socket, Type};

/// The candidate.
pub(super) const SPEAKER: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// The candidate's AS.
pub(super) const SPEAKER_AS: u32 = 65001;
/// Who sends the table.
pub(super) const INJECTOR: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 2);

const HEADER: usize = 19;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;

/// Who is told the table.
pub(super) fn receiver(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, 10 + index as u8)
}

/// Each peer has an AS of its own.
pub(super) fn asn(address: Ipv4Addr) -> Asn {
    Asn(65100 + u32::from(address.octets()[3]))
}

/// `count` prefixes with equal attributes, in messages as full as can be.
pub(super) fn updates(count: usize) -> BytesMut {
    let attributes = Attributes {
        as_path: AsPath(vec![AsSegment::Sequence(vec![asn(INJECTOR)])]),
        ..Attributes::local(INJECTOR.into())
    };
    let context = Context { four_octet_as: true, external: true, ..Context::default() };
    let prefixes: Vec<Nlri> = (0..count).map(|index| Nlri::from(IpNet::V4(prefix(index)))).collect();
    let (mut out, mut rest) = (BytesMut::new(), &prefixes[..]);
    while !rest.is_empty() {
        let taken = wire::encode_announcement(&attributes, rest, &context, &mut out).expect("the attributes are short");
        rest = &rest[taken..];
    }
    out
}

/// 1.0.0.0/24 and what follows.
fn prefix(index: usize) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from((1 << 24) + ((index as u32) << 8)), 24)
}

/// Connects from `local` until the candidate takes it, and brings the session up.
pub(super) fn establish(netns: &Netns, local: Ipv4Addr) -> TcpStream {
    let started = Instant::now();
    loop {
        match netns.run(move || connect(local)).and_then(|stream| stream).and_then(|stream| open(stream, local)) {
            Ok(stream) => return stream,
            // It does not listen yet, or does not know the session yet: to be seen by asking only.
            Err(error) => assert!(started.elapsed() < super::PATIENCE, "session of {local}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn connect(local: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(local), 0).into())?;
    socket.connect(&SocketAddr::new(IpAddr::V4(SPEAKER), 179).into())?;
    Ok(socket.into())
}

/// OPEN and KEEPALIVE both ways.
fn open(mut stream: TcpStream, local: Ipv4Addr) -> io::Result<TcpStream> {
    let capabilities = vec![Capability::Multiprotocol(Family::Ipv4Unicast), Capability::FourOctetAs(asn(local))];
    // Nobody sends keepalives later.
    let open = Open { asn: asn(local), hold_time: 0, identifier: BgpIdentifier(local), capabilities };
    let mut out = BytesMut::new();
    wire::encode_open(&open, &mut out);
    wire::encode_keepalive(&mut out);
    stream.write_all(&out)?;
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - HEADER];
        stream.read_exact(&mut body)?;
        match header[18] {
            KEEPALIVE => return Ok(stream),
            3 => return Err(io::Error::other(format!("NOTIFICATION {body:?}"))),
            _ => {}
        }
    }
}

/// Sends the table. What the candidate says is not read: it has nothing to say to whom it was told by.
pub(super) fn inject(mut stream: TcpStream, updates: &[u8]) -> TcpStream {
    stream.write_all(updates).expect("the candidate reads");
    stream
}

/// Reads until `count` prefixes have been announced, each at least once.
pub(super) fn count(mut stream: TcpStream, count: usize) {
    let (mut seen, mut left) = (vec![false; count], count);
    let (mut buffer, mut filled) = (vec![0; 1 << 18], 0);
    while left > 0 {
        match stream.read(&mut buffer[filled..]) {
            Ok(length) if length > 0 => filled += length,
            // Killed: the candidate was given up.
            _ => return,
        }
        let mut rest = &buffer[..filled];
        while let Some(length) = rest.get(16..18).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])))
            && let Some(message) = rest.get(..length)
        {
            if message[18] == UPDATE {
                left -=
                    announced(&message[HEADER..]).filter(|index| !std::mem::replace(&mut seen[*index], true)).count();
            }
            rest = &rest[length..];
        }
        let kept = rest.len();
        buffer.copy_within(filled - kept..filled, 0);
        filled = kept;
    }
}

/// The indices of the prefixes that an UPDATE announces. Every one of the table's is a /24.
fn announced(body: &[u8]) -> impl Iterator<Item = usize> {
    let skip = |field: &mut &[u8]| {
        let length = usize::from(u16::from_be_bytes([field[0], field[1]]));
        *field = &field[2 + length..];
    };
    let mut nlri = body;
    skip(&mut nlri);
    skip(&mut nlri);
    let first = u32::from(prefix(0).network()) >> 8;
    nlri.chunks_exact(4)
        .map(move |nlri| u32::from_be_bytes([0, nlri[1], nlri[2], nlri[3]]).wrapping_sub(first) as usize)
}
