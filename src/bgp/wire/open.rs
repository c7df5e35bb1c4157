//! OPEN (RFC 4271 §4.2, §6.2) and capabilities (RFC 5492), with optional parameters in both lengths (RFC 9072).
//!
//! A known capability with a length that its RFC does not have refuses the OPEN, as BIRD does: better no session than one whose two ends
//! disagree on what was negotiated. Families that are not ours are left out of the capabilities that list several.

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::as_path::two_octets;
use super::encode::message;
use super::iana::capability::*;
use super::iana::message::OPEN;
use super::iana::{error, open};
use super::reader::Reader;
use super::types::{AddPathMode, Capability, Family, Notification, Open};
use crate::net::{Asn, BgpIdentifier};

const VERSION: u8 = 4;
const PARAMETER_CAPABILITIES: u8 = 2;
const PARAMETER_EXTENDED: u8 = 255;
const RESTART_TIME: u16 = 0x0fff;
const RESTARTING: u16 = 0x8000;
const FORWARDING: u8 = 0x80;

/// Appends an OPEN. AS_TRANS stands for an AS number that needs four octets; a capability whose value exceeds 255 bytes cannot be
/// written and is left out.
pub fn encode_open(open: &Open, out: &mut BytesMut) {
    let mut capabilities = BytesMut::new();
    for capability in &open.capabilities {
        let mut value = BytesMut::new();
        let code = capability.encode_value(&mut value);
        // 3,000 bytes of capabilities leave an OPEN well inside its 4,096.
        if let Ok(length) = u8::try_from(value.len())
            && capabilities.len() + value.len() <= 3000
        {
            capabilities.put_slice(&[code, length]);
            capabilities.put_slice(&value);
        }
    }
    message(OPEN, out, |out| {
        out.put_u8(VERSION);
        out.put_u16(two_octets(open.asn));
        out.put_u16(open.hold_time);
        out.put_slice(&open.identifier.0.octets());
        match u8::try_from(capabilities.len()) {
            Ok(0) => out.put_u8(0),
            // With the parameter's own two bytes.
            Ok(length @ ..=253) => out.put_slice(&[length + 2, PARAMETER_CAPABILITIES, length]),
            _ => {
                let length = u16::try_from(capabilities.len()).unwrap_or(u16::MAX);
                out.put_slice(&[255, PARAMETER_EXTENDED]);
                out.put_u16(length + 3);
                out.put_u8(PARAMETER_CAPABILITIES);
                out.put_u16(length);
            }
        }
        out.put_slice(&capabilities);
    });
}

/// Reads the body of an OPEN, at least 10 bytes long.
///
/// # Errors
/// The NOTIFICATION of RFC 4271 §6.2 that refuses it.
pub(super) fn decode(body: &[u8]) -> Result<Open, Notification> {
    let mut reader = Reader::new(body);
    let (version, header_as, hold_time, identifier) = header(&mut reader).ok_or(UNSPECIFIC)?;
    if version != VERSION {
        return Err(Notification::with_data(error::OPEN, open::UNSUPPORTED_VERSION, &[0, VERSION]));
    }
    if (1..3).contains(&hold_time) {
        let data = hold_time.to_be_bytes();
        return Err(Notification::with_data(error::OPEN, open::UNACCEPTABLE_HOLD_TIME, &data));
    }
    if identifier.0.is_unspecified() {
        return Err(Notification::with_data(error::OPEN, open::BAD_IDENTIFIER, &identifier.0.octets()));
    }
    let capabilities = decode_parameters(reader)?;
    let four_octet = capabilities.iter().rev().find_map(|capability| match capability {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    let asn = four_octet.unwrap_or(Asn(header_as.into()));
    if asn.0 == 0 || header_as == 0 {
        // RFC 7607 §2.
        return Err(Notification::bad_peer_as());
    }
    Ok(Open { asn, hold_time, identifier, capabilities })
}

const UNSPECIFIC: Notification = Notification::new(error::OPEN, open::UNSPECIFIC);

fn header(reader: &mut Reader<'_>) -> Option<(u8, u16, u16, BgpIdentifier)> {
    let (version, asn, hold_time) = (reader.u8()?, reader.u16()?, reader.u16()?);
    Some((version, asn, hold_time, BgpIdentifier(Ipv4Addr::from(reader.array()?))))
}

/// Reads the length of the optional parameters and the parameters, which end the message.
fn decode_parameters(mut reader: Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let mut length = usize::from(reader.u8().ok_or(UNSPECIFIC)?);
    // RFC 9072 §2: it is the first parameter's type that tells, whatever the length before it.
    let extended = length != 0 && reader.rest().first() == Some(&PARAMETER_EXTENDED);
    if extended {
        reader.u8().ok_or(UNSPECIFIC)?;
        length = reader.u16().ok_or(UNSPECIFIC)?.into();
    }
    if reader.rest().len() != length {
        return Err(UNSPECIFIC);
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or(UNSPECIFIC)?;
        let length = if extended { reader.u16() } else { reader.u8().map(u16::from) };
        let value = length.and_then(|length| reader.take(length.into())).ok_or(UNSPECIFIC)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(Notification::new(error::OPEN, open::UNSUPPORTED_PARAMETER));
        }
        decode_capabilities(value, &mut capabilities).ok_or(UNSPECIFIC)?;
    }
    Ok(capabilities)
}

fn decode_capabilities(parameter: &[u8], capabilities: &mut Vec<Capability>) -> Option<()> {
    let mut reader = Reader::new(parameter);
    while !reader.is_empty() {
        let (code, length) = (reader.u8()?, reader.u8()?);
        capabilities.push(Capability::decode(code, reader.take(length.into())?)?);
    }
    Some(())
}

impl Capability {
    /// `None` if the length does not fit the code.
    fn decode(code: u8, value: &[u8]) -> Option<Self> {
        let empty = |capability| value.is_empty().then_some(capability);
        let other = || Self::Other { code, value: Bytes::copy_from_slice(value) };
        match code {
            MULTIPROTOCOL => {
                let [afi_high, afi_low, _reserved, safi] = value.try_into().ok()?;
                let family = Family::from_numbers(u16::from_be_bytes([afi_high, afi_low]), safi);
                Some(family.map_or_else(other, Self::Multiprotocol))
            }
            ROUTE_REFRESH => empty(Self::RouteRefresh),
            EXTENDED_MESSAGE => empty(Self::ExtendedMessage),
            GRACEFUL_RESTART => {
                let mut reader = Reader::new(value);
                let head = reader.u16()?;
                let families = tuples(reader.rest(), |family, flags| Some((family, flags & FORWARDING != 0)))?;
                Some(Self::GracefulRestart { restarting: head & RESTARTING != 0, time: head & RESTART_TIME, families })
            }
            FOUR_OCTET_AS => Some(Self::FourOctetAs(Asn(u32::from_be_bytes(value.try_into().ok()?)))),
            // RFC 7911 §4: an unknown mode is as if the family were not there.
            ADD_PATH => tuples(value, |family, mode| {
                let known = (1..=3).contains(&mode);
                known.then_some((family, AddPathMode { receive: mode & 1 != 0, send: mode & 2 != 0 }))
            })
            .map(Self::AddPath),
            ENHANCED_ROUTE_REFRESH => empty(Self::EnhancedRouteRefresh),
            LONG_LIVED_GRACEFUL_RESTART => Some(Self::LongLivedGracefulRestart(Bytes::copy_from_slice(value))),
            _ => Some(other()),
        }
    }

    /// Of a multiprotocol capability its family; `Some(None)` for one that is not ours.
    pub(in crate::bgp) fn family(&self) -> Option<Option<Family>> {
        match self {
            Self::Multiprotocol(family) => Some(Some(*family)),
            Self::Other { code: MULTIPROTOCOL, .. } => Some(None),
            _ => None,
        }
    }

    /// Code, length and value: the form in which a NOTIFICATION names what is missing (RFC 5492 §5).
    pub(in crate::bgp) fn to_bytes(&self) -> Vec<u8> {
        let mut value = BytesMut::new();
        let code = self.encode_value(&mut value);
        [&[code, u8::try_from(value.len()).unwrap_or(u8::MAX)], &value[..]].concat()
    }

    /// Writes the value and returns the code.
    fn encode_value(&self, out: &mut BytesMut) -> u8 {
        match self {
            Self::Multiprotocol(family) => {
                out.put_u16(family.afi());
                out.put_slice(&[0, family.safi()]);
                MULTIPROTOCOL
            }
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::GracefulRestart { restarting, time, families } => {
                out.put_u16((time & RESTART_TIME) | if *restarting { RESTARTING } else { 0 });
                for (family, forwarding) in families {
                    put_tuple(*family, if *forwarding { FORWARDING } else { 0 }, out);
                }
                GRACEFUL_RESTART
            }
            Self::FourOctetAs(asn) => {
                out.put_u32(asn.0);
                FOUR_OCTET_AS
            }
            Self::AddPath(families) => {
                for (family, mode) in families.iter().filter(|(_, mode)| mode.receive || mode.send) {
                    put_tuple(*family, u8::from(mode.receive) | u8::from(mode.send) << 1, out);
                }
                ADD_PATH
            }
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(value) => {
                out.put_slice(value);
                LONG_LIVED_GRACEFUL_RESTART
            }
            Self::Other { code, value } => {
                out.put_slice(value);
                *code
            }
        }
    }
}

/// Reads (AFI, SAFI, octet) tuples: `None` if the last one is cut short. Families that are not ours are left out.
fn tuples<T>(value: &[u8], item: impl Fn(Family, u8) -> Option<T>) -> Option<Vec<T>> {
    let (tuples, rest) = value.as_chunks::<4>();
    let known = |[afi_high, afi_low, safi, octet]: &[u8; 4]| {
        let family = Family::from_numbers(u16::from_be_bytes([*afi_high, *afi_low]), *safi)?;
        item(family, *octet)
    };
    rest.is_empty().then(|| tuples.iter().filter_map(known).collect())
}

fn put_tuple(family: Family, octet: u8, out: &mut BytesMut) {
    out.put_u16(family.afi());
    out.put_slice(&[family.safi(), octet]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What BIRD 2.0.12 sends with Calico's options (calico-behaviour 7.1), header left out.
    const BIRD: [u8; 51] = [
        4, 0xfc, 0x00, 0, 240, 172, 18, 0, 3, 41, 2, 39, // version, AS, hold time, identifier, one parameter
        1, 4, 0, 1, 0, 1, // multiprotocol
        2, 0, // route refresh
        64, 6, 0, 120, 0, 1, 1, 0, // graceful restart
        65, 4, 0, 0, 0xfc, 0, // four-octet AS
        69, 4, 0, 1, 1, 3, // ADD-PATH
        70, 0, // enhanced route refresh
        71, 7, 0, 1, 1, 0, 0, 0x0e, 0x10, // long-lived graceful restart
    ];

    fn birds() -> Open {
        let family = Family::Ipv4Unicast;
        Open {
            asn: Asn(64512),
            hold_time: 240,
            identifier: BgpIdentifier(Ipv4Addr::new(172, 18, 0, 3)),
            capabilities: vec![
                Capability::Multiprotocol(family),
                Capability::RouteRefresh,
                Capability::GracefulRestart { restarting: false, time: 120, families: vec![(family, false)] },
                Capability::FourOctetAs(Asn(64512)),
                Capability::AddPath(vec![(family, AddPathMode { receive: true, send: true })]),
                Capability::EnhancedRouteRefresh,
                Capability::LongLivedGracefulRestart(Bytes::from_static(&[0, 1, 1, 0, 0, 0x0e, 0x10])),
            ],
        }
    }

    /// An OPEN's body: version 4, AS 64512, hold time 90, identifier 10.0.0.1, then `parameters` behind their length.
    fn body(parameters: &[u8]) -> Vec<u8> {
        [&[4, 0xfc, 0, 0, 90, 10, 0, 0, 1, parameters.len() as u8], parameters].concat()
    }

    fn refused(body: &[u8]) -> (u8, u8, Vec<u8>) {
        let notification = decode(body).unwrap_err();
        (notification.code, notification.subcode, notification.data.to_vec())
    }

    fn encoded(open: &Open) -> BytesMut {
        let mut out = BytesMut::new();
        encode_open(open, &mut out);
        out
    }

    #[test]
    fn birds_open_reads_and_writes_unchanged() {
        assert_eq!(decode(&BIRD), Ok(birds()));
        assert_eq!(&encoded(&birds())[19..], BIRD);
    }

    #[test]
    fn an_open_without_parameters_has_no_capabilities() {
        let open = Open { asn: Asn(64512), hold_time: 90, capabilities: vec![], identifier: identifier() };
        assert_eq!(decode(&body(&[])), Ok(open.clone()));
        assert_eq!(&encoded(&open)[19..], body(&[]));
    }

    fn identifier() -> BgpIdentifier {
        BgpIdentifier(Ipv4Addr::new(10, 0, 0, 1))
    }

    #[test]
    fn the_four_octet_capability_beats_the_headers_field() {
        let open = Open {
            asn: Asn(4_200_000_000),
            capabilities: vec![Capability::FourOctetAs(Asn(4_200_000_000))],
            ..birds()
        };
        let out = encoded(&open);
        assert_eq!(out[20..22], 23456_u16.to_be_bytes());
        assert_eq!(decode(&out[19..]), Ok(open));
    }

    #[test]
    fn another_version_is_refused_with_ours() {
        assert_eq!(refused(&[&[3], &body(&[])[1..]].concat()), (2, 1, vec![0, 4]));
    }

    #[test]
    fn hold_times_of_one_and_two_seconds_are_refused_and_zero_and_three_taken() {
        let with = |seconds: u8| [&body(&[])[..3], &[0, seconds], &body(&[])[5..]].concat();
        assert_eq!(refused(&with(1)), (2, 6, vec![0, 1]));
        assert_eq!(refused(&with(2)), (2, 6, vec![0, 2]));
        assert_eq!(decode(&with(0)).map(|open| open.hold_time), Ok(0));
        assert_eq!(decode(&with(3)).map(|open| open.hold_time), Ok(3));
    }

    #[test]
    fn identifier_zero_is_refused() {
        assert_eq!(refused(&[4, 0xfc, 0, 0, 90, 0, 0, 0, 0, 0]), (2, 3, vec![0, 0, 0, 0]));
    }

    #[test]
    fn as_zero_is_refused_in_header_and_capability() {
        assert_eq!(refused(&[4, 0, 0, 0, 90, 10, 0, 0, 1, 0]), (2, 2, vec![]));
        assert_eq!(refused(&body(&[2, 6, 65, 4, 0, 0, 0, 0])), (2, 2, vec![]));
    }

    #[test]
    fn a_parameter_that_is_not_capabilities_is_unsupported() {
        assert_eq!(refused(&body(&[1, 2, 0, 0])), (2, 4, vec![]));
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        assert_eq!(refused(&[4, 0xfc, 0, 0, 90, 10, 0, 0, 1, 4, 2, 0]), (2, 0, vec![]), "parameters shorter than said");
        assert_eq!(refused(&[4, 0xfc, 0, 0, 90, 10, 0, 0, 1, 0, 2, 0]), (2, 0, vec![]), "bytes behind the parameters");
        assert_eq!(refused(&body(&[2, 5, 2, 0])), (2, 0, vec![]), "parameter runs past the end");
        assert_eq!(refused(&body(&[2, 3, 65, 4, 0])), (2, 0, vec![]), "capability runs past its parameter");
        assert_eq!(refused(&body(&[2])), (2, 0, vec![]), "parameter without a length");
    }

    #[test]
    fn a_known_capability_of_a_wrong_length_is_refused() {
        for capability in [
            &[1, 3, 0, 1, 1][..],
            &[2, 1, 0],
            &[6, 1, 0],
            &[64, 1, 0],
            &[64, 3, 0, 0, 1],
            &[65, 2, 0, 1],
            &[69, 3, 0, 1, 1],
            &[70, 1, 0],
        ] {
            let parameter = [&[2, capability.len() as u8], capability].concat();
            assert_eq!(refused(&body(&parameter)), (2, 0, vec![]), "{capability:?}");
        }
    }

    #[test]
    fn unknown_capabilities_and_families_are_kept_or_left_out_but_never_refused() {
        let parameter =
            [2, 28, 9, 1, 2, 1, 4, 0, 25, 0, 70, 69, 12, 0, 1, 1, 4, 0, 25, 70, 3, 0, 2, 1, 2, 64, 2, 0x80, 5, 2, 0];
        let parameter = [&parameter[..1], &[parameter.len() as u8 - 2], &parameter[2..]].concat();
        let expected = vec![
            Capability::Other { code: 9, value: Bytes::from_static(&[2]) },
            Capability::Other { code: 1, value: Bytes::from_static(&[0, 25, 0, 70]) },
            Capability::AddPath(vec![(Family::Ipv6Unicast, AddPathMode { receive: false, send: true })]),
            Capability::GracefulRestart { restarting: true, time: 5, families: vec![] },
            Capability::RouteRefresh,
        ];
        assert_eq!(decode(&body(&parameter)).map(|open| open.capabilities), Ok(expected));
    }

    #[test]
    fn extended_parameters_are_read_whatever_the_first_length_says() {
        for first in [255, 1] {
            let bytes = [4, 0xfc, 0, 0, 90, 10, 0, 0, 1, first, 255, 0, 5, 2, 0, 2, 2, 0];
            assert_eq!(decode(&bytes).map(|open| open.capabilities), Ok(vec![Capability::RouteRefresh]));
        }
    }

    #[test]
    fn capabilities_beyond_255_bytes_are_written_extended_and_read_back() {
        let other = |code| Capability::Other { code, value: Bytes::from(vec![code; 200]) };
        let open = Open {
            capabilities: vec![other(200), other(201)],
            asn: Asn(64512),
            hold_time: 0,
            identifier: identifier(),
        };
        let out = encoded(&open);
        assert_eq!(out[28..35], [255, 255, 0x01, 0x97, 2, 0x01, 0x94]);
        assert_eq!(decode(&out[19..]), Ok(open));
    }

    #[test]
    fn what_one_capability_cannot_hold_is_left_out() {
        let huge = Capability::Other { code: 200, value: Bytes::from(vec![0; 256]) };
        let open = Open { capabilities: vec![huge, Capability::RouteRefresh], ..birds() };
        assert_eq!(decode(&encoded(&open)[19..]).map(|open| open.capabilities), Ok(vec![Capability::RouteRefresh]));
    }
}
