//! The UPDATE envelope (RFC 4271 §4.3) and what a malformed one comes to (RFC 7606).
//!
//! In short: what leaves the prefixes unknown resets the session, what leaves a route's attributes in doubt withdraws the route, and
//! what does not matter to routing is dropped.

use std::net::IpAddr;
use std::sync::Arc;

use super::attribute::{AttributeField, MpReach, is_usable_next_hop};
use super::iana::attribute::{AS_PATH, MP_REACH_NLRI, NEXT_HOP, ORIGIN};
use super::iana::{error, update};
use super::interner::Interner;
use super::nlri;
use super::reader::Reader;
use super::types::{Attributes, Context, Family, Nlri, Notification, Update};

/// Reads the body of an UPDATE. The second value is for one that announces both in its NLRI field and in MP_REACH_NLRI, which no speaker
/// sends but all must take (RFC 7606 §5.1): the routes have different next hops, so they come as two.
///
/// # Errors
/// A fault that ends the session.
pub(super) fn decode(
    body: &[u8],
    context: &Context,
    interner: &mut Interner,
) -> Result<(Update, Option<Update>), Notification> {
    let (withdrawn, field, announced) =
        sections(body).ok_or(Notification::new(error::UPDATE, update::MALFORMED_ATTRIBUTE_LIST))?;
    if withdrawn.is_empty() && field.is_empty() && announced.is_empty() {
        return Ok((Update { end_of_rib: Some(Family::Ipv4Unicast), ..Update::default() }, None));
    }
    let prefixes = |bytes| {
        nlri::decode(bytes, Family::Ipv4Unicast, context.add_path_receive_v4)
            .ok_or(Notification::new(error::UPDATE, update::INVALID_NETWORK_FIELD))
    };
    let mut update = Update { withdrawn: prefixes(withdrawn)?, ..Update::default() };
    let announced = prefixes(announced)?;
    if field.is_empty() && announced.is_empty() {
        return Ok((update, None));
    }
    if let Some(attributes) = (!announced.is_empty()).then(|| interner.find_block(field, context)).flatten() {
        announce(&mut update, announced, attributes);
        return Ok((update, None));
    }
    let mut decoded = AttributeField::decode(field, context)?;
    check_reachability(&mut decoded, &announced)?;
    update.faults = std::mem::take(&mut decoded.faults);

    let unreach = decoded.unreach.take();
    if let Some((family, prefixes)) = &unreach {
        let alone = update.withdrawn.is_empty() && announced.is_empty() && !decoded.has(MP_REACH_NLRI);
        update.end_of_rib = (alone && prefixes.is_empty()).then_some(*family);
    }
    let only_classic = unreach.is_none() && !decoded.has(MP_REACH_NLRI);
    update.withdrawn.extend(unreach.into_iter().flat_map(|(_, prefixes)| prefixes));
    let reach = decoded.reach.take();

    if decoded.withdraw {
        update.withdrawn.extend(announced);
        update.withdrawn.extend(reach.into_iter().flat_map(|reach| reach.prefixes));
        return Ok((update, None));
    }
    let next_hop = decoded.next_hop.map(IpAddr::from).filter(|_| !announced.is_empty());
    let mut second = None;
    if let Some(next_hop) = next_hop {
        let attributes = interner.intern(decoded.attributes(next_hop));
        if only_classic && update.faults.is_empty() {
            interner.remember_block(field, context, &attributes);
        }
        announce(&mut update, announced, attributes);
    }
    if let Some(MpReach { next_hop: mp_next_hop, prefixes }) = reach.filter(|reach| !reach.prefixes.is_empty()) {
        let attributes = interner.intern(decoded.attributes(mp_next_hop));
        match next_hop {
            None => announce(&mut update, prefixes, attributes),
            Some(_) => announce(second.insert(Update::default()), prefixes, attributes),
        }
    }
    Ok((update, second))
}

/// Withdrawn routes, path attributes, NLRI; `None` if the lengths contradict the message's.
fn sections(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut reader = Reader::new(body);
    let length = reader.u16()?;
    let withdrawn = reader.take(length.into())?;
    let length = reader.u16()?;
    let field = reader.take(length.into())?;
    Some((withdrawn, field, reader.rest()))
}

/// The faults that can only be seen with the prefixes at hand: attributes missing (RFC 7606 §3 (d)), next hops that are none, and
/// malformed attributes without a single prefix, which leave open what was to be withdrawn (RFC 7606 §5.2).
fn check_reachability(decoded: &mut AttributeField, announced: &[Nlri]) -> Result<(), Notification> {
    if decoded.withdraw && announced.is_empty() && !decoded.has(MP_REACH_NLRI) {
        return Err(Notification::new(error::UPDATE, update::MALFORMED_ATTRIBUTE_LIST));
    }
    let mp_next_hop = decoded.reach.as_ref().filter(|reach| !reach.prefixes.is_empty()).map(|reach| reach.next_hop);
    let classic = !announced.is_empty();
    let wanted = classic || mp_next_hop.is_some();
    for (code, name, wanted) in
        [(ORIGIN, "ORIGIN", wanted), (AS_PATH, "AS_PATH", wanted), (NEXT_HOP, "NEXT_HOP", classic)]
    {
        if wanted && !decoded.has(code) {
            decoded.fault_and_withdraw(&format!("missing {name}"));
        }
    }
    let next_hops = [decoded.next_hop.map(IpAddr::from).filter(|_| classic), mp_next_hop];
    for next_hop in next_hops.into_iter().flatten().filter(|next_hop| !is_usable_next_hop(*next_hop)) {
        decoded.fault_and_withdraw(&format!("next hop {next_hop} is not a host's address"));
    }
    Ok(())
}

/// Makes `update` announce `prefixes`, less those that nobody may.
fn announce(update: &mut Update, mut prefixes: Vec<Nlri>, attributes: Arc<Attributes>) {
    prefixes.retain(|nlri| {
        let martian = nlri::is_martian(&nlri.prefix);
        if martian {
            update.faults.push(format!("{} is not a prefix of hosts: ignored", nlri.prefix));
        }
        !martian
    });
    if !prefixes.is_empty() {
        update.announced = prefixes;
        update.attributes = Some(attributes);
    }
}
