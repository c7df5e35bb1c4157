//! A plan as text, for `lab plan`: what every namespace and every speaker must contain. JSON is the plan's own serde form.

use std::fmt::Write;

use crate::bgp::{KernelRule, PoolPolicy};
use crate::net::show_duration;
use crate::plan::{LinkKindPlan, LinkPlan, Masquerade, NetnsPlan, Plan, Role, SpeakerPlan, Sysctl};

/// The whole plan. Routes are as `ip route` prints them once the lab has converged, links, neighbours and sysctls as `ip` and
/// `sysctl` name them.
pub fn text(plan: &Plan) -> String {
    let sessions: usize = plan.speakers.iter().map(|speaker| speaker.config.peers.len()).sum();
    let mut out = format!("lab {}: {}", plan.lab, count(plan.namespaces.len(), "namespace"));
    // Every session has two ends, but for one that nobody answers.
    let pairs = sessions.div_ceil(2);
    for (number, what) in [(plan.speakers.len(), "speaker"), (pairs, "session"), (plan.pods.len(), "pod")] {
        out += &format!(", {}", count(number, what));
    }
    out.push('\n');
    for netns in &plan.namespaces {
        out.push('\n');
        namespace(&mut out, netns);
        for speaker in plan.speakers.iter().filter(|speaker| speaker.netns == netns.netns) {
            self::speaker(&mut out, speaker);
        }
    }
    out
}

fn namespace(out: &mut String, netns: &NetnsPlan) {
    let role = match netns.role {
        Role::Fabric => "fabric: a bridge per segment",
        Role::Gateway => "gateway: forwards between segments, no BGP",
        Role::Router => "router",
        Role::Node => "node",
        Role::Pod => "pod",
    };
    line(out, 0, format_args!("namespace {} ({role})", netns.netns));
    section(out, "links", &netns.links, link);
    let text = |out: &mut String, text: &dyn std::fmt::Display| line(out, 4, format_args!("{text}"));
    section(out, "routes", &netns.table, |out, route| text(out, route));
    section(out, "neighbours", &netns.neighbours, |out, entry| {
        text(out, &format_args!("{} dev {} lladdr {} PERMANENT", entry.dst, entry.dev, entry.lladdr));
    });
    section(out, "fdb", &netns.fdb, |out, entry| {
        text(out, &format_args!("{} dev {} dst {} self permanent", entry.mac, entry.dev, entry.dst));
    });
    section(out, "natOutgoing", netns.masquerade.as_slice(), masquerade);
    section(out, "sysctls", &netns.sysctls, sysctl);
}

fn link(out: &mut String, link: &LinkPlan) {
    let mut words = match &link.kind {
        LinkKindPlan::Bridge => format!("{}: bridge", link.name),
        LinkKindPlan::Veth { peer_netns, peer } => format!("{}: veth to {peer_netns}:{peer}", link.name),
        LinkKindPlan::Vxlan { vni, port, local, parent } => {
            format!("{}: vxlan id {vni} dev {parent} local {local} dstport {port} nolearning", link.name)
        }
        LinkKindPlan::Tunl0 => format!("{}: ipip", link.name),
    };
    words += &format!(", mtu {}", link.mtu);
    if let Some(mac) = link.mac {
        words += &format!(", link/ether {mac}");
    }
    if let Some(master) = &link.master {
        words += &format!(", master {master}");
    }
    words += if link.up { ", up" } else { ", down" };
    for address in &link.addresses {
        words += &format!(", inet {address}");
    }
    line(out, 4, format_args!("{words}"));
    for entry in &link.sysctls {
        line(out, 6, format_args!("{} = {}", entry.key, entry.value));
    }
}

fn sysctl(out: &mut String, sysctl: &Sysctl) {
    line(out, 4, format_args!("{} = {}", sysctl.key, sysctl.value));
}

fn masquerade(out: &mut String, rule: &Masquerade) {
    line(out, 4, format_args!("from {} to anything but {}: masquerade", list(&rule.sources), list(&rule.pools)));
}

fn speaker(out: &mut String, speaker: &SpeakerPlan) {
    let config = &speaker.config;
    let timers = &config.timers;
    line(
        out,
        2,
        format_args!(
            "{} AS {}, BGP identifier {}, TCP port {}",
            speaker.external.map_or_else(|| "speaker".into(), |external| format!("{external} as speaker")),
            config.local_as,
            config.router_id,
            config.listen_port
        ),
    );
    line(
        out,
        4,
        format_args!(
            "hold time {}, connect delay {}, connect retry {}, error wait {} to {}",
            show_duration(timers.hold_time),
            show_duration(timers.connect_delay),
            show_duration(timers.connect_retry),
            show_duration(timers.error_wait.0),
            show_duration(timers.error_wait.1)
        ),
    );
    for block in &config.statics {
        line(out, 4, format_args!("static1 {block} blackhole"));
    }
    for pool in &config.policy.pools {
        line(out, 4, format_args!("pool {}", pool_policy(pool)));
    }
    for peer in &config.peers {
        let local = peer.local.map(|local| format!(" from {local}")).unwrap_or_default();
        let passive = if peer.passive { ", passive" } else { "" };
        line(
            out,
            4,
            format_args!(
                "{} {} AS {} port {}{local}{passive}",
                peer.name, peer.remote, peer.remote_as, peer.remote_port
            ),
        );
    }
}

fn pool_policy(pool: &PoolPolicy) -> String {
    let kernel = match &pool.kernel {
        KernelRule::Direct => "routes as resolved".to_owned(),
        KernelRule::Tunnel { dev, unless: None } => format!("routes through {dev}"),
        KernelRule::Tunnel { dev, unless: Some(network) } => {
            format!("routes through {dev} unless the next hop is in {network}")
        }
        KernelRule::Refuse => "routes are Felix's".to_owned(),
    };
    format!("{}: {kernel}{}", pool.cidr, if pool.disable_bgp_export { ", not exported" } else { "" })
}

fn section<T>(out: &mut String, heading: &str, items: &[T], render: impl Fn(&mut String, &T)) {
    if !items.is_empty() {
        line(out, 2, format_args!("{heading}"));
        for item in items {
            render(out, item);
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn line(out: &mut String, indent: usize, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{:indent$}{text}", "").expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{self, Lab};

    #[test]
    fn a_small_lab_reads_as_ip_would_print_it() {
        let topology = Lab::new("lab")
            .node("calico-bgp-fullmesh-worker", "172.18.0.4/16")
            .node("calico-bgp-fullmesh-worker2", "172.18.0.3/16")
            .pod("wluo-7fxsn", "calico-bgp-fullmesh-worker")
            .topology();
        insta::assert_snapshot!(text(&testing::plan(&topology)));
    }

    #[test]
    fn cluster_a_is_summed_up_in_one_line() {
        let text = text(&testing::plan(&testing::cluster_a()));
        let first = text.lines().next();
        assert_eq!(first, Some("lab calico-bgp-fullmesh: 12 namespaces, 3 speakers, 3 sessions, 7 pods"));
    }

    #[test]
    fn the_same_topology_gives_the_same_json() {
        let json = || serde_json::to_string(&testing::plan(&testing::cluster_a())).unwrap();
        assert_eq!(json(), json());
        let value: serde_json::Value = serde_json::from_str(&json()).unwrap();
        assert_eq!(value["namespaces"][2]["links"][0]["addresses"][0], "172.18.0.2/16");
        assert_eq!(value["namespaces"][2]["table"].as_array().unwrap().len(), 10);
    }
}
