//! `[[BGPFilter]]` (calico-behaviour 7.8).

use ipnet::IpNet;

use super::bgp::parsed;
use super::names::is_dns_name;
use super::segments::network;
use crate::net::{FilterOperation, FilterRule, PrefixMatch};
use crate::topology::error::Faults;
use crate::topology::model::BgpFilter;
use crate::topology::raw::{
    At, RawBgpFilter, RawFilterAction, RawFilterOperation, RawFilterRule, RawPeerType, RawPrefixLength,
};

/// Most operations of a rule.
const MOST_OPERATIONS: usize = 10;

/// Longest name of an interface.
const LONGEST_INTERFACE: usize = 15;

/// Resolves and checks the filters.
pub(super) fn resolve(raw: Vec<At<RawBgpFilter>>, faults: &mut Faults<'_>) -> Vec<BgpFilter> {
    let mut filters: Vec<BgpFilter> = Vec::new();
    for filter in raw {
        let RawBgpFilter { name, export_v4, import_v4 } = filter.into_inner();
        let (span, name) = (name.span(), name.into_inner());
        if !is_dns_name(&name) || name.len() > 253 {
            let help = "write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
            faults.add(
                "invalid-name",
                span.clone(),
                format!("`{name}` is no name for a BGPFilter"),
                "not a name",
                help,
            );
        }
        if let Some(other) = filters.iter().find(|other| other.name == name) {
            let message = format!("`{name}` is already the name of a BGPFilter (line {})", faults.line(&other.span));
            faults.add("duplicate-name", span.clone(), message, "taken", "give it another name");
        }
        let mut rules =
            |raw: Vec<At<RawFilterRule>>| raw.into_iter().filter_map(|rule| self::rule(rule, faults)).collect();
        let (export, import) = (rules(export_v4), rules(import_v4));
        filters.push(BgpFilter { name, export, import, span });
    }
    filters
}

fn rule(raw: At<RawFilterRule>, faults: &mut Faults<'_>) -> Option<FilterRule> {
    let span = raw.span();
    let RawFilterRule {
        action,
        cidr,
        match_operator,
        prefix_length,
        source,
        interface,
        peer_type,
        communities,
        as_path_prefix,
        priority,
        operations,
    } = raw.into_inner();
    let accept = *action == RawFilterAction::Accept;
    if let (None, Some(length)) = (&cidr, &prefix_length) {
        faults.add("length-without-cidr", length.span(), "`prefixLength` needs `cidr`", "of what?", "write `cidr` too");
    }
    let prefix = match (cidr, match_operator) {
        (Some(cidr), Some(operator)) => {
            let net = network(&cidr, "cidr", faults)?;
            let lengths = prefix_length.map(|length| {
                let RawPrefixLength { min, max } = length.into_inner();
                // `shape` keeps both between 0 and 32.
                let number = |raw: Option<At<i64>>, default| raw.and_then(|n| u8::try_from(*n).ok()).unwrap_or(default);
                (number(min, net.prefix_len()), number(max, 32))
            });
            Some(PrefixMatch { net: IpNet::V4(net), operator: *operator, lengths })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let message = "`cidr` and `matchOperator` go together";
            let help = "write both: `cidr = \"10.244.0.0/16\", matchOperator = \"In\"`";
            faults.add("incomplete-match", span, message, "one without the other", help);
            return None;
        }
    };
    let interface = interface.map(|pattern| {
        if pattern.is_empty() || pattern.len() > LONGEST_INTERFACE {
            let message = format!("`{}` fits no interface", pattern.as_str());
            let help = format!("write 1 to {LONGEST_INTERFACE} characters, `*` for any text and `?` for any one");
            faults.add("invalid-interface", pattern.span(), message, "not a pattern", help);
        }
        pattern.into_inner()
    });
    let community = communities.and_then(|communities| {
        let values = communities.into_inner().values;
        match &values[..] {
            [only] => parsed(only, faults),
            several => {
                let message = format!("{} communities: a rule looks for exactly one", several.len());
                faults.add("one-community", values.span(), message, "not one", "write `values = [\"64512:100\"]`");
                None
            }
        }
    });
    let mut numbers = |list: Vec<At<crate::topology::raw::RawAsNumber>>| {
        list.iter().filter_map(|asn| super::as_number(asn, faults)).collect::<Vec<_>>()
    };
    let as_path_prefix = as_path_prefix.map(|list| numbers(list.into_inner())).unwrap_or_default();
    let operations = match operations {
        None => Vec::new(),
        Some(operations) => {
            let at = operations.span();
            let list = operations.into_inner();
            if !accept && !list.is_empty() {
                let message = "`operations` change what passes, and this rule rejects";
                faults.add("operations-of-reject", at.clone(), message, "nothing to change", "remove them");
            }
            if list.len() > MOST_OPERATIONS {
                let message = format!("{} operations, and a rule has at most {MOST_OPERATIONS}", list.len());
                faults.add("too-many-operations", at, message, "too many", "remove some");
            }
            list.into_iter().filter_map(|raw| operation(raw, faults)).collect()
        }
    };
    Some(FilterRule {
        accept,
        prefix,
        remote_only: source.is_some(),
        interface,
        external: peer_type.map(|kind| *kind == RawPeerType::External),
        community,
        as_path_prefix,
        // `shape` keeps it between 0 and 2^31 - 1.
        priority: priority.and_then(|priority| u32::try_from(*priority).ok()),
        operations,
    })
}

fn operation(raw: At<RawFilterOperation>, faults: &mut Faults<'_>) -> Option<FilterOperation> {
    let span = raw.span();
    let RawFilterOperation { add_community, prepend_as_path, set_priority } = raw.into_inner();
    match (add_community, prepend_as_path, set_priority) {
        (Some(add), None, None) => parsed(&add.value, faults).map(FilterOperation::AddCommunity),
        (None, Some(prepend), None) => {
            let list = prepend.into_inner().prefix.into_inner();
            let numbers = list.iter().filter_map(|asn| super::as_number(asn, faults)).collect();
            Some(FilterOperation::PrependAsPath(numbers))
        }
        // `shape` keeps it between 1 and 2^31 - 2.
        (None, None, Some(set)) => u32::try_from(*set.into_inner().value).ok().map(FilterOperation::SetPriority),
        _ => {
            let message = "an operation is one of `addCommunity`, `prependASPath` and `setPriority`";
            let help = "write `{ addCommunity = { value = \"64512:100\" } }`, and another one beside it";
            faults.add("one-operation", span, message, "not exactly one", help);
            None
        }
    }
}
