//! The vocabulary every other module speaks: names, numbers, and the kernel objects as values.
//!
//! Newtypes refuse what the kernel or an RFC would refuse, so that a value in hand is a valid one.

mod asn;
mod duration;
mod external;
mod filter;
mod link;
mod mac;
mod name;
mod neighbour;
mod order;
mod password;
mod route;

pub use asn::{Asn, BgpIdentifier};
pub use duration::{parse_duration, show_duration};
pub use external::ExternalSpeaker;
pub use filter::{
    Community, Filter, FilterOperation, FilterRule, MatchOperator, NextHopMode, PrefixAdvertisement, PrefixMatch,
};
pub use link::{Link, LinkKind};
pub use mac::MacAddr;
pub use name::{IfName, InvalidName, LabName, NetnsName};
pub use neighbour::{FdbEntry, Neighbour};
pub use order::Order;
pub use password::Password;
pub use route::{NextHop, ParseRouteError, Route, RouteKind, RouteProtocol, Scope};
