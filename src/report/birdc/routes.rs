//! `show route`: the table, one line per path (calico-behaviour 8.3).

use ipnet::IpNet;

use super::{GREETING, Now, RouteQuery, line};
use crate::bgp::view::{BgpAttributesView, PathView, RouteSource};

/// `show route …`: `paths` are the whole table, grouped by network with the best path of each first.
pub fn show_route(paths: &[PathView], query: &RouteQuery, now: Now) -> String {
    let mut text = format!("{GREETING}\n");
    let longest = query.destination.map(|destination| {
        let matches = paths.iter().map(|path| path.prefix).filter(|prefix| prefix.contains(&destination));
        matches.max_by_key(IpNet::prefix_len)
    });
    if longest == Some(None) || query.network.is_some_and(|network| paths.iter().all(|path| path.prefix != network)) {
        return text + "Network not in table\n";
    }
    let wanted = |path: &&PathView| {
        longest.flatten().is_none_or(|prefix| path.prefix == prefix)
            && query.network.is_none_or(|network| path.prefix == network)
            && query.protocol.as_ref().is_none_or(|protocol| path.protocol == *protocol)
            && (!query.primary || path.best)
    };
    let mut previous = None;
    for path in paths.iter().filter(wanted) {
        let prefix = if previous == Some(path.prefix) { String::new() } else { path.prefix.to_string() };
        previous = Some(path.prefix);
        text += &route_line(&prefix, path, now);
        if query.all {
            text += &route_attributes(path);
        }
    }
    text
}

fn route_line(prefix: &str, path: &PathView, now: Now) -> String {
    let via = match (path.blackhole, path.gateway, &path.dev) {
        (true, _, _) => "blackhole".into(),
        (_, Some(gateway), Some(dev)) => format!("via {gateway} on {dev}"),
        (_, None, Some(dev)) => format!("dev {dev}"),
        (_, _, None) => "unreachable".into(),
    };
    let from = match path.from {
        Some(from) if path.gateway != Some(from) => format!(" from {from}"),
        _ => String::new(),
    };
    let mark = match (path.best, path.kernel_failed) {
        (true, false) => " *",
        (true, true) => " !",
        (false, _) => "",
    };
    // A route of another protocol has attributes of BGP only in what a peer was told of it.
    let info = match &path.bgp {
        Some(attributes) if path.source == RouteSource::Bgp => bgp_info(path, attributes),
        _ => format!(" ({})", path.preference),
    };
    format!("{prefix:<18} {via} [{} {}{from}]{mark}{info}\n", path.protocol, now.since(path.since_ms))
}

/// ` (100/0) [AS65001i]`: preference, metric towards the next hop, origin AS and ORIGIN.
fn bgp_info(path: &PathView, attributes: &BgpAttributesView) -> String {
    let metric = match (attributes.igp_metric, &path.dev) {
        (_, None) => "-".into(),
        (Some(metric), _) => metric.to_string(),
        (None, _) => "?".into(),
    };
    // The last number of the path, if that is no member of a set.
    let last = attributes.as_path.rsplit(' ').next().unwrap_or("");
    let origin_as = match last.parse::<u32>() {
        Ok(number) => format!("AS{number}"),
        Err(_) => String::new(),
    };
    let origin = match attributes.origin.as_str() {
        "IGP" => "i",
        "EGP" => "e",
        _ => "?",
    };
    format!(" ({}/{metric}) [{origin_as}{origin}]", path.preference)
}

fn route_attributes(path: &PathView) -> String {
    let kind = match path.source {
        RouteSource::Static => "static",
        RouteSource::Direct => "device",
        RouteSource::Kernel => "inherit",
        RouteSource::Bgp => "BGP",
    };
    let mut text = format!("\tType: {kind} unicast univ\n");
    let Some(bgp) = &path.bgp else { return text };
    line(&mut text, format_args!("\tBGP.origin: {}", bgp.origin));
    line(&mut text, format_args!("\tBGP.as_path: {}", bgp.as_path));
    line(&mut text, format_args!("\tBGP.next_hop: {}", bgp.next_hop));
    if let Some(med) = bgp.med {
        line(&mut text, format_args!("\tBGP.med: {med}"));
    }
    if let Some(local_pref) = bgp.local_pref {
        line(&mut text, format_args!("\tBGP.local_pref: {local_pref}"));
    }
    // Two numbers are a standard community, three a large one; BIRD writes them `(1,2)` and `(1, 2, 3)`.
    for (name, colons, separator) in [("community", 1, ","), ("large_community", 2, ", ")] {
        let of_kind = bgp.communities.iter().filter(|text| text.matches(':').count() == colons);
        let list: Vec<String> = of_kind.map(|text| format!("({})", text.replace(':', separator))).collect();
        if !list.is_empty() {
            line(&mut text, format_args!("\tBGP.{name}: {}", list.join(" ")));
        }
    }
    if let Some(originator) = bgp.originator_id {
        line(&mut text, format_args!("\tBGP.originator_id: {originator}"));
    }
    if !bgp.cluster_list.is_empty() {
        let list: Vec<String> = bgp.cluster_list.iter().map(ToString::to_string).collect();
        line(&mut text, format_args!("\tBGP.cluster_list: {}", list.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::tests::{NOW, speaker};
    use super::super::{Command, render};
    use super::*;
    use crate::net::{BgpIdentifier, IfName};

    fn path(prefix: &str, protocol: &str, source: RouteSource, preference: u32) -> PathView {
        PathView {
            prefix: prefix.parse().unwrap(),
            source,
            protocol: protocol.into(),
            preference,
            best: true,
            kernel_failed: false,
            lost: None,
            blackhole: false,
            gateway: None,
            dev: None,
            since_ms: 1_000,
            from: None,
            bgp: None,
        }
    }

    fn bgp_path(prefix: &str, from: [u8; 4]) -> PathView {
        let from = IpAddr::from(from);
        PathView {
            gateway: Some(from),
            dev: Some(IfName::eth(0)),
            from: Some(from),
            bgp: Some(BgpAttributesView {
                origin: "IGP".into(),
                as_path: String::new(),
                next_hop: from,
                med: None,
                local_pref: Some(100),
                igp_metric: Some(0),
                communities: Vec::new(),
                originator_id: None,
                cluster_list: Vec::new(),
            }),
            ..path(prefix, &format!("Mesh_{}", from.to_string().replace('.', "_")), RouteSource::Bgp, 100)
        }
    }

    /// A part of the control plane's table in cluster A.
    fn cluster_a() -> Vec<PathView> {
        vec![
            PathView {
                gateway: Some("172.18.0.1".parse().unwrap()),
                dev: Some(IfName::eth(0)),
                ..path("0.0.0.0/0", "kernel1", RouteSource::Kernel, 10)
            },
            bgp_path("10.244.83.128/26", [172, 18, 0, 4]),
            PathView { blackhole: true, ..path("10.244.140.128/26", "static1", RouteSource::Static, 200) },
            PathView {
                dev: Some(IfName::new("cali9c3ed6d06f3").unwrap()),
                ..path("10.244.140.132/32", "kernel1", RouteSource::Kernel, 10)
            },
            PathView { dev: Some(IfName::eth(0)), ..path("172.18.0.0/16", "direct1", RouteSource::Direct, 240) },
        ]
    }

    fn routes(paths: &[PathView], words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let text = render(&Command::parse(&words).unwrap(), &speaker(vec![]), paths, NOW).unwrap();
        text.strip_prefix("BIRD v0.3.3+birdv1.6.8 ready.\n").unwrap().into()
    }

    #[test]
    fn cluster_as_routes_print_as_birds() {
        assert_eq!(
            routes(&cluster_a(), "show route"),
            "\
0.0.0.0/0          via 172.18.0.1 on eth0 [kernel1 12:34:55] * (10)
10.244.83.128/26   via 172.18.0.4 on eth0 [Mesh_172_18_0_4 12:34:55] * (100/0) [i]
10.244.140.128/26  blackhole [static1 12:34:55] * (200)
10.244.140.132/32  dev cali9c3ed6d06f3 [kernel1 12:34:55] * (10)
172.18.0.0/16      dev eth0 [direct1 12:34:55] * (240)
"
        );
    }

    #[test]
    fn further_routes_of_a_prefix_leave_it_out_and_say_whom_they_are_from() {
        let mut first = bgp_path("10.244.73.64/26", [172, 18, 0, 3]);
        first.from = Some("172.18.0.9".parse().unwrap());
        first.kernel_failed = true;
        let mut second = bgp_path("10.244.73.64/26", [172, 18, 0, 5]);
        second.best = false;
        let attributes = second.bgp.as_mut().unwrap();
        (attributes.as_path, attributes.origin, attributes.igp_metric) =
            ("65000 65001".into(), "Incomplete".into(), None);
        assert_eq!(
            routes(&[first, second], "show route"),
            "\
10.244.73.64/26    via 172.18.0.3 on eth0 [Mesh_172_18_0_3 12:34:55 from 172.18.0.9] ! (100/0) [i]
                   via 172.18.0.5 on eth0 [Mesh_172_18_0_5 12:34:55] (100/?) [AS65001?]
"
        );
    }

    #[test]
    fn a_route_that_nothing_resolves_is_unreachable() {
        let mut path = bgp_path("10.244.73.64/26", [172, 18, 0, 3]);
        (path.gateway, path.dev, path.best) = (None, None, false);
        assert_eq!(
            routes(&[path], "show route"),
            "10.244.73.64/26    unreachable [Mesh_172_18_0_3 12:34:55 from 172.18.0.3] (100/-) [i]\n"
        );
    }

    #[test]
    fn a_query_narrows_the_table() {
        let lines = |words: &str| -> Vec<String> {
            let text = routes(&cluster_a(), words);
            text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(lines("show route for 10.244.140.132"), ["10.244.140.132/32"]);
        assert_eq!(lines("show route for 10.244.140.140"), ["10.244.140.128/26"]);
        assert_eq!(lines("show route for 8.8.8.8"), ["0.0.0.0/0"]);
        assert_eq!(lines("show route protocol kernel1"), ["0.0.0.0/0", "10.244.140.132/32"]);
        assert_eq!(lines("sh ro 172.18.0.0/16"), ["172.18.0.0/16"]);
        assert_eq!(routes(&cluster_a(), "show route 10.0.0.0/8"), "Network not in table\n");
        assert_eq!(routes(&cluster_a()[1..], "show route for 8.8.8.8"), "Network not in table\n");
    }

    #[test]
    fn all_adds_the_attributes() {
        let mut path = bgp_path("10.244.83.128/26", [172, 18, 0, 4]);
        let attributes = path.bgp.as_mut().unwrap();
        attributes.communities = ["64512:100", "65535:65281", "1:2:3"].map(String::from).into();
        attributes.originator_id = Some(BgpIdentifier([172, 18, 0, 4].into()));
        attributes.cluster_list = vec![BgpIdentifier([1, 0, 0, 1].into())];
        assert_eq!(
            routes(&[path], "show route all"),
            "\
10.244.83.128/26   via 172.18.0.4 on eth0 [Mesh_172_18_0_4 12:34:55] * (100/0) [i]
\tType: BGP unicast univ
\tBGP.origin: IGP
\tBGP.as_path: \n\
\tBGP.next_hop: 172.18.0.4
\tBGP.local_pref: 100
\tBGP.community: (64512,100) (65535,65281)
\tBGP.large_community: (1, 2, 3)
\tBGP.originator_id: 172.18.0.4
\tBGP.cluster_list: 1.0.0.1
"
        );
    }
}
