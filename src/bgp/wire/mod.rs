//! BGP messages as bytes: RFC 4271 with MP-BGP (4760), four-octet AS (6793), route refresh (2918, 7313), graceful restart (4724),
//! ADD-PATH (7911), extended messages (8654), extended OPEN parameters (9072), reflection (4456) and communities (1997, 4360, 8092).
//!
//! Bytes come in cut anywhere ([`Decoder`]) and go out appended to a buffer (`encode_*`); nothing here knows a session or a clock.
//! An error that ends the connection is the [`Notification`] to send; one that does not is a line in [`Update::faults`] (RFC 7606).
//!
//! | File | Holds |
//! |---|---|
//! | `decoder` | framing, header checks, one function per message type |
//! | `open` | OPEN and capabilities, both ways |
//! | `update` | the UPDATE envelope and what becomes of a malformed one |
//! | `attribute` | path attributes in: one line of grammar and one row of treatment each |
//! | `as_path`, `nlri` | AS_PATH with the AS4_PATH merge; prefixes |
//! | `encode` | everything out |
//! | `interner` | one allocation per distinct attribute set |
//! | `notification`, `iana` | error codes, and their names as BIRD says them |
//!
//! The grammar is written here and not taken from a library. A path attribute is one line each, converting a library's attribute into
//! [`Attributes`] is also one line each plus a table of its errors, and the library at hand (netgauze) can neither parse RFC 9072 nor
//! choose the extended length nor merge AS4_PATH. It is the oracle of the differential tests instead (`oracle`).

mod as_path;
mod attribute;
mod decoder;
mod encode;
pub mod iana;
mod interner;
mod nlri;
mod notification;
mod open;
mod reader;
mod types;
mod update;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod rfc7606;
#[cfg(test)]
mod round_trip;

pub use decoder::Decoder;
pub use encode::*;
pub use interner::Interner;
pub use open::encode_open;
pub use types::*;
