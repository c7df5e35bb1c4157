//! Prefixes on the wire (RFC 4271 §4.3, RFC 4760 §5, RFC 7911 §3), and families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reader::Reader;
use super::types::{AddPathMode, Context, Family, Nlri};

const SAFI_UNICAST: u8 = 1;

impl Family {
    /// The family that `prefix` belongs to.
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4Unicast,
            IpNet::V6(_) => Self::Ipv6Unicast,
        }
    }

    /// `None` if the family is not ours.
    pub(super) fn from_numbers(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, SAFI_UNICAST) => Some(Self::Ipv4Unicast),
            (2, SAFI_UNICAST) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }

    pub(super) fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    pub(super) fn safi(self) -> u8 {
        SAFI_UNICAST
    }
}

impl Context {
    /// Whether prefixes of `family` come in with path identifiers.
    pub(in crate::bgp) fn add_path_receive(&self, family: Family) -> bool {
        match family {
            Family::Ipv4Unicast => self.add_path_receive_v4,
            Family::Ipv6Unicast => self.add_path_receive_v6,
        }
    }

    /// Whether prefixes of `family` go out with path identifiers.
    pub(in crate::bgp) fn add_path_send(&self, family: Family) -> bool {
        match family {
            Family::Ipv4Unicast => self.add_path_send_v4,
            Family::Ipv6Unicast => self.add_path_send_v6,
        }
    }

    /// Notes in which directions path identifiers were negotiated for `family`.
    pub(in crate::bgp) fn set_add_path(&mut self, family: Family, mode: AddPathMode) {
        let (receive, send) = match family {
            Family::Ipv4Unicast => (&mut self.add_path_receive_v4, &mut self.add_path_send_v4),
            Family::Ipv6Unicast => (&mut self.add_path_receive_v6, &mut self.add_path_send_v6),
        };
        (*receive, *send) = (mode.receive, mode.send);
    }
}

/// Reads prefixes up to the end of `field`. `None` if one is longer than its family's addresses or cut short: the rest of the field
/// cannot be trusted then (RFC 7606 §5.3).
pub(super) fn decode(field: &[u8], family: Family, add_path: bool) -> Option<Vec<Nlri>> {
    let mut reader = Reader::new(field);
    // Host routes fill it; shorter ones let it grow once.
    let mut prefixes = Vec::with_capacity(field.len() / 5);
    while !reader.is_empty() {
        let path_id = if add_path { Some(reader.u32()?) } else { None };
        let length = reader.u8()?;
        let octets = reader.take(usize::from(length).div_ceil(8))?;
        let prefix = match family {
            Family::Ipv4Unicast => IpNet::V4(Ipv4Net::new(Ipv4Addr::from(padded(octets)?), length).ok()?),
            Family::Ipv6Unicast => IpNet::V6(Ipv6Net::new(Ipv6Addr::from(padded(octets)?), length).ok()?),
        };
        prefixes.push(Nlri { prefix: prefix.trunc(), path_id });
    }
    Some(prefixes)
}

/// `octets` with zeroes behind; `None` if there are more than `N`.
fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut address = [0; N];
    address.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(address)
}

/// Writes one prefix; with ADD-PATH a route without a path identifier has 0.
pub(super) fn encode(nlri: &Nlri, add_path: bool, out: &mut BytesMut) {
    if add_path {
        out.put_u32(nlri.path_id.unwrap_or(0));
    }
    let length = nlri.prefix.prefix_len();
    let octets = usize::from(length).div_ceil(8);
    out.put_u8(length);
    match nlri.prefix.network() {
        IpAddr::V4(address) => out.put_slice(&address.octets()[..octets]),
        IpAddr::V6(address) => out.put_slice(&address.octets()[..octets]),
    }
}

/// How many of `prefixes`, from the front and all of `family`, fit into `room` bytes.
pub(super) fn fitting(prefixes: &[Nlri], family: Family, add_path: bool, room: usize) -> usize {
    let mut left = room;
    let fits = |nlri: &&Nlri| {
        let size = 1 + usize::from(nlri.prefix.prefix_len()).div_ceil(8) + if add_path { 4 } else { 0 };
        match left.checked_sub(size) {
            Some(rest) if Family::of(&nlri.prefix) == family => {
                left = rest;
                true
            }
            _ => false,
        }
    };
    prefixes.iter().take_while(fits).count()
}

/// Whether nobody may announce `prefix`: RFC 4271 §6.3 says to log and ignore a semantically incorrect prefix, BIRD decides which are.
/// In IPv4 those of 0/8 (except 0.0.0.0 itself), 127/8, 224/4 and 240/4; in IPv6 loopback, link-local and multicast ones.
pub(super) fn is_martian(prefix: &IpNet) -> bool {
    match prefix.network() {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            (first == 0 && !address.is_unspecified()) || first == 127 || first >= 224
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nlri(prefix: &str) -> Nlri {
        Nlri::from(prefix.parse::<IpNet>().unwrap())
    }

    #[test]
    fn prefixes_take_as_many_octets_as_their_length_needs() {
        let bytes = [0, 8, 10, 9, 10, 128, 26, 10, 244, 73, 64, 32, 1, 2, 3, 4];
        let prefixes: Vec<_> =
            ["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "10.244.73.64/26", "1.2.3.4/32"].map(nlri).into();
        assert_eq!(decode(&bytes, Family::Ipv4Unicast, false), Some(prefixes.clone()));
        let mut out = BytesMut::new();
        prefixes.iter().for_each(|prefix| encode(prefix, false, &mut out));
        assert_eq!(&out[..], bytes);
    }

    #[test]
    fn host_bits_are_cleared_both_ways() {
        assert_eq!(decode(&[25, 10, 0, 1, 255], Family::Ipv4Unicast, false), Some(vec![nlri("10.0.1.128/25")]));
        let mut out = BytesMut::new();
        encode(&nlri("10.0.1.255/25"), false, &mut out);
        assert_eq!(&out[..], [25, 10, 0, 1, 128]);
    }

    #[test]
    fn path_identifiers_stand_before_the_length() {
        let bytes = [0, 0, 0, 7, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1];
        let prefixes = vec![Nlri { path_id: Some(7), ..nlri("2001:db8:0:1::/64") }];
        assert_eq!(decode(&bytes, Family::Ipv6Unicast, true), Some(prefixes.clone()));
        let mut out = BytesMut::new();
        encode(&prefixes[0], true, &mut out);
        assert_eq!(&out[..], bytes);
    }

    #[test]
    fn a_prefix_too_long_or_cut_short_is_an_error() {
        assert_eq!(decode(&[33, 1, 2, 3, 4, 5], Family::Ipv4Unicast, false), None);
        assert_eq!(decode(&[255; 40], Family::Ipv4Unicast, false), None);
        assert_eq!(decode(&[129; 20], Family::Ipv6Unicast, false), None);
        assert_eq!(decode(&[24, 10, 0], Family::Ipv4Unicast, false), None);
        assert_eq!(decode(&[0, 0, 0, 1], Family::Ipv4Unicast, true), None);
    }

    #[test]
    fn martians_are_what_bird_refuses() {
        let martian = |prefix: &str| is_martian(&prefix.parse().unwrap());
        for prefix in ["0.1.0.0/16", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::1/128", "fe80::/64", "ff02::/16"] {
            assert!(martian(prefix), "{prefix}");
        }
        for prefix in ["0.0.0.0/0", "::/0", "10.0.0.0/8", "169.254.0.0/16", "128.0.0.0/1", "fd00::/8", "2001:db8::/32"]
        {
            assert!(!martian(prefix), "{prefix}");
        }
    }
}
