//! Interfaces: that some are there, with what is said of them, and others are not.

use std::fmt::Write;

use ipnet::IpNet;

use super::{DiffLine, Verdict, count};
use crate::net::{Link, LinkKind, MacAddr};
use crate::scenario::model::{LinkExpectation, Links};

/// Compares a namespace's interfaces with what the step expects.
pub fn links(expected: &Links, observed: &[Link]) -> Verdict {
    let mut difference = Vec::new();
    let mut wrong = 0;
    for want in &expected.include {
        let found = observed.iter().find(|link| link.name == want.name);
        if found.is_none_or(|link| !fits(want, link)) {
            wrong += 1;
            difference.push(DiffLine::missing(described(want)));
            // Only what the step speaks of: the rest is no difference.
            difference.extend(found.map(|link| DiffLine::unexpected(described(&as_said(want, link)))));
        }
    }
    let present: Vec<&Link> = observed.iter().filter(|link| expected.exclude.contains(&link.name)).collect();
    difference.extend(present.iter().map(|link| DiffLine::unexpected(&link.name)));
    if difference.is_empty() {
        return Verdict::Pass;
    }
    let on = &expected.on.value;
    let wish = match (expected.include.len(), expected.exclude.len()) {
        (0, _) => format!("no such link on {on}"),
        (some, 0) => format!("{} on {on}", count(some, "link")),
        (some, _) => format!("{} on {on}, and others absent", count(some, "link")),
    };
    Verdict::fail(wish, format!("{wrong} missing or different, {} that must not be there", present.len()), difference)
}

fn fits(want: &LinkExpectation, link: &Link) -> bool {
    as_said(want, link) == LinkExpectation { addresses: want.addresses.clone().map(sorted), ..want.clone() }
}

/// The link, with nothing but what `want` speaks of.
fn as_said(want: &LinkExpectation, link: &Link) -> LinkExpectation {
    LinkExpectation {
        name: link.name.clone(),
        up: want.up.map(|_| link.up),
        mtu: want.mtu.map(|_| link.mtu),
        addresses: want.addresses.as_ref().map(|_| {
            // Every interface that is up has an fe80:: address that nobody wrote.
            let written = |address: &&IpNet| !matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local());
            sorted(link.addresses.iter().filter(written).copied().collect())
        }),
        // A device without a link-layer address has none to compare: all zeros never is one.
        mac: want.mac.map(|_| link.mac.unwrap_or(MacAddr([0; 6]))),
        kind: want.kind.map(|_| link.kind),
    }
}

fn sorted(mut addresses: Vec<IpNet>) -> Vec<IpNet> {
    addresses.sort();
    addresses
}

/// In the manner of `ip addr`: `eth0: UP mtu 1500 link ee:… inet 10.0.0.1/24`.
fn described(link: &LinkExpectation) -> String {
    // Writing to a String cannot fail.
    let mut text = format!("{}:", link.name);
    if let Some(up) = link.up {
        text.push_str(if up { " UP" } else { " DOWN" });
    }
    if let Some(mtu) = link.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    if let Some(mac) = link.mac {
        let _ = write!(text, " link {mac}");
    }
    if let Some(kind) = link.kind {
        let _ = write!(text, " kind {}", kind_name(kind));
    }
    match link.addresses.as_deref() {
        None => {}
        Some([]) => text.push_str(" without address"),
        Some(addresses) => addresses.iter().for_each(|address| {
            let _ = write!(text, " inet {address}");
        }),
    }
    text
}

fn kind_name(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Loopback => "loopback",
        LinkKind::Veth => "veth",
        LinkKind::Bridge => "bridge",
        LinkKind::Ipip => "ipip",
        LinkKind::Vxlan => "vxlan",
        LinkKind::Tun => "tun",
        LinkKind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::net::IfName;
    use crate::scenario::{StateCheck, Verb};

    fn eth0() -> Link {
        Link {
            index: 2,
            name: IfName::eth(0),
            kind: LinkKind::Veth,
            up: true,
            carrier: true,
            mtu: 1500,
            mac: Some(MacAddr::CALICO_HOST),
            master: None,
            addresses: ["10.0.0.2/24", "10.0.0.1/24", "fe80::1/64"].iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    fn verdict(text: &str) -> Vec<String> {
        let Verb::State(StateCheck::Links(expected)) = step(text).verb else { panic!("links") };
        shown(links(&expected, &[eth0()]))
    }

    #[test]
    fn what_is_not_said_may_be_anything() {
        assert_eq!(
            verdict("links = { on = 'n', include = [{ name = 'eth0' }], exclude = ['tunl0'] }"),
            Vec::<String>::new()
        );
        assert_eq!(
            verdict(
                "links = { on = 'n', include = [{ name = 'eth0', up = true, mtu = 1500, mac = 'ee:ee:ee:ee:ee:ee', \
                 addresses = ['10.0.0.1/24', '10.0.0.2/24'] }] }"
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn only_what_is_said_is_shown() {
        assert_eq!(
            verdict("links = { on = 'n', include = [{ name = 'eth0', mtu = 1480 }] }"),
            ["1 link on n | 1 missing or different, 0 that must not be there", "- eth0: mtu 1480", "+ eth0: mtu 1500",]
        );
        assert_eq!(
            verdict("links = { on = 'n', include = [{ name = 'eth0', up = false, addresses = [] }] }"),
            [
                "1 link on n | 1 missing or different, 0 that must not be there",
                "- eth0: DOWN without address",
                "+ eth0: UP inet 10.0.0.1/24 inet 10.0.0.2/24",
            ]
        );
    }

    #[test]
    fn a_link_that_is_missing_and_one_too_many() {
        assert_eq!(
            verdict("links = { on = 'n', include = [{ name = 'tunl0', up = true }], exclude = ['eth0'] }"),
            [
                "1 link on n, and others absent | 1 missing or different, 1 that must not be there",
                "- tunl0: UP",
                "+ eth0",
            ]
        );
    }
}
