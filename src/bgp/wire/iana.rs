//! Numbers from IANA's BGP registries. A number used in one place only stands there.

/// Message types (RFC 4271 §4.1, RFC 2918).
pub(super) mod message {
    pub(in super::super) const OPEN: u8 = 1;
    pub(in super::super) const UPDATE: u8 = 2;
    pub(in super::super) const NOTIFICATION: u8 = 3;
    pub(in super::super) const KEEPALIVE: u8 = 4;
    pub(in super::super) const ROUTE_REFRESH: u8 = 5;
}

/// Path attribute type codes.
pub(super) mod attribute {
    pub(in super::super) const ORIGIN: u8 = 1;
    pub(in super::super) const AS_PATH: u8 = 2;
    pub(in super::super) const NEXT_HOP: u8 = 3;
    pub(in super::super) const MULTI_EXIT_DISC: u8 = 4;
    pub(in super::super) const LOCAL_PREF: u8 = 5;
    pub(in super::super) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in super::super) const AGGREGATOR: u8 = 7;
    pub(in super::super) const COMMUNITIES: u8 = 8;
    pub(in super::super) const ORIGINATOR_ID: u8 = 9;
    pub(in super::super) const CLUSTER_LIST: u8 = 10;
    pub(in super::super) const MP_REACH_NLRI: u8 = 14;
    pub(in super::super) const MP_UNREACH_NLRI: u8 = 15;
    pub(in super::super) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in super::super) const AS4_PATH: u8 = 17;
    pub(in super::super) const AS4_AGGREGATOR: u8 = 18;
    pub(in super::super) const LARGE_COMMUNITIES: u8 = 32;

    /// Attribute flags (RFC 4271 §4.3).
    pub(in super::super) const OPTIONAL: u8 = 0x80;
    pub(in super::super) const TRANSITIVE: u8 = 0x40;
    pub(in super::super) const PARTIAL: u8 = 0x20;
    pub(in super::super) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Capability codes (RFC 5492).
pub(super) mod capability {
    pub(in super::super) const MULTIPROTOCOL: u8 = 1;
    pub(in super::super) const ROUTE_REFRESH: u8 = 2;
    pub(in super::super) const EXTENDED_MESSAGE: u8 = 6;
    pub(in super::super) const GRACEFUL_RESTART: u8 = 64;
    pub(in super::super) const FOUR_OCTET_AS: u8 = 65;
    pub(in super::super) const ADD_PATH: u8 = 69;
    pub(in super::super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(in super::super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
}

/// NOTIFICATION error codes (RFC 4271 §4.5).
pub mod error {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313).
    pub const ROUTE_REFRESH: u8 = 7;
}

/// Subcodes of [`error::HEADER`].
pub mod header {
    /// Connection Not Synchronized.
    pub const NOT_SYNCHRONIZED: u8 = 1;
    /// Bad Message Length.
    pub const BAD_LENGTH: u8 = 2;
    /// Bad Message Type.
    pub const BAD_TYPE: u8 = 3;
}

/// Subcodes of [`error::OPEN`].
pub mod open {
    /// Unspecific.
    pub const UNSPECIFIC: u8 = 0;
    /// Unsupported Version Number.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// Bad Peer AS.
    pub const BAD_PEER_AS: u8 = 2;
    /// Bad BGP Identifier.
    pub const BAD_IDENTIFIER: u8 = 3;
    /// Unsupported Optional Parameter.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// Unacceptable Hold Time.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// Unsupported Capability (RFC 5492).
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
}

/// Subcodes of [`error::UPDATE`].
pub mod update {
    /// Malformed Attribute List.
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    /// Unrecognized Well-known Attribute.
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    /// Optional Attribute Error.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// Invalid Network Field.
    pub const INVALID_NETWORK_FIELD: u8 = 10;
}

/// Subcodes of [`error::FSM`] (RFC 6608).
pub mod fsm {
    /// Unexpected Message in OpenSent State.
    pub const OPEN_SENT: u8 = 1;
    /// Unexpected Message in OpenConfirm State.
    pub const OPEN_CONFIRM: u8 = 2;
    /// Unexpected Message in Established State.
    pub const ESTABLISHED: u8 = 3;
}

/// Subcodes of [`error::CEASE`] (RFC 4486).
pub mod cease {
    /// Maximum Number of Prefixes Reached.
    pub const MAXIMUM_PREFIXES: u8 = 1;
    /// Administrative Shutdown.
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    /// Peer De-configured.
    pub const PEER_DECONFIGURED: u8 = 3;
    /// Administrative Reset.
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    /// Connection Rejected.
    pub const CONNECTION_REJECTED: u8 = 5;
    /// Other Configuration Change.
    pub const CONFIGURATION_CHANGE: u8 = 6;
    /// Connection Collision Resolution.
    pub const COLLISION_RESOLUTION: u8 = 7;
    /// Out of Resources.
    pub const OUT_OF_RESOURCES: u8 = 8;
}

/// Subcodes of [`error::ROUTE_REFRESH`] (RFC 7313 §5).
pub mod route_refresh {
    /// Invalid Message Length.
    pub const INVALID_LENGTH: u8 = 1;
}
