//! Which BGP messages a TCP segment holds: only the headers (RFC 4271 §4.1) are read.
//!
//! The codec of `bgp::wire` is for speakers; a capture must show also what no speaker would accept.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A BGP message by its type, printed as tcpdump calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BgpMessage {
    /// OPEN.
    Open,
    /// UPDATE.
    Update,
    /// NOTIFICATION with its error code and subcode (RFC 4271 §4.5); zeros where the capture ends before them.
    Notification {
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
    },
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// Any other type.
    Other(u8),
}

impl fmt::Display for BgpMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Update => f.write_str("Update"),
            Self::Notification { code, subcode } => write!(f, "Notification {code}/{subcode}"),
            Self::Keepalive => f.write_str("Keepalive"),
            Self::RouteRefresh => f.write_str("Route Refresh"),
            Self::Other(number) => write!(f, "type {number}"),
        }
    }
}

/// The messages that begin in `segment`, in order, as long as each begins where the one before it ended. A segment that does
/// not begin with a marker continues a message of an earlier one: nothing in it can be told for sure.
pub(super) fn messages(mut segment: &[u8]) -> Vec<BgpMessage> {
    let mut found = Vec::new();
    while let Some((header, _)) = segment.split_at_checked(HEADER_LENGTH)
        && header[..16] == MARKER
    {
        found.push(match header[18] {
            1 => BgpMessage::Open,
            2 => BgpMessage::Update,
            3 => BgpMessage::Notification {
                code: segment.get(HEADER_LENGTH).copied().unwrap_or(0),
                subcode: segment.get(HEADER_LENGTH + 1).copied().unwrap_or(0),
            },
            4 => BgpMessage::Keepalive,
            5 => BgpMessage::RouteRefresh,
            other => BgpMessage::Other(other),
        });
        // A length below the header's own is an error of the sender's (RFC 4271 §6.1): what follows is anyone's guess.
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        match segment.get(length..) {
            Some(rest) if length >= HEADER_LENGTH => segment = rest,
            _ => break,
        }
    }
    found
}

const HEADER_LENGTH: usize = 19;
const MARKER: [u8; 16] = [0xff; 16];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, length: u16, body: &[u8]) -> Vec<u8> {
        [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
    }

    #[test]
    fn every_message_of_a_segment_is_named_in_order() {
        let segment =
            [message(1, 29, &[0; 10]), message(4, 19, &[]), message(3, 21, &[6, 2]), message(5, 23, &[0; 4])].concat();
        let expected = [
            BgpMessage::Open,
            BgpMessage::Keepalive,
            BgpMessage::Notification { code: 6, subcode: 2 },
            BgpMessage::RouteRefresh,
        ];
        assert_eq!(messages(&segment), expected);
    }

    #[test]
    fn a_message_that_goes_on_in_the_next_segment_counts_in_the_first() {
        let segment = [message(4, 19, &[]), message(2, 4096, &[0; 100])].concat();
        assert_eq!(messages(&segment), [BgpMessage::Keepalive, BgpMessage::Update]);
        assert_eq!(messages(&segment[60..]), []);
    }

    #[test]
    fn a_length_below_the_header_ends_the_walk() {
        let segment = [message(4, 3, &[]), message(4, 19, &[])].concat();
        assert_eq!(messages(&segment), [BgpMessage::Keepalive]);
    }
}
