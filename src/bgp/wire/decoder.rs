//! From a byte stream to messages: framing, the header checks of RFC 4271 §6.1, and dispatch by type.

use bytes::{Buf, BytesMut};

use super::iana::message::*;
use super::iana::{error, header, route_refresh};
use super::interner::Interner;
use super::types::{Context, Family, Message, Notification, RefreshKind, Update};
use super::{open, update};

/// Length of the header: marker, length, type.
pub(super) const HEADER: usize = 19;
/// The largest message without extended messages, and the largest OPEN and KEEPALIVE with them (RFC 8654 §4).
pub(super) const MAX: usize = 4096;
/// The largest message with extended messages.
pub(super) const EXTENDED_MAX: usize = 65_535;

/// Frames one connection's byte stream.
///
/// It holds what came after the last whole message. An error is final: the connection is over, and every later call returns the same.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// The second half of an UPDATE that came out as two.
    pending: Option<Box<Update>>,
    failed: Option<Notification>,
}

impl Decoder {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes, cut anywhere. The caller drains [`Self::next`] before it reads more, so no more than a message and a read is held.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// The NOTIFICATION to send before closing the connection. (To a malformed NOTIFICATION as well, as BIRD does.)
    pub fn next(&mut self, context: &Context, interner: &mut Interner) -> Result<Option<Message>, Notification> {
        if let Some(notification) = &self.failed {
            return Err(notification.clone());
        }
        if let Some(update) = self.pending.take() {
            return Ok(Some(Message::Update(*update)));
        }
        self.decode_next(context, interner).inspect_err(|notification| {
            self.failed = Some(notification.clone());
            self.buffer = BytesMut::new();
        })
    }

    fn decode_next(&mut self, context: &Context, interner: &mut Interner) -> Result<Option<Message>, Notification> {
        let Some((length, kind)) = check_header(&self.buffer, context)? else { return Ok(None) };
        let Some(whole) = self.buffer.get(..length) else { return Ok(None) };
        let body = &whole[HEADER..];
        let message = match kind {
            OPEN => Message::Open(open::decode(body)?),
            UPDATE => {
                let (first, second) = update::decode(body, context, interner)?;
                self.pending = second.map(Box::new);
                Message::Update(first)
            }
            NOTIFICATION => Message::Notification(Notification::decode(body).ok_or_else(|| bad_length(length))?),
            KEEPALIVE => Message::Keepalive,
            _ => decode_route_refresh(whole)?,
        };
        self.buffer.advance(length);
        if self.buffer.is_empty() {
            // An idle session holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// Length and type of the message that `buffer` begins with; `None` if the header is not yet whole.
fn check_header(buffer: &[u8], context: &Context) -> Result<Option<(usize, u8)>, Notification> {
    let Some((marker, rest)) = buffer.split_first_chunk::<16>() else { return Ok(None) };
    if *marker != [0xff; 16] {
        return Err(Notification::new(error::HEADER, header::NOT_SYNCHRONIZED));
    }
    let [high, low, kind, ..] = *rest else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let extended = if context.extended_messages { EXTENDED_MAX } else { MAX };
    if !(HEADER..=extended).contains(&length) {
        return Err(bad_length(length));
    }
    let allowed = match kind {
        OPEN => 29..=MAX,
        UPDATE => 23..=extended,
        NOTIFICATION => 21..=extended,
        KEEPALIVE => HEADER..=HEADER,
        ROUTE_REFRESH => 23..=extended,
        _ => return Err(Notification::with_data(error::HEADER, header::BAD_TYPE, &[kind])),
    };
    if !allowed.contains(&length) {
        return Err(bad_length(length));
    }
    Ok(Some((length, kind)))
}

fn bad_length(length: usize) -> Notification {
    let field = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    Notification::with_data(error::HEADER, header::BAD_LENGTH, &field)
}

/// RFC 2918 §3, RFC 7313 §5. An unknown subtype is ignored: it decodes as a request for no family.
fn decode_route_refresh(whole: &[u8]) -> Result<Message, Notification> {
    let Ok([afi_high, afi_low, subtype, safi]) = <[u8; 4]>::try_from(&whole[HEADER..]) else {
        return Err(Notification::with_data(error::ROUTE_REFRESH, route_refresh::INVALID_LENGTH, whole));
    };
    let family = Family::from_numbers(u16::from_be_bytes([afi_high, afi_low]), safi);
    Ok(match subtype {
        0 => Message::RouteRefresh(family, RefreshKind::Request),
        1 => Message::RouteRefresh(family, RefreshKind::Begin),
        2 => Message::RouteRefresh(family, RefreshKind::End),
        _ => Message::RouteRefresh(None, RefreshKind::Request),
    })
}

#[cfg(test)]
mod tests {
    use super::super::iana::cease;
    use super::super::*;
    use bytes::BytesMut;

    const MARKER: [u8; 16] = [0xff; 16];

    fn decode_all(bytes: &[u8], context: &Context) -> (Vec<Message>, Option<Notification>) {
        let (mut decoder, mut interner, mut messages) = (Decoder::new(), Interner::new(), Vec::new());
        decoder.push(bytes);
        loop {
            match decoder.next(context, &mut interner) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(notification) => return (messages, Some(notification)),
            }
        }
    }

    fn message(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
    }

    /// The error that `length` and `kind` alone lead to.
    fn refused(length: u16, kind: u8, context: &Context) -> Option<Notification> {
        decode_all(&message(length, kind, &[]), context).1
    }

    fn bad_length(length: u16) -> Option<Notification> {
        Some(Notification::with_data(1, 2, &length.to_be_bytes()))
    }

    #[test]
    fn messages_come_out_one_by_one_however_the_stream_is_cut() {
        let mut bytes = BytesMut::new();
        encode_keepalive(&mut bytes);
        encode_route_refresh(Family::Ipv6Unicast, RefreshKind::Begin, &mut bytes);
        encode_end_of_rib(Family::Ipv6Unicast, &mut bytes);
        encode_end_of_rib(Family::Ipv4Unicast, &mut bytes);
        encode_notification(&Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN), &mut bytes);
        let end_of_rib = |family| Message::Update(Update { end_of_rib: Some(family), ..Update::default() });
        let expected = vec![
            Message::Keepalive,
            Message::RouteRefresh(Some(Family::Ipv6Unicast), RefreshKind::Begin),
            end_of_rib(Family::Ipv6Unicast),
            end_of_rib(Family::Ipv4Unicast),
            Message::Notification(Notification::cease(2)),
        ];
        for size in 1..=bytes.len() {
            let (mut decoder, mut interner, mut messages) = (Decoder::new(), Interner::new(), Vec::new());
            for part in bytes.chunks(size) {
                decoder.push(part);
                while let Some(message) = decoder.next(&Context::default(), &mut interner).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn the_small_messages_are_the_bytes_of_their_rfcs() {
        let mut out = BytesMut::new();
        encode_keepalive(&mut out);
        assert_eq!(out[..], message(19, 4, &[]));
        out.clear();
        encode_end_of_rib(Family::Ipv4Unicast, &mut out);
        assert_eq!(out[..], message(23, 2, &[0, 0, 0, 0]));
        out.clear();
        encode_end_of_rib(Family::Ipv6Unicast, &mut out);
        assert_eq!(out[..], message(29, 2, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]));
        out.clear();
        encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request, &mut out);
        assert_eq!(out[..], message(23, 5, &[0, 1, 0, 1]));
        out.clear();
        encode_notification(&Notification::with_data(2, 1, &[0, 4]), &mut out);
        assert_eq!(out[..], message(23, 3, &[2, 1, 0, 4]));
    }

    #[test]
    fn a_notifications_data_is_cut_to_the_largest_message() {
        let mut out = BytesMut::new();
        encode_notification(&Notification::with_data(3, 2, &[7; 5000]), &mut out);
        assert_eq!(out.len(), 4096);
    }

    #[test]
    fn a_wrong_marker_means_lost_synchronisation() {
        let mut bytes = message(19, 4, &[]);
        bytes[15] = 0;
        assert_eq!(decode_all(&bytes, &Context::default()), (vec![], Some(Notification::new(1, 1))));
    }

    #[test]
    fn a_length_outside_what_its_type_allows_is_refused_before_the_body_comes() {
        let plain = Context::default();
        for (length, kind) in
            [(0, 4), (18, 4), (20, 4), (28, 1), (22, 2), (20, 3), (22, 5), (4097, 2), (4097, 3), (65535, 2)]
        {
            assert_eq!(refused(length, kind, &plain), bad_length(length), "type {kind}, length {length}");
        }
        for (length, kind) in [(29, 1), (4096, 1), (23, 2), (4096, 2), (21, 3), (23, 5)] {
            assert_eq!(refused(length, kind, &plain), None, "type {kind}, length {length}");
        }
    }

    #[test]
    fn extended_messages_do_not_extend_open_and_keepalive() {
        let extended = Context { extended_messages: true, ..Context::default() };
        assert_eq!(refused(65535, 2, &extended), None);
        assert_eq!(refused(4097, 1, &extended), bad_length(4097));
        assert_eq!(refused(4097, 4, &extended), bad_length(4097));
    }

    #[test]
    fn an_unknown_type_is_refused_with_the_type() {
        for kind in [0, 6, 255] {
            assert_eq!(refused(30, kind, &Context::default()), Some(Notification::with_data(1, 3, &[kind])));
        }
    }

    #[test]
    fn an_error_is_final() {
        let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
        decoder.push(&[0; 19]);
        let error = decoder.next(&Context::default(), &mut interner);
        decoder.push(&message(19, 4, &[]));
        assert_eq!(decoder.next(&Context::default(), &mut interner), error);
        assert_eq!(error, Err(Notification::new(1, 1)));
    }

    #[test]
    fn messages_before_the_fault_still_come_out() {
        let bytes = [message(19, 4, &[]), message(19, 9, &[])].concat();
        assert_eq!(
            decode_all(&bytes, &Context::default()),
            (vec![Message::Keepalive], Some(Notification::with_data(1, 3, &[9])))
        );
    }

    #[test]
    fn a_route_refresh_that_is_too_long_is_refused_whole() {
        let bytes = message(24, 5, &[0, 1, 1, 1, 0]);
        assert_eq!(decode_all(&bytes, &Context::default()).1, Some(Notification::with_data(7, 1, &bytes)));
    }

    #[test]
    fn a_route_refresh_of_an_unknown_subtype_or_family_asks_for_nothing() {
        let asked = |body: [u8; 4]| decode_all(&message(23, 5, &body), &Context::default()).0;
        assert_eq!(asked([0, 1, 3, 1]), [Message::RouteRefresh(None, RefreshKind::Request)]);
        assert_eq!(asked([0, 25, 2, 70]), [Message::RouteRefresh(None, RefreshKind::End)]);
    }

    #[test]
    fn an_idle_decoder_holds_no_buffer() {
        let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
        decoder.push(&message(19, 4, &[]));
        decoder.next(&Context::default(), &mut interner).unwrap();
        assert_eq!(decoder.buffer.capacity(), 0);
    }
}
