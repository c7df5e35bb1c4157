//! BGP messages as bytes: RFC 4271 with MP-BGP (4760), four-octet AS (6793), route refresh (2918, 7313), graceful restart (4724),
//! ADD-PATH (7911), extended messages (8654), reflection (4456) and communities (1997, 4360, 8092).
//!
//! The grammar of OPEN and of single attributes is netgauze's; the UPDATE envelope, the treatment of errors (RFC 7606), the NLRI and
//! the interner are ours. No netgauze type leaves this folder.

mod types;

pub use types::*;
