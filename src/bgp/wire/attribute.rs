//! Path attributes in: the walk over the attribute field, the grammar of each attribute, and RFC 7606's treatment of a malformed one.
//!
//! Each attribute is parsed from its own slice alone, so that an error cannot leak into its neighbour.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use super::as_path::AsWidth;
use super::iana::attribute::*;
use super::iana::{error, update};
use super::nlri;
use super::reader::Reader;
use super::types::{AsPath, Attributes, Context, Family, Nlri, Notification, Origin, UnknownAttribute};
use crate::net::{Asn, BgpIdentifier};

/// What the attribute field of one UPDATE says.
#[derive(Debug)]
pub(super) struct AttributeField {
    /// All but next hops; ORIGIN and AS_PATH mean something only where [`Self::has`] them.
    attributes: Attributes,
    /// NEXT_HOP.
    pub(super) next_hop: Option<Ipv4Addr>,
    /// MP_REACH_NLRI, if of a family of ours.
    pub(super) reach: Option<MpReach>,
    /// MP_UNREACH_NLRI, if of a family of ours.
    pub(super) unreach: Option<(Family, Vec<Nlri>)>,
    /// An attribute was malformed such that every announcement counts as a withdrawal.
    pub(super) withdraw: bool,
    /// One line per fault.
    pub(super) faults: Vec<String>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<(Asn, Ipv4Addr)>,
    seen: CodeSet,
}

/// MP_REACH_NLRI (RFC 4760 §3).
#[derive(Debug)]
pub(super) struct MpReach {
    /// The global next hop; a link-local one behind it is not kept.
    pub(super) next_hop: IpAddr,
    /// The prefixes, all of one family.
    pub(super) prefixes: Vec<Nlri>,
}

impl AttributeField {
    /// Reads the whole field.
    ///
    /// # Errors
    /// A fault that ends the session: MP_REACH_NLRI or MP_UNREACH_NLRI malformed or twice, an unknown well-known attribute.
    pub(super) fn decode(field: &[u8], context: &Context) -> Result<Self, Notification> {
        let mut decoded = Self {
            attributes: Attributes::local(Ipv4Addr::UNSPECIFIED.into()),
            next_hop: None,
            reach: None,
            unreach: None,
            withdraw: false,
            faults: Vec::new(),
            as4_path: None,
            as4_aggregator: None,
            seen: CodeSet::default(),
        };
        let mut reader = Reader::new(field);
        while !reader.is_empty() {
            let code = reader.rest().get(1);
            match RawAttribute::read(&mut reader) {
                Some(attribute) => decoded.add(&attribute, context)?,
                // Prefixes are lost, which no withdrawal can make good (RFC 7606 §3 (j)).
                None if matches!(code, Some(&(MP_REACH_NLRI | MP_UNREACH_NLRI))) => {
                    return Err(Notification::new(error::UPDATE, update::MALFORMED_ATTRIBUTE_LIST));
                }
                // RFC 7606 §4: the NLRI stand outside the field, whose own length is still to be relied upon.
                None => {
                    decoded.fault_and_withdraw("the last path attribute runs past the end of the attribute field");
                    break;
                }
            }
        }
        decoded.merge_four_octet();
        Ok(decoded)
    }

    /// Whether the attribute was there, malformed or not.
    pub(super) fn has(&self, code: u8) -> bool {
        self.seen.contains(code)
    }

    /// Records a fault that turns every announcement into a withdrawal.
    pub(super) fn fault_and_withdraw(&mut self, what: &str) {
        self.faults.push(format!("{what}: treated as withdrawal"));
        self.withdraw = true;
    }

    /// The attributes of the routes with `next_hop`.
    pub(super) fn attributes(&self, next_hop: IpAddr) -> Attributes {
        Attributes { next_hop, ..self.attributes.clone() }
    }

    fn add(&mut self, attribute: &RawAttribute<'_>, context: &Context) -> Result<(), Notification> {
        let Some(rule) = Rule::of(attribute.code) else { return self.add_unknown(attribute) };
        if !self.seen.insert(attribute.code) {
            return self.add_second(attribute.code, rule.name);
        }
        let unread = match attribute.code {
            LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST => context.external,
            AS4_PATH | AS4_AGGREGATOR => context.four_octet_as,
            _ => false,
        };
        if unread {
            return Ok(());
        }
        let flags_fit = (attribute.flags ^ rule.flags) & (OPTIONAL | TRANSITIVE) == 0;
        if !flags_fit {
            self.fault_and_withdraw(&format!("{} has flags {:#04x}", rule.name, attribute.flags));
        }
        match attribute.code {
            // Read whatever the flags are: the withdrawal needs to know the prefixes.
            MP_REACH_NLRI => self.reach = MpReach::decode(attribute, context)?,
            MP_UNREACH_NLRI => self.unreach = decode_unreach(attribute, context)?,
            _ if !flags_fit => {}
            _ => {
                if self.read(attribute, context).is_none() {
                    let what = format!("malformed {}: {}", rule.name, hex(attribute.value));
                    match rule.treatment {
                        Treatment::Discard => self.faults.push(format!("{what}: attribute discarded")),
                        Treatment::Withdraw => self.fault_and_withdraw(&what),
                    }
                }
            }
        }
        Ok(())
    }

    /// The grammar: `None` if malformed. A list is malformed also when it is empty (RFC 7606 §7.8, 7.10, 7.14, RFC 8092 §5).
    fn read(&mut self, attribute: &RawAttribute<'_>, context: &Context) -> Option<()> {
        let value = attribute.value;
        let width = AsWidth::of(context.four_octet_as);
        let attributes = &mut self.attributes;
        match attribute.code {
            ORIGIN => attributes.origin = origin(value)?,
            AS_PATH => attributes.as_path = AsPath::decode(value, width)?,
            NEXT_HOP => self.next_hop = Some(Ipv4Addr::from(array(value)?)),
            MULTI_EXIT_DISC => attributes.med = Some(u32::from_be_bytes(array(value)?)),
            LOCAL_PREF => attributes.local_pref = Some(u32::from_be_bytes(array(value)?)),
            ATOMIC_AGGREGATE => attributes.atomic_aggregate = array::<0>(value).map(|_| true)?,
            AGGREGATOR => attributes.aggregator = Some(aggregator(value, width)?),
            COMMUNITIES => attributes.communities = sorted(list(value, u32::from_be_bytes)?),
            ORIGINATOR_ID => attributes.originator_id = Some(identifier(array(value)?)),
            CLUSTER_LIST => attributes.cluster_list = list(value, identifier)?,
            EXTENDED_COMMUNITIES => attributes.extended_communities = sorted(list(value, u64::from_be_bytes)?),
            AS4_PATH => self.as4_path = Some(AsPath::decode(value, AsWidth::Four)?),
            AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, AsWidth::Four)?),
            LARGE_COMMUNITIES => attributes.large_communities = sorted(list(value, large_community)?),
            _ => {}
        }
        Some(())
    }

    /// RFC 4271 §5, §9: well-known is an error, transitive is passed on as partial, the rest is ignored.
    fn add_unknown(&mut self, attribute: &RawAttribute<'_>) -> Result<(), Notification> {
        let code = attribute.code;
        if attribute.flags & OPTIONAL == 0 {
            return Err(Notification::with_data(error::UPDATE, update::UNRECOGNIZED_WELL_KNOWN, attribute.whole));
        }
        if !self.seen.insert(code) {
            return self.add_second(code, &format!("attribute {code}"));
        }
        if attribute.flags & TRANSITIVE != 0 {
            let unknown = UnknownAttribute { code, value: Bytes::copy_from_slice(attribute.value) };
            let position = self.attributes.unknown.partition_point(|other| other.code < code);
            self.attributes.unknown.insert(position, unknown);
        }
        Ok(())
    }

    /// RFC 7606 §3 (g): the first one counts, except that two MP attributes cannot be told apart.
    fn add_second(&mut self, code: u8, name: &str) -> Result<(), Notification> {
        if matches!(code, MP_REACH_NLRI | MP_UNREACH_NLRI) {
            return Err(Notification::new(error::UPDATE, update::MALFORMED_ATTRIBUTE_LIST));
        }
        self.faults.push(format!("a second {name}: attribute discarded"));
        Ok(())
    }

    /// RFC 6793 §4.2.3: what a two-octet peer passed on unread tells what stands behind AS_TRANS.
    fn merge_four_octet(&mut self) {
        if let (Some(new), Some(old)) = (self.as4_aggregator, &mut self.attributes.aggregator) {
            if old.0 != Asn::TRANS {
                // A two-octet speaker aggregated after the AS4 attributes were written: both are stale.
                return;
            }
            *old = new;
        }
        if let Some(four) = self.as4_path.take() {
            self.attributes.as_path = std::mem::take(&mut self.attributes.as_path).merge(four);
        }
    }
}

impl MpReach {
    /// `None` for a family that is not ours.
    fn decode(attribute: &RawAttribute<'_>, context: &Context) -> Result<Option<Self>, Notification> {
        // RFC 7606 §7.11: where the next hop's length is wrong the prefixes cannot be found.
        let malformed = || Notification::with_data(error::UPDATE, update::OPTIONAL_ATTRIBUTE, attribute.whole);
        let mut reader = Reader::new(attribute.value);
        let family = family(&mut reader).ok_or_else(malformed)?;
        let length = reader.u8().ok_or_else(malformed)?;
        let next_hop = reader.take(length.into()).ok_or_else(malformed)?;
        let _reserved = reader.u8().ok_or_else(malformed)?;
        let Ok(family) = family else { return Ok(None) };
        let next_hop = match (family, next_hop.len()) {
            (Family::Ipv4Unicast, 4) => array(next_hop).map(|octets: [u8; 4]| IpAddr::from(octets)),
            // 32: a link-local address follows (RFC 2545 §3). With IPv4 prefixes: RFC 8950.
            (_, 16 | 32) => next_hop.first_chunk().map(|octets: &[u8; 16]| IpAddr::from(*octets)),
            _ => None,
        };
        let next_hop = next_hop.ok_or_else(malformed)?;
        let prefixes = mp_prefixes(&reader, family, context)?;
        Ok(Some(Self { next_hop, prefixes }))
    }
}

fn decode_unreach(
    attribute: &RawAttribute<'_>,
    context: &Context,
) -> Result<Option<(Family, Vec<Nlri>)>, Notification> {
    let mut reader = Reader::new(attribute.value);
    match family(&mut reader) {
        None => Err(Notification::with_data(error::UPDATE, update::OPTIONAL_ATTRIBUTE, attribute.whole)),
        Some(Err(NotOurs)) => Ok(None),
        Some(Ok(family)) => Ok(Some((family, mp_prefixes(&reader, family, context)?))),
    }
}

fn mp_prefixes(reader: &Reader<'_>, family: Family, context: &Context) -> Result<Vec<Nlri>, Notification> {
    nlri::decode(reader.rest(), family, context.add_path_receive(family))
        .ok_or(Notification::new(error::UPDATE, update::INVALID_NETWORK_FIELD))
}

/// A family that was not negotiated: what is said of it is ignored (RFC 4760 §6).
struct NotOurs;

fn family(reader: &mut Reader<'_>) -> Option<Result<Family, NotOurs>> {
    let (afi, safi) = (reader.u16()?, reader.u8()?);
    Some(Family::from_numbers(afi, safi).ok_or(NotOurs))
}

fn origin(value: &[u8]) -> Option<Origin> {
    match value {
        [0] => Some(Origin::Igp),
        [1] => Some(Origin::Egp),
        [2] => Some(Origin::Incomplete),
        _ => None,
    }
}

/// `None` also for AS 0 (RFC 7607 §2).
fn aggregator(value: &[u8], width: AsWidth) -> Option<(Asn, Ipv4Addr)> {
    let mut reader = Reader::new(value);
    let asn = width.read(&mut reader).filter(|asn| asn.0 != 0)?;
    Some((asn, Ipv4Addr::from(array(reader.rest())?)))
}

fn identifier(octets: [u8; 4]) -> BgpIdentifier {
    BgpIdentifier(Ipv4Addr::from(octets))
}

fn large_community(octets: [u8; 12]) -> (u32, u32, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
}

fn array<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

fn list<const N: usize, T>(value: &[u8], item: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (items, rest) = value.as_chunks::<N>();
    (!items.is_empty() && rest.is_empty()).then(|| items.iter().map(|octets| item(*octets)).collect())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

/// Whether `next_hop` can be a host's address (RFC 4271 §6.3): not 0/8, multicast or beyond. Loopback passes, as with BIRD.
pub(super) fn is_usable_next_hop(next_hop: IpAddr) -> bool {
    match next_hop.to_canonical() {
        IpAddr::V4(address) => (1..224).contains(&address.octets()[0]),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    }
}

/// The first bytes of `value`, for a fault.
fn hex(value: &[u8]) -> String {
    const SHOWN: usize = 16;
    let mut text = format!("{} bytes", value.len());
    for (index, byte) in value.iter().take(SHOWN).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{byte:02x}", if index == 0 { ", " } else { " " });
    }
    if value.len() > SHOWN {
        text.push_str(" …");
    }
    text
}

/// One attribute, unread.
struct RawAttribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// Flags, code, length and value: the data of a NOTIFICATION about it.
    whole: &'a [u8],
}

impl<'a> RawAttribute<'a> {
    /// `None` if it runs past the end.
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let start = reader.rest();
        let (flags, code) = (reader.u8()?, reader.u8()?);
        let length = if flags & EXTENDED_LENGTH != 0 { reader.u16()?.into() } else { usize::from(reader.u8()?) };
        let value = reader.take(length)?;
        Some(Self { flags, code, value, whole: &start[..start.len() - reader.rest().len()] })
    }
}

/// What becomes of the UPDATE if an attribute's value is malformed (RFC 7606 §7).
#[derive(Clone, Copy)]
enum Treatment {
    Discard,
    Withdraw,
}

/// What is known of an attribute before its value is read.
struct Rule {
    code: u8,
    name: &'static str,
    flags: u8,
    treatment: Treatment,
}

impl Rule {
    const WELL_KNOWN: u8 = TRANSITIVE;
    const NON_TRANSITIVE: u8 = OPTIONAL;
    const BOTH: u8 = OPTIONAL | TRANSITIVE;

    const ALL: [Self; 16] = {
        use Treatment::{Discard, Withdraw};
        [
            Self::new(ORIGIN, "ORIGIN", Self::WELL_KNOWN, Withdraw),
            Self::new(AS_PATH, "AS_PATH", Self::WELL_KNOWN, Withdraw),
            Self::new(NEXT_HOP, "NEXT_HOP", Self::WELL_KNOWN, Withdraw),
            Self::new(MULTI_EXIT_DISC, "MULTI_EXIT_DISC", Self::NON_TRANSITIVE, Withdraw),
            Self::new(LOCAL_PREF, "LOCAL_PREF", Self::WELL_KNOWN, Withdraw),
            Self::new(ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", Self::WELL_KNOWN, Discard),
            Self::new(AGGREGATOR, "AGGREGATOR", Self::BOTH, Discard),
            Self::new(COMMUNITIES, "COMMUNITIES", Self::BOTH, Withdraw),
            Self::new(ORIGINATOR_ID, "ORIGINATOR_ID", Self::NON_TRANSITIVE, Withdraw),
            Self::new(CLUSTER_LIST, "CLUSTER_LIST", Self::NON_TRANSITIVE, Withdraw),
            Self::new(MP_REACH_NLRI, "MP_REACH_NLRI", Self::NON_TRANSITIVE, Withdraw),
            Self::new(MP_UNREACH_NLRI, "MP_UNREACH_NLRI", Self::NON_TRANSITIVE, Withdraw),
            Self::new(EXTENDED_COMMUNITIES, "EXTENDED COMMUNITIES", Self::BOTH, Withdraw),
            // RFC 6793 §6.
            Self::new(AS4_PATH, "AS4_PATH", Self::BOTH, Discard),
            Self::new(AS4_AGGREGATOR, "AS4_AGGREGATOR", Self::BOTH, Discard),
            Self::new(LARGE_COMMUNITIES, "LARGE_COMMUNITIES", Self::BOTH, Withdraw),
        ]
    };

    const fn new(code: u8, name: &'static str, flags: u8, treatment: Treatment) -> Self {
        Self { code, name, flags, treatment }
    }

    fn of(code: u8) -> Option<&'static Self> {
        Self::ALL.iter().find(|rule| rule.code == code)
    }
}

/// A set of attribute codes.
#[derive(Clone, Copy, Debug, Default)]
struct CodeSet([u128; 2]);

impl CodeSet {
    /// Whether `code` is new.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 7)] |= 1 << (code & 0x7f);
        new
    }

    fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 7)] & 1 << (code & 0x7f) != 0
    }
}
