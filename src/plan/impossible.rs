//! Sessions that can never come up, in words: as faults of the file, and as the cause beside a session that does not come up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::expect::faults_of;
use super::sessions::SessionFault;
use super::{NetnsPlan, Plan};
use crate::bgp::PeerConfig;
use crate::bgp::solve::{End, Unstable};
use crate::topology::{Diagnostic, Topology};

/// Why sessions cannot come up, by the name of the speaker and of the session there: where the two ends do not agree, each end of
/// it. A plan has such sessions only where its topology says `expect = "down"`.
pub fn causes(plan: &Plan) -> BTreeMap<(String, String), String> {
    let faults = faults_of(plan).unwrap_or_default();
    let said = faults.into_iter().map(|(end, fault)| {
        let config = &plan.speakers[end.site].config;
        let session = config.peers[end.peer.0 as usize].name.clone();
        ((config.name.clone(), session), words(plan, end, &fault))
    });
    said.collect()
}

/// What is wrong, from the point of view of `end`.
fn words(plan: &Plan, end: End, fault: &SessionFault) -> String {
    let config = &plan.speakers[end.site].config;
    let peer = &config.peers[end.peer.0 as usize];
    let (session, name) = (&peer.name, &config.name);
    let far = |site: usize| plan.speakers[site].name.as_str();
    match fault {
        SessionFault::NoSpeaker => {
            let who = who_has(plan, peer.remote);
            format!("`{name}` peers with {} ({session}), and `{who}` speaks no BGP there", peer.remote)
        }
        SessionFault::OneSided(site) => {
            let local = peer.local.map_or_else(String::new, |local| local.to_string());
            format!("`{name}` peers with `{0}` ({1}), and `{0}` not with {local}", far(*site), peer.remote)
        }
        SessionFault::WrongAs(site) => match back(plan, *site, peer) {
            Some(theirs) if theirs.local_as != peer.remote_as => format!(
                "`{name}` expects AS {} of `{}` ({}), which has AS {}",
                peer.remote_as,
                far(*site),
                peer.remote,
                theirs.local_as
            ),
            _ => format!("`{}` ({}) expects another AS of `{name}`", far(*site), peer.remote),
        },
        SessionFault::WrongPassword(site) => {
            let theirs = back(plan, *site, peer).is_some_and(|theirs| theirs.password.is_some());
            let what = match (peer.password.is_some(), theirs) {
                (true, true) => "another password than",
                (true, false) => "a password, unlike",
                _ => "no password, unlike",
            };
            format!("`{name}` has {what} `{}` ({session})", far(*site))
        }
        SessionFault::TtlSecurity([near, site], routers) => {
            let routers = match routers {
                1 => "1 router".to_owned(),
                routers => format!("{routers} routers"),
            };
            let ends = (far(*near), far(*site));
            format!(
                "`{}` and `{}` do not agree on `ttlSecurity`, with {routers} in between ({session})",
                ends.0, ends.1
            )
        }
        SessionFault::BothPassive(site) => {
            format!("`{name}` and `{}` both wait for the other one to dial ({session})", far(*site))
        }
        SessionFault::NoPath([near, site], reason) => {
            format!("the BGP session of `{}` with `{}` ({}) has no path: {reason}", far(*near), far(*site), peer.remote)
        }
    }
}

/// The faults of `topology`'s file, whose plan is `plan`: of several sessions that lack a path between the same two subnets, the first.
pub(super) fn diagnostics(topology: &Topology, plan: &Plan) -> Vec<Diagnostic> {
    let faults = match faults_of(plan) {
        Ok(faults) => faults,
        Err(Unstable { site, prefix }) => {
            let name = &plan.speakers[site].name;
            return vec![Diagnostic {
                code: "no-stable-state",
                span: span_of(topology, name),
                message: format!("the speakers never agree on {prefix}: `{name}` keeps changing its mind"),
                label: "oscillates".into(),
                help: "have fewer of them pass on each other's routes, or give them one AS".into(),
            }];
        }
    };
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut cut = BTreeSet::new();
    for (end, fault) in faults {
        let config = &plan.speakers[end.site].config;
        let peer = &config.peers[end.peer.0 as usize];
        let name = config.name.as_str();
        let far = |site: usize| plan.speakers[site].name.as_str();
        if peer.expected_down || is_told_at_the_other_end(plan, end, &fault) {
            continue;
        }
        let (code, at, label, help) = match &fault {
            SessionFault::NoSpeaker => {
                let who = who_has(plan, peer.remote);
                let help = format!("give `{who}` an `asNumber` and `peers`, or a node's first address as the peer's");
                ("no-speaker", who, "speaks no BGP", help)
            }
            SessionFault::OneSided(site) => {
                let local = peer.local.map_or_else(String::new, |local| local.to_string());
                let remote = far(*site);
                let help = match topology.routers.iter().any(|router| router.name == remote) {
                    true => {
                        format!("write `peers = [{{ ip = \"{local}\", asNumber = {} }}]` for `{remote}`", peer.local_as)
                    }
                    false => format!("write a `[[BGPPeer]]` with `node = \"{remote}\"` and `peerIP = \"{local}\"`"),
                };
                ("one-sided-session", remote, "does not peer back", help)
            }
            SessionFault::WrongAs(site) => {
                let theirs = back(plan, *site, peer).map_or(peer.remote_as, |theirs| theirs.local_as);
                ("wrong-as", name, "expects another AS", format!("write `asNumber = {theirs}` where `{name}` names it"))
            }
            SessionFault::WrongPassword(_) => {
                ("wrong-password", name, "signs otherwise", "write the same `password` at both ends".to_owned())
            }
            SessionFault::TtlSecurity([near, _], routers) => {
                let help = format!("write `ttlSecurity = {}` or more at both ends", routers.saturating_add(1));
                ("ttl-too-low", far(*near), "takes no such packets", help)
            }
            SessionFault::BothPassive(_) => {
                let help = "let one of them name the other in a `[[BGPPeer]]` with `node` or `nodeSelector`".to_owned();
                ("both-passive", name, "never dials", help)
            }
            SessionFault::NoPath([near, site], _) => {
                // Each session has two ends, and a rack many nodes.
                let (a, b) = (subnet_of(plan, far(*near)), subnet_of(plan, far(*site)));
                if cut.contains(&(b, a)) || !cut.insert((a, b)) {
                    continue;
                }
                let help = "let a router have an address on both segments and routes both ways, put them into one subnet, \
                            or let them not peer (`nodeToNodeMeshEnabled = false` below `[BGPConfiguration]`)";
                ("no-path", far(*site), "cannot be reached", help.to_owned())
            }
        };
        let (span, message) = (span_of(topology, at), words(plan, end, &fault));
        diagnostics.push(Diagnostic { code, span, message, label: label.into(), help });
    }
    diagnostics
}

/// Whether the other end of the session has the same fault, and tells it better or before.
fn is_told_at_the_other_end(plan: &Plan, end: End, fault: &SessionFault) -> bool {
    let peer = &plan.speakers[end.site].config.peers[end.peer.0 as usize];
    match fault {
        // Who expects something else than there is.
        SessionFault::WrongAs(site) => back(plan, *site, peer).is_some_and(|theirs| theirs.local_as == peer.remote_as),
        SessionFault::WrongPassword(site) => end.site > *site,
        SessionFault::TtlSecurity([near, _], _) => end.site != *near,
        _ => false,
    }
}

/// The session of speaker `site` that leads back to where `peer` is configured.
fn back<'a>(plan: &'a Plan, site: usize, peer: &PeerConfig) -> Option<&'a PeerConfig> {
    plan.speakers[site].config.peers.iter().find(|theirs| Some(theirs.remote) == peer.local)
}

/// Where the file says that there is a node or router called `name`.
pub(super) fn span_of(topology: &Topology, name: &str) -> Range<usize> {
    let node = topology.nodes.iter().find(|node| node.name == name).map(|node| &node.span);
    let router = || topology.routers.iter().find(|router| router.name == name).map(|router| &router.span);
    node.or_else(router).cloned().unwrap_or_default()
}

/// Who has `address`, by name; an address that nobody has is refused before.
fn who_has(plan: &Plan, address: IpAddr) -> &str {
    let has = |netns: &&NetnsPlan| netns.has_address(address);
    plan.namespaces.iter().find(has).map_or("nobody", |netns| netns.name.as_str())
}

/// The subnet of the first address of `name`.
fn subnet_of(plan: &Plan, name: &str) -> Option<IpNet> {
    plan.namespace(name)?.links.first()?.addresses.first().map(IpNet::trunc)
}
