//! NOTIFICATION: constructors for those that sessions send, and names as `birdc` shows them.

use std::fmt;

use bytes::Bytes;

use super::iana::{cease, error, fsm, header, open, route_refresh, update};
use super::reader::Reader;
use super::types::Notification;

impl Notification {
    /// One without data.
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Bytes::new() }
    }

    /// One with a copy of the bytes it is about.
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self { code, subcode, data: Bytes::copy_from_slice(data) }
    }

    /// Hold Timer Expired (RFC 4271 §6.5).
    pub const fn hold_timer_expired() -> Self {
        Self::new(error::HOLD_TIMER_EXPIRED, 0)
    }

    /// Finite State Machine Error with a subcode of [`iana::fsm`](super::iana::fsm), or 0.
    pub const fn fsm_error(subcode: u8) -> Self {
        Self::new(error::FSM, subcode)
    }

    /// Cease with a subcode of [`iana::cease`](super::iana::cease).
    pub const fn cease(subcode: u8) -> Self {
        Self::new(error::CEASE, subcode)
    }

    /// Bad Peer AS: the OPEN's AS is not the configured one (RFC 4271 §6.2).
    pub const fn bad_peer_as() -> Self {
        Self::new(error::OPEN, open::BAD_PEER_AS)
    }

    /// Reads the body of a NOTIFICATION; `None` if it has no subcode.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let (code, subcode) = (reader.u8()?, reader.u8()?);
        Some(Self::with_data(code, subcode, reader.rest()))
    }
}

/// BIRD's words, as `birdc show protocols` has them behind `Received: ` and `BGP Error: `.
impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(code, subcode, _)| (*code, *subcode) == (self.code, self.subcode)) {
            Some((_, _, name)) => f.pad(name),
            None => write!(f, "Unknown error {}.{}", self.code, self.subcode),
        }
    }
}

/// The words of BIRD 1.6 per code and subcode.
const NAMES: [(u8, u8, &str); 41] = [
    (error::HEADER, 0, "Invalid message header"),
    (error::HEADER, header::NOT_SYNCHRONIZED, "Connection not synchronized"),
    (error::HEADER, header::BAD_LENGTH, "Bad message length"),
    (error::HEADER, header::BAD_TYPE, "Bad message type"),
    (error::OPEN, open::UNSPECIFIC, "Invalid OPEN message"),
    (error::OPEN, open::UNSUPPORTED_VERSION, "Unsupported version number"),
    (error::OPEN, open::BAD_PEER_AS, "Bad peer AS"),
    (error::OPEN, open::BAD_IDENTIFIER, "Bad BGP identifier"),
    (error::OPEN, open::UNSUPPORTED_PARAMETER, "Unsupported optional parameter"),
    (error::OPEN, 5, "Authentication failure"),
    (error::OPEN, open::UNACCEPTABLE_HOLD_TIME, "Unacceptable hold time"),
    (error::OPEN, open::UNSUPPORTED_CAPABILITY, "Required capability missing"),
    (error::OPEN, 8, "No supported AFI/SAFI"),
    (error::UPDATE, 0, "Invalid UPDATE message"),
    (error::UPDATE, update::MALFORMED_ATTRIBUTE_LIST, "Malformed attribute list"),
    (error::UPDATE, update::UNRECOGNIZED_WELL_KNOWN, "Unrecognized well-known attribute"),
    (error::UPDATE, 3, "Missing mandatory attribute"),
    (error::UPDATE, 4, "Invalid attribute flags"),
    (error::UPDATE, 5, "Invalid attribute length"),
    (error::UPDATE, 6, "Invalid ORIGIN attribute"),
    (error::UPDATE, 7, "AS routing loop"),
    (error::UPDATE, 8, "Invalid NEXT_HOP attribute"),
    (error::UPDATE, update::OPTIONAL_ATTRIBUTE, "Optional attribute error"),
    (error::UPDATE, update::INVALID_NETWORK_FIELD, "Invalid network field"),
    (error::UPDATE, 11, "Malformed AS_PATH"),
    (error::HOLD_TIMER_EXPIRED, 0, "Hold timer expired"),
    (error::FSM, 0, "Finite state machine error"),
    (error::FSM, fsm::OPEN_SENT, "Unexpected message in OpenSent state"),
    (error::FSM, fsm::OPEN_CONFIRM, "Unexpected message in OpenConfirm state"),
    (error::FSM, fsm::ESTABLISHED, "Unexpected message in Established state"),
    (error::CEASE, 0, "Cease"),
    (error::CEASE, cease::MAXIMUM_PREFIXES, "Maximum number of prefixes reached"),
    (error::CEASE, cease::ADMINISTRATIVE_SHUTDOWN, "Administrative shutdown"),
    (error::CEASE, cease::PEER_DECONFIGURED, "Peer de-configured"),
    (error::CEASE, cease::ADMINISTRATIVE_RESET, "Administrative reset"),
    (error::CEASE, cease::CONNECTION_REJECTED, "Connection rejected"),
    (error::CEASE, cease::CONFIGURATION_CHANGE, "Other configuration change"),
    (error::CEASE, cease::COLLISION_RESOLUTION, "Connection collision resolution"),
    (error::CEASE, cease::OUT_OF_RESOURCES, "Out of Resources"),
    (error::ROUTE_REFRESH, 0, "Invalid ROUTE-REFRESH message"),
    (error::ROUTE_REFRESH, route_refresh::INVALID_LENGTH, "Invalid ROUTE-REFRESH message length"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_prints_in_birds_words() {
        assert_eq!(Notification::hold_timer_expired().to_string(), "Hold timer expired");
        assert_eq!(Notification::bad_peer_as().to_string(), "Bad peer AS");
        assert_eq!(Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN).to_string(), "Administrative shutdown");
        assert_eq!(Notification::cease(cease::COLLISION_RESOLUTION).to_string(), "Connection collision resolution");
        assert_eq!(Notification::fsm_error(fsm::ESTABLISHED).to_string(), "Unexpected message in Established state");
    }

    #[test]
    fn an_unknown_code_prints_as_two_numbers() {
        assert_eq!(Notification::new(9, 3).to_string(), "Unknown error 9.3");
    }
}
