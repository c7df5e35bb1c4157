//! ICMP echo messages, and the report of a ping in the words of iputils.
//!
//! The bytes and the arithmetic only: `probe::ping` has the socket and the clock.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checksum::Sum;
use super::layer::{Icmp, Layer, LinkType};

/// An ICMP echo request (RFC 792) with `size` bytes of data.
pub fn request(id: u16, seq: u16, size: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(seq.to_be_bytes());
    // The pattern of iputils: each byte is its own index.
    message.extend((0..size).map(|index| index as u8));
    let sum = Sum::default().bytes(&message).checksum().to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// What a received packet says about an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An echo reply.
    Reply {
        /// Who sent it.
        from: Ipv4Addr,
        /// The sequence number of the request.
        seq: u16,
        /// Time to live left in the reply.
        ttl: u8,
        /// Length in bytes of the ICMP message.
        length: usize,
    },
    /// An ICMP error that quotes the request.
    Error {
        /// Who sent it.
        from: Ipv4Addr,
        /// The sequence number of the request.
        seq: u16,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
        /// The next hop's MTU of "fragmentation needed", where the sender knew it.
        mtu: Option<u16>,
    },
}

/// Reads a packet as a raw ICMP socket gives it, IP header included; `None` where it is no answer to a request with this
/// `id` to `target`.
pub fn answer(packet: &[u8], id: u16, target: Ipv4Addr) -> Option<Answer> {
    let packet = super::decode(LinkType::Raw, packet, packet.len());
    let [Layer::Ipv4(ip), Layer::Icmp(icmp)] = packet.layers.as_slice() else { return None };
    let from = ip.source;
    if icmp.icmp_type == 0 && icmp.id == id {
        return Some(Answer::Reply { from, seq: icmp.seq, ttl: ip.ttl, length: icmp.length });
    }
    let [Layer::Ipv4(quoted), Layer::Icmp(Icmp { icmp_type: 8, id: quoted_id, seq, .. })] = icmp.quoted.as_slice()
    else {
        return None;
    };
    (icmp.is_error() && *quoted_id == id && quoted.destination == target).then(|| Answer::Error {
        from,
        seq: *seq,
        icmp_type: icmp.icmp_type,
        code: icmp.code,
        mtu: (icmp.icmp_type == 3 && icmp.code == 4 && icmp.seq != 0).then_some(icmp.seq),
    })
}

/// What became of a ping. `to_string` is what iputils ping would have printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingReport {
    /// Whom.
    pub target: Ipv4Addr,
    /// Bytes of data in each request, without headers.
    pub size: u16,
    /// Requests sent; one that the host refused counts.
    pub sent: u32,
    /// Requests answered.
    pub received: u32,
    /// Replies beyond the first to a request.
    pub duplicates: u32,
    /// The first reply to each request, in the order of arrival.
    pub replies: Vec<Reply>,
    /// ICMP errors about requests, in the order of arrival.
    pub errors: Vec<IcmpError>,
    /// Requests that this host refused to send.
    pub local_errors: Vec<LocalError>,
    /// From the first request to the end.
    #[serde(with = "duration_micros")]
    pub elapsed: Duration,
}

/// One echo reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Number of the request, from 1.
    pub seq: u32,
    /// Time to live left.
    pub ttl: u8,
    /// Round-trip time.
    #[serde(with = "duration_micros")]
    pub rtt: Duration,
    /// Who answered.
    pub from: Ipv4Addr,
    /// Length in bytes of the ICMP message.
    pub length: usize,
}

/// One ICMP error about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// Number of the request, from 1.
    pub seq: u32,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub code: u8,
    /// Who reported it.
    pub from: Ipv4Addr,
    /// The next hop's MTU in bytes, of "fragmentation needed".
    pub mtu: Option<u16>,
}

/// A request that the sending host refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalError {
    /// Number of the request, from 1.
    pub seq: u32,
    /// The error number (`errno`).
    pub errno: i32,
    /// As ping says it: `Network is unreachable`; `message too long, mtu=1440`.
    pub message: String,
    /// The MTU in bytes that the request is longer than, where that is why.
    pub mtu: Option<u32>,
}

impl PingReport {
    /// Requests without a reply.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }

    /// Shortest, mean and longest round-trip time; `None` without a reply.
    pub fn rtt(&self) -> Option<(Duration, Duration, Duration)> {
        let times = || self.replies.iter().map(|reply| reply.rtt);
        let count = u32::try_from(self.replies.len()).ok()?;
        let mean = times().sum::<Duration>().checked_div(count)?;
        Some((times().min()?, mean, times().max()?))
    }
}

impl fmt::Display for PingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, size, .. } = self;
        writeln!(f, "PING {target} ({target}) {size}({}) bytes of data.", u32::from(*size) + 28)?;
        // Each list is in the order of arrival, which for the requests of one ping is the order of their numbers.
        let mut lines: Vec<(u32, String)> = Vec::new();
        lines.extend(self.replies.iter().map(|reply| (reply.seq, reply.to_string())));
        lines.extend(self.errors.iter().map(|error| (error.seq, error.to_string())));
        lines.extend(self.local_errors.iter().map(|error| (error.seq, error.to_string())));
        lines.sort_by_key(|(seq, _)| *seq);
        for (_, line) in &lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\n--- {target} ping statistics ---")?;
        write!(f, "{} packets transmitted, {} received", self.sent, self.received)?;
        if self.duplicates > 0 {
            write!(f, ", +{} duplicates", self.duplicates)?;
        }
        let errors = self.errors.len() + self.local_errors.len();
        if errors > 0 {
            write!(f, ", +{errors} errors")?;
        }
        let loss = f64::from(self.lost()) * 100.0 / f64::from(self.sent.max(1));
        // As printf's %g: no decimals where there are none.
        let loss = format!("{loss:.4}");
        let loss = loss.trim_end_matches('0').trim_end_matches('.');
        writeln!(f, ", {loss}% packet loss, time {}ms", self.elapsed.as_millis())?;
        if let Some((min, mean, max)) = self.rtt() {
            let millis = |time: Duration| time.as_secs_f64() * 1000.0;
            let variance = self.replies.iter().map(|reply| (millis(reply.rtt) - millis(mean)).powi(2)).sum::<f64>();
            let deviation = (variance / self.replies.len() as f64).sqrt();
            let (min, mean, max) = (millis(min), millis(mean), millis(max));
            writeln!(f, "rtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reply {
    /// `64 bytes from 10.244.73.64: icmp_seq=1 ttl=62 time=0.051 ms`, with the digits of iputils.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, ttl, from, length, .. } = self;
        let millis = self.rtt.as_secs_f64() * 1000.0;
        let digits = match millis {
            t if t < 1.0 => 3,
            t if t < 10.0 => 2,
            t if t < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{length} bytes from {from}: icmp_seq={seq} ttl={ttl} time={millis:.digits$} ms")
    }
}

impl fmt::Display for IcmpError {
    /// `From 10.0.0.1 icmp_seq=1 Destination Host Unreachable`, in the words of iputils.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "From {} icmp_seq={} ", self.from, self.seq)?;
        match (self.icmp_type, self.code) {
            (3, 0) => f.write_str("Destination Net Unreachable"),
            (3, 1) => f.write_str("Destination Host Unreachable"),
            (3, 2) => f.write_str("Destination Protocol Unreachable"),
            (3, 3) => f.write_str("Destination Port Unreachable"),
            (3, 4) => write!(f, "Frag needed and DF set (mtu = {})", self.mtu.unwrap_or(0)),
            (3, 5) => f.write_str("Source Route Failed"),
            (3, 6) => f.write_str("Destination Net Unknown"),
            (3, 7) => f.write_str("Destination Host Unknown"),
            (3, 9) => f.write_str("Destination Net Prohibited"),
            (3, 10) => f.write_str("Destination Host Prohibited"),
            (3, 13) => f.write_str("Packet filtered"),
            (3, code) => write!(f, "Dest Unreachable, Bad Code: {code}"),
            (4, _) => f.write_str("Source Quench"),
            (5, 0) => f.write_str("Redirect Network"),
            (5, _) => f.write_str("Redirect Host"),
            (11, 0) => f.write_str("Time to live exceeded"),
            (11, 1) => f.write_str("Frag reassembly time exceeded"),
            (12, _) => f.write_str("Parameter problem"),
            (icmp_type, code) => write!(f, "Bad ICMP type: {icmp_type} code: {code}"),
        }
    }
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            // EMSGSIZE; iputils reports only this one as an error of the path, not of the call.
            90 => write!(f, "ping: local error: {}", self.message),
            _ => write!(f, "ping: sendmsg: {}", self.message),
        }
    }
}

/// Durations in JSON are microseconds.
mod duration_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, PacketBuilder};

    use super::*;

    const TARGET: Ipv4Addr = Ipv4Addr::new(10, 244, 73, 64);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn ip(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 62);
        builder.write(&mut out, IpNumber::ICMP, payload).unwrap();
        out
    }

    #[test]
    fn a_request_has_a_good_checksum() {
        for size in [0, 1, 55, 56, 1472] {
            let message = request(7, 513, size);
            assert_eq!(message.len(), usize::from(size) + 8);
            assert_eq!(Sum::default().bytes(&message).checksum(), 0, "{size}");
            assert_eq!(message[4..8], [0, 7, 2, 1]);
        }
    }

    #[test]
    fn a_reply_with_our_id_is_an_answer_and_no_other_is() {
        let mut reply = request(7, 3, 56);
        reply[0] = 0;
        let packet = ip(TARGET, ROUTER, &reply);
        assert_eq!(answer(&packet, 7, TARGET), Some(Answer::Reply { from: TARGET, seq: 3, ttl: 62, length: 64 }));
        assert_eq!(answer(&packet, 8, TARGET), None);
        assert_eq!(answer(&ip(TARGET, ROUTER, &request(7, 3, 56)), 7, TARGET), None);
        assert_eq!(answer(&[], 7, TARGET), None);
    }

    #[test]
    fn an_error_that_quotes_our_request_is_an_answer() {
        let quoted = ip(ROUTER, TARGET, &request(7, 3, 56));
        let error = [&[3, 4, 0, 0, 0, 0, 0x05, 0xa0][..], &quoted[..28]].concat();
        let packet = ip(ROUTER, ROUTER, &error);
        let expected = Answer::Error { from: ROUTER, seq: 3, icmp_type: 3, code: 4, mtu: Some(1440) };
        assert_eq!(answer(&packet, 7, TARGET), Some(expected));
        assert_eq!(answer(&packet, 7, ROUTER), None);
        assert_eq!(answer(&packet, 6, TARGET), None);
    }

    #[test]
    fn the_report_reads_as_pings_own() {
        let report = PingReport {
            target: TARGET,
            size: 56,
            sent: 4,
            received: 2,
            duplicates: 1,
            replies: vec![
                Reply { seq: 1, ttl: 62, rtt: Duration::from_micros(51), from: TARGET, length: 64 },
                Reply { seq: 3, ttl: 62, rtt: Duration::from_micros(1234), from: TARGET, length: 64 },
            ],
            errors: vec![IcmpError { seq: 2, icmp_type: 3, code: 1, from: ROUTER, mtu: None }],
            local_errors: vec![LocalError { seq: 4, errno: 101, message: "Network is unreachable".into(), mtu: None }],
            elapsed: Duration::from_millis(7),
        };
        let expected = "\
PING 10.244.73.64 (10.244.73.64) 56(84) bytes of data.
64 bytes from 10.244.73.64: icmp_seq=1 ttl=62 time=0.051 ms
From 10.0.0.1 icmp_seq=2 Destination Host Unreachable
64 bytes from 10.244.73.64: icmp_seq=3 ttl=62 time=1.23 ms
ping: sendmsg: Network is unreachable

--- 10.244.73.64 ping statistics ---
4 packets transmitted, 2 received, +1 duplicates, +2 errors, 50% packet loss, time 7ms
rtt min/avg/max/mdev = 0.051/0.642/1.234/0.592 ms
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_report_without_replies_has_no_times() {
        let report = PingReport {
            target: TARGET,
            size: 56,
            sent: 3,
            received: 0,
            duplicates: 0,
            replies: vec![],
            errors: vec![],
            local_errors: vec![],
            elapsed: Duration::from_millis(3000),
        };
        assert_eq!((report.lost(), report.rtt()), (3, None));
        let text = report.to_string();
        assert!(text.ends_with("\n3 packets transmitted, 0 received, 100% packet loss, time 3000ms\n"), "{text}");
    }
}
