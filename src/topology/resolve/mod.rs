//! raw → [`Topology`]: every reference resolved, every rule of the file format checked, all faults collected.
//!
//! Each part works on whatever the others found sound, so that one fault does not hide another; a [`Topology`] comes out only
//! where there was none. Raw structs are destructured without `..`: a new field must be handled before this compiles.

mod bgp;
mod filters;
mod names;
mod nodes;
mod peers;
mod pods;
mod pools;
mod routers;
mod segments;
mod selectors;

use std::collections::BTreeMap;

use super::error::Faults;
use super::model::Topology;
use super::raw::{At, RawAsNumber, RawTopology};
use super::shape::Holes;
use crate::net::{Asn, LabName};
use names::Names;

/// Resolves `raw`; `stem` names the lab where the file does not. `None` only where `faults` has something.
pub(super) fn resolve(raw: RawTopology, holes: &Holes, stem: &str, faults: &mut Faults<'_>) -> Option<Topology> {
    let RawTopology {
        name,
        mode,
        profile,
        timers,
        node,
        pod,
        router,
        segment,
        bgp_configuration,
        bgp_peer,
        bgp_filter,
        ip_pool,
    } = raw;
    let name = match (name, holes.lost("name")) {
        (None, true) => None,
        (name, _) => lab_name(name, stem, faults),
    };
    let bgp = bgp_configuration.map(|raw| bgp::configuration(raw, faults)).unwrap_or_default();
    let mut names = Names::new(name.clone());
    let without_nodes = !router.is_empty() || holes.lost("router");
    let mut nodes = nodes::expand(node, without_nodes, holes, &mut names, faults);
    let routers = routers::resolve(router, holes, &mut nodes, &mut names, faults);
    routers::check_addresses(&routers, &nodes, faults);
    let segments = segments::infer(segment, &nodes, &routers, faults);
    let pools = pools::resolve(mode, ip_pool, holes, faults);
    pools::check_interfaces(&pools, &nodes.list, &routers.list, faults);
    let pods = pods::resolve(pod, &nodes, &pools, &mut names, faults);
    pools::check_capacity(&pools, &nodes.list, &pods, faults);
    let bgp_filters = filters::resolve(bgp_filter, faults);
    let context = peers::Context { nodes: &nodes, routers: &routers, filters: &bgp_filters, default_as: bgp.as_number };
    let bgp_peers = peers::resolve(bgp_peer, &context, holes, faults);

    if !faults.is_empty() {
        return None;
    }
    let (segments, nodes, routers) = segments.into_model(nodes.list, routers.list);
    Some(Topology {
        name: name?,
        profile: profile.map(At::into_inner).unwrap_or_default(),
        timers: timers.map(At::into_inner).unwrap_or_default(),
        bgp,
        pools: pools.into_model(),
        segments,
        nodes,
        routers,
        bgp_peers,
        bgp_filters,
        pods,
    })
}

fn lab_name(name: Option<At<String>>, stem: &str, faults: &mut Faults<'_>) -> Option<LabName> {
    let (text, span) = match &name {
        Some(name) => (name.as_str(), name.span()),
        None => (stem, 0..0),
    };
    match LabName::new(text) {
        Ok(name) => Some(name),
        Err(error) => {
            let suggestion = LabName::new(&names::like_dns(text).replace('.', "-"));
            let suggestion = suggestion.as_ref().map_or("my-lab", LabName::as_str);
            let help = format!("write `name = \"{suggestion}\"`");
            match name {
                Some(_) => faults.add("invalid-lab-name", span, error.to_string(), "no lab name", help),
                None => {
                    let message = format!("the lab has no name, and the file's stem cannot be one: {error}");
                    faults.add("invalid-lab-name", span, message, "no `name`", format!("{help} at the top"));
                }
            }
            None
        }
    }
}

fn as_number(raw: &At<RawAsNumber>, faults: &mut Faults<'_>) -> Option<Asn> {
    let asn = match &**raw {
        RawAsNumber::Number(number) => u32::try_from(*number).ok().map(Asn),
        // `parse` alone would take `+1`.
        RawAsNumber::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => text.parse().ok(),
        RawAsNumber::Text(_) => None,
    };
    match asn {
        Some(Asn(0)) | None => {
            let message = format!("{} is not an AS number", faults.written(&raw.span()));
            let help = "write a number from 1 to 4294967295, or two from 0 to 65535 with a dot, in quotes: `\"1.10\"`";
            faults.add("invalid-as-number", raw.span(), message, "not an AS number", help);
            None
        }
        asn => asn,
    }
}

/// Checks labels by Kubernetes' rules (`prefix/name`, at most 63 characters of `A-Za-z0-9-_.` for name and value).
fn labels(raw: BTreeMap<At<String>, At<String>>, faults: &mut Faults<'_>) -> BTreeMap<String, String> {
    for (key, value) in &raw {
        let (prefix, name) = key.rsplit_once('/').map_or((None, key.as_str()), |(prefix, name)| (Some(prefix), name));
        if name.is_empty() || !is_label_text(name) || prefix.is_some_and(|prefix| !names::is_dns_name(prefix)) {
            let message = format!("`{}` is no label", key.as_str());
            let help = "a label is 1 to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, after a domain and `/` or not: `rack`, `example.org/rack`";
            faults.add("invalid-label", key.span(), message, "not a label", help);
        }
        if !is_label_text(value) {
            let message = format!("`{}` is no value for the label `{}`", value.as_str(), key.as_str());
            let help = "write at most 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, with a letter or digit at both ends";
            faults.add("invalid-label", value.span(), message, "not a label's value", help);
        }
    }
    raw.into_iter().map(|(key, value)| (key.into_inner(), value.into_inner())).collect()
}

fn is_label_text(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && end(text.bytes().next()) && end(text.bytes().last())
}
