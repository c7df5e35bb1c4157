//! Paths of a speaker's table: is there one like this?

use std::net::IpAddr;

use super::{DiffLine, Verdict, count};
use crate::bgp::view::PathView;
use crate::scenario::model::{Bgp, PathExpectation};

/// Looks in a speaker's table for what the step expects of it. `has` says whether the node or router of a name has an address.
pub fn paths(expected: &Bgp, observed: &[PathView], has: &dyn Fn(&str, IpAddr) -> bool) -> Verdict {
    let mut difference = Vec::new();
    for wanted in &expected.paths {
        let of_prefix: Vec<&PathView> = observed.iter().filter(|path| path.prefix == wanted.prefix).collect();
        let fitting: Vec<&PathView> = of_prefix.iter().copied().filter(|path| fits(wanted, path, has)).collect();
        match (wanted.absent, fitting.is_empty()) {
            (false, false) | (true, true) => {}
            (true, false) => difference.extend(fitting.into_iter().map(|path| DiffLine::unexpected(described(path)))),
            (false, true) => {
                difference.push(DiffLine::missing(wish(wanted)));
                difference.extend(of_prefix.into_iter().map(|path| DiffLine::unexpected(described(path))));
            }
        }
    }
    match difference.is_empty() {
        true => Verdict::Pass,
        false => {
            let wanted = format!("{} of {} as given", count(expected.paths.len(), "path"), expected.on.value);
            Verdict::fail(wanted, format!("{} in its table", count(observed.len(), "path")), difference)
        }
    }
}

fn fits(wanted: &PathExpectation, path: &PathView, has: &dyn Fn(&str, IpAddr) -> bool) -> bool {
    let PathExpectation {
        prefix: _,
        from,
        best,
        as_path,
        next_hop,
        local_pref,
        communities,
        originator,
        clusters,
        lost,
        absent: _,
    } = wanted;
    let is = |name: &str, address: IpAddr| name.parse() == Ok(address) || has(name, address);
    let bgp = path.bgp.as_ref();
    from.as_ref().is_none_or(|from| path.protocol == from.value || path.from.is_some_and(|address| is(from, address)))
        && best.is_none_or(|best| best == path.best)
        && as_path.as_ref().is_none_or(|wanted| bgp.is_some_and(|bgp| bgp.as_path == *wanted))
        && next_hop.as_ref().is_none_or(|wanted| bgp.is_some_and(|bgp| is(wanted, bgp.next_hop)))
        && local_pref.is_none_or(|wanted| bgp.is_some_and(|bgp| bgp.local_pref == Some(wanted)))
        && communities.iter().all(|wanted| bgp.is_some_and(|bgp| bgp.communities.contains(wanted)))
        && originator
            .as_ref()
            .is_none_or(|wanted| bgp.and_then(|bgp| bgp.originator_id).is_some_and(|id| is(wanted, IpAddr::V4(id.0))))
        && clusters.as_ref().is_none_or(|wanted| {
            bgp.is_some_and(|bgp| bgp.cluster_list.iter().map(ToString::to_string).eq(wanted.iter().cloned()))
        })
        && lost.as_ref().is_none_or(|wanted| path.lost.as_ref().is_some_and(|lost| lost.contains(wanted.as_str())))
}

fn wish(wanted: &PathExpectation) -> String {
    let PathExpectation {
        prefix,
        from,
        best,
        as_path,
        next_hop,
        local_pref,
        communities,
        originator,
        clusters,
        lost,
        absent: _,
    } = wanted;
    let mut words = vec![prefix.to_string()];
    let mut word = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
    word("from", from.as_ref().map(|from| from.value.clone()));
    word("path", as_path.as_ref().map(|path| format!("[{path}]")));
    word("next", next_hop.as_ref().map(|next| next.value.clone()));
    word("pref", local_pref.map(|pref| pref.to_string()));
    word("communities", (!communities.is_empty()).then(|| communities.join(" ")));
    word("originator", originator.as_ref().map(|id| id.value.clone()));
    word("clusters", clusters.as_ref().map(|list| list.join(" ")));
    word("lost:", lost.clone());
    words.extend(best.map(|best| if best { "best".to_owned() } else { "not best".to_owned() }));
    words.join(" ")
}

fn described(path: &PathView) -> String {
    let mut words = vec![path.prefix.to_string(), format!("from {}", path.protocol)];
    if let Some(bgp) = &path.bgp {
        words.push(format!("path [{}] next {}", bgp.as_path, bgp.next_hop));
        words.extend(bgp.local_pref.map(|pref| format!("pref {pref}")));
        let lists = [("communities", &bgp.communities)];
        words.extend(
            lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {}", list.join(" "))),
        );
        words.extend(bgp.originator_id.map(|id| format!("originator {id}")));
        if !bgp.cluster_list.is_empty() {
            let clusters: Vec<String> = bgp.cluster_list.iter().map(ToString::to_string).collect();
            words.push(format!("clusters {}", clusters.join(" ")));
        }
    }
    words.push(match &path.lost {
        Some(lost) => format!("lost: {lost}"),
        None if path.best => "best".to_owned(),
        None => "not best".to_owned(),
    });
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::bgp::view::{BgpAttributesView, RouteSource};
    use crate::net::BgpIdentifier;
    use crate::scenario::{StateCheck, Verb};

    fn path(protocol: &str, from: [u8; 4], as_path: &str, lost: Option<&str>) -> PathView {
        PathView {
            prefix: "10.244.65.0/26".parse().unwrap(),
            source: RouteSource::Bgp,
            protocol: protocol.into(),
            preference: 100,
            best: lost.is_none(),
            kernel_failed: false,
            lost: lost.map(str::to_owned),
            blackhole: false,
            gateway: None,
            dev: None,
            since_ms: 0,
            from: Some(from.into()),
            bgp: Some(BgpAttributesView {
                origin: "IGP".into(),
                as_path: as_path.into(),
                next_hop: from.into(),
                med: None,
                local_pref: Some(100),
                igp_metric: Some(0),
                communities: vec!["64512:100".into(), "1:2:3".into()],
                originator_id: Some(BgpIdentifier([10, 0, 0, 14].into())),
                cluster_list: vec![BgpIdentifier([1, 0, 0, 1].into())],
            }),
        }
    }

    fn verdict(paths: &str) -> Vec<String> {
        let step = step(&format!("bgp = {{ on = 'tor1', paths = [{paths}] }}"));
        let Verb::State(StateCheck::Bgp(expected)) = &step.verb else { panic!("bgp") };
        let table = [
            path("Peer_10_0_1_11", [10, 0, 1, 11], "64512", None),
            path("Peer_10_0_12_2", [10, 0, 12, 2], "65002 64512", Some("AS path is longer (RFC 4271 §9.1.2.2 a)")),
        ];
        let has = |name: &str, address: IpAddr| name == "n1" && address == IpAddr::from([10, 0, 1, 11]);
        shown(super::paths(expected, &table, &has))
    }

    #[test]
    fn a_path_that_has_all_that_is_said_is_found() {
        for wanted in [
            "{ prefix = '10.244.65.0/26' }",
            "{ prefix = '10.244.65.0/26', from = 'n1', best = true, path = '64512', next = 'n1', pref = 100 }",
            "{ prefix = '10.244.65.0/26', from = '10.0.12.2', best = false, lost = 'AS path is longer' }",
            "{ prefix = '10.244.65.0/26', from = 'Peer_10_0_12_2', communities = ['1:2:3'], clusters = ['1.0.0.1'] }",
            "{ prefix = '10.244.65.0/26', originator = '10.0.0.14' }",
            "{ prefix = '10.244.65.0/26', path = '65009', absent = true }",
            "{ prefix = '10.244.99.0/26', absent = true }",
        ] {
            assert_eq!(verdict(wanted), Vec::<String>::new(), "{wanted}");
        }
    }

    #[test]
    fn what_is_missing_is_told_beside_what_there_is_of_the_prefix() {
        let first = "+ 10.244.65.0/26 from Peer_10_0_1_11 path [64512] next 10.0.1.11 pref 100 communities 64512:100 1:2:3 \
                     originator 10.0.0.14 clusters 1.0.0.1 best";
        let found =
            verdict("{ prefix = '10.244.65.0/26', from = 'n1', path = '1' }, { prefix = '10.9.0.0/16', best = true }");
        assert_eq!(found[0], "2 paths of tor1 as given | 2 paths in its table");
        assert_eq!(found[1..3], ["- 10.244.65.0/26 from n1 path [1]", first]);
        assert_eq!(found[4], "- 10.9.0.0/16 best");
        assert_eq!(
            verdict("{ prefix = '10.244.65.0/26', best = true, absent = true }"),
            ["1 path of tor1 as given | 2 paths in its table", first]
        );
    }
}
