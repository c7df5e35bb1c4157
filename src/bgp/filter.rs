//! BGPFilter rules (calico-behaviour 7.8): which of an ordered list decides about a route, and what it changes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::wire::Attributes;
use crate::net::{Community, Filter, FilterOperation, FilterRule, MatchOperator, PrefixAdvertisement, PrefixMatch};

/// LOCAL_PREF and priority add up to this (calico-behaviour 7.8).
pub(super) const PRIORITY_SUM: u32 = 2_147_483_647;

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) prefix: IpNet,
    /// What BGP says of the route; `None` for one that is not BGP's.
    pub(super) attributes: Option<&'a Attributes>,
    /// LOCAL_PREF, as it is or will be.
    pub(super) local_pref: Option<u32>,
    /// The interface that it leads out of.
    pub(super) dev: Option<&'a str>,
    /// The session is with another AS.
    pub(super) external: bool,
}

/// A rule by its place: filter, then rule.
pub(super) type RuleId = (u16, u16);

/// The rule that decides about `subject`; `None` where none matches.
pub(super) fn decide(filters: &[Filter], subject: &Subject<'_>) -> Option<(RuleId, bool)> {
    for (filter, at) in filters.iter().zip(0..) {
        for (rule, index) in filter.rules.iter().zip(0..) {
            if rule.matches(subject) {
                return Some(((at, index), rule.accept));
            }
        }
    }
    None
}

/// What the rule `id` changes.
pub(super) fn operations(filters: &[Filter], id: RuleId) -> &[FilterOperation] {
    let rule = filters.get(usize::from(id.0)).and_then(|filter| filter.rules.get(usize::from(id.1)));
    rule.map_or(&[], |rule| &rule.operations)
}

impl FilterRule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let Self {
            accept: _,
            prefix,
            remote_only,
            interface,
            external,
            community,
            as_path_prefix,
            priority,
            operations: _,
        } = self;
        let attributes = subject.attributes;
        prefix.is_none_or(|wanted| wanted.matches(&subject.prefix))
            && (!remote_only || attributes.is_some())
            && interface.as_ref().is_none_or(|pattern| subject.dev.is_some_and(|dev| glob(pattern, dev)))
            && external.is_none_or(|wanted| wanted == subject.external)
            && community.is_none_or(|wanted| attributes.is_some_and(|attributes| wanted.is_in(attributes)))
            && (as_path_prefix.is_empty()
                || attributes.is_some_and(|attributes| attributes.as_path.starts_with(as_path_prefix)))
            && priority.is_none_or(|wanted| subject.local_pref == Some(PRIORITY_SUM - wanted.min(PRIORITY_SUM)))
    }
}

impl PrefixMatch {
    fn matches(&self, prefix: &IpNet) -> bool {
        let (least, most) = self.lengths.unwrap_or((0, u8::MAX));
        let length = (least.max(self.net.prefix_len())..=most).contains(&prefix.prefix_len());
        match self.operator {
            MatchOperator::Equal => *prefix == self.net && length,
            MatchOperator::NotEqual => *prefix != self.net && length,
            MatchOperator::In => self.net.contains(prefix) && length,
            MatchOperator::NotIn => !(self.net.contains(prefix) && length),
        }
    }
}

impl FilterOperation {
    /// Carries it out.
    pub(super) fn apply(&self, attributes: &mut Attributes) {
        match self {
            Self::AddCommunity(community) => community.add_to(attributes),
            Self::PrependAsPath(path) => path.iter().rev().for_each(|asn| attributes.as_path.prepend(*asn)),
            Self::SetPriority(priority) => attributes.local_pref = Some(PRIORITY_SUM - (*priority).min(PRIORITY_SUM)),
        }
    }
}

impl Community {
    fn is_in(&self, attributes: &Attributes) -> bool {
        match self {
            Self::Standard(value) => attributes.communities.contains(value),
            Self::Large(a, b, c) => attributes.large_communities.contains(&(*a, *b, *c)),
        }
    }

    /// Adds it, keeping the attributes sorted and without duplicates.
    pub(super) fn add_to(&self, attributes: &mut Attributes) {
        match self {
            Self::Standard(value) => insert_sorted(&mut attributes.communities, *value),
            Self::Large(a, b, c) => insert_sorted(&mut attributes.large_communities, (*a, *b, *c)),
        }
    }
}

fn insert_sorted<T: Ord>(values: &mut Vec<T>, value: T) {
    if let Err(position) = values.binary_search(&value) {
        values.insert(position, value);
    }
}

/// Whether `text` fits a pattern of `*` (any text) and `?` (any character), as `fnmatch` has it for BIRD.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                // The last star takes one byte more.
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl PrefixAdvertisement {
    /// Whether it is about `prefix`.
    pub(super) fn covers(&self, prefix: &IpNet) -> bool {
        match (self.cidr.addr(), prefix.addr()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => self.cidr.contains(prefix),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::wire::{AsPath, AsSegment};
    use crate::net::Asn;

    fn subject<'a>(prefix: &str, attributes: Option<&'a Attributes>) -> Subject<'a> {
        Subject { prefix: prefix.parse().unwrap(), attributes, local_pref: None, dev: None, external: false }
    }

    fn rule(change: impl FnOnce(&mut FilterRule)) -> FilterRule {
        let mut rule = FilterRule { accept: true, ..FilterRule::default() };
        change(&mut rule);
        rule
    }

    fn by_prefix(operator: MatchOperator, lengths: Option<(u8, u8)>) -> FilterRule {
        let net = "10.244.0.0/16".parse().unwrap();
        rule(|rule| rule.prefix = Some(PrefixMatch { net, operator, lengths }))
    }

    #[test]
    fn operators_compare_prefixes() {
        use MatchOperator::{Equal, In, NotEqual, NotIn};
        let of = |prefix| [Equal, In, NotEqual, NotIn].map(|op| by_prefix(op, None).matches(&subject(prefix, None)));
        assert_eq!(of("10.244.0.0/16"), [true, true, false, false]);
        assert_eq!(of("10.244.9.0/26"), [false, true, true, false]);
        assert_eq!(of("10.0.0.0/8"), [false, false, false, true]);
        assert_eq!(of("10.9.0.0/24"), [false, false, true, true]);
    }

    #[test]
    fn a_length_restricts_what_counts_as_inside() {
        let inside = |prefix| by_prefix(MatchOperator::In, Some((24, 26))).matches(&subject(prefix, None));
        assert_eq!(
            ["10.244.0.0/16", "10.244.1.0/24", "10.244.1.0/26", "10.244.1.1/32"].map(inside),
            [false, true, true, false]
        );
        assert!(by_prefix(MatchOperator::NotIn, Some((24, 26))).matches(&subject("10.244.1.1/32", None)));
    }

    #[test]
    fn every_criterion_must_hold_and_none_matches_all() {
        let mut attributes = Attributes::local("10.0.0.1".parse().unwrap());
        attributes.communities = vec![64512 << 16 | 100];
        attributes.large_communities = vec![(1, 2, 3)];
        attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![Asn(65001), Asn(65002)])]);
        let learned = Subject {
            local_pref: Some(PRIORITY_SUM - 512),
            dev: Some("eth0"),
            external: true,
            ..subject("10.9.0.0/24", Some(&attributes))
        };
        let local = subject("10.9.0.0/24", None);
        let both = |rule: FilterRule| (rule.matches(&learned), rule.matches(&local));
        assert_eq!(both(rule(|_| {})), (true, true));
        assert_eq!(both(rule(|rule| rule.remote_only = true)), (true, false));
        assert_eq!(both(rule(|rule| rule.external = Some(true))), (true, false));
        assert_eq!(both(rule(|rule| rule.external = Some(false))), (false, true));
        assert_eq!(both(rule(|rule| rule.community = Some("64512:100".parse().unwrap()))), (true, false));
        assert_eq!(both(rule(|rule| rule.community = Some("1:2:3".parse().unwrap()))), (true, false));
        assert_eq!(both(rule(|rule| rule.community = Some("64512:101".parse().unwrap()))), (false, false));
        assert_eq!(both(rule(|rule| rule.as_path_prefix = vec![Asn(65001)])), (true, false));
        assert_eq!(both(rule(|rule| rule.as_path_prefix = vec![Asn(65002)])), (false, false));
        assert_eq!(both(rule(|rule| rule.priority = Some(512))), (true, false));
        assert_eq!(both(rule(|rule| rule.interface = Some("eth*".into()))), (true, false));
        assert_eq!(both(rule(|rule| rule.interface = Some("e?h".into()))), (false, false));
    }

    #[test]
    fn the_first_rule_that_matches_decides_in_the_order_of_the_filters() {
        let filter = |rules: Vec<FilterRule>| Filter { name: "f".into(), rules };
        let reject = |prefix: MatchOperator| FilterRule { accept: false, ..by_prefix(prefix, None) };
        let filters =
            [filter(vec![reject(MatchOperator::NotIn)]), filter(vec![reject(MatchOperator::Equal), rule(|_| {})])];
        let decided = |prefix| decide(&filters, &subject(prefix, None));
        assert_eq!(decided("10.9.0.0/24"), Some(((0, 0), false)));
        assert_eq!(decided("10.244.0.0/16"), Some(((1, 0), false)));
        assert_eq!(decided("10.244.1.0/24"), Some(((1, 1), true)));
        assert_eq!(decide(&filters[..1], &subject("10.244.1.0/24", None)), None);
    }

    #[test]
    fn operations_change_the_attributes_in_order() {
        let mut attributes = Attributes::local("10.0.0.1".parse().unwrap());
        attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![Asn(1)])]);
        for operation in [
            FilterOperation::AddCommunity("64512:200".parse().unwrap()),
            FilterOperation::AddCommunity("64512:100".parse().unwrap()),
            FilterOperation::AddCommunity("64512:100".parse().unwrap()),
            FilterOperation::AddCommunity("1:2:3".parse().unwrap()),
            FilterOperation::PrependAsPath(vec![Asn(7), Asn(8)]),
            FilterOperation::SetPriority(512),
        ] {
            operation.apply(&mut attributes);
        }
        assert_eq!(attributes.communities, [64512 << 16 | 100, 64512 << 16 | 200]);
        assert_eq!(attributes.large_communities, [(1, 2, 3)]);
        assert_eq!(attributes.as_path, AsPath(vec![AsSegment::Sequence(vec![Asn(7), Asn(8), Asn(1)])]));
        assert_eq!(attributes.local_pref, Some(PRIORITY_SUM - 512));
    }

    #[test]
    fn a_pattern_has_stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*.calico", "vxlan.calico", true),
            ("*.calico", "vxlan.cali", false),
            ("cali*", "cali1", true),
            ("c*l?1", "call1", true),
            ("c*l?1", "calix1", false),
            ("c*i?1", "calix1", true),
            ("", "x", false),
            ("a*b*c", "aXbYbc", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
