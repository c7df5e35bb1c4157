//! Who peers with whom: the node-to-node mesh and the BGPPeers, as confd derives them (calico-behaviour 7.2, 7.3).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::{Asn, BgpIdentifier, NextHopMode, Password};
use crate::topology::{BGP_PORT, BgpPeer, Node, NodeId, PeerAddress, PeerNextHop, PeeringNodes, Profile, Topology};

/// One session of one node, with the attributes of calico-behaviour 7.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// BIRD's protocol name: `Mesh_172_18_0_3`, `Global_10_0_1_1`, `Node_10_0_1_1_port_1790`.
    pub name: String,
    /// The peer's address.
    pub remote: Ipv4Addr,
    /// The port to dial.
    pub remote_port: u16,
    /// The peer's AS.
    pub remote_as: Asn,
    /// The node's AS on the session.
    pub local_as: Asn,
    /// Never dials.
    pub passive: bool,
    /// Connects from the node's BGP address.
    pub use_node_ip: bool,
    /// Routes are reflected to and from it.
    pub rr_client: bool,
    /// What becomes of next hops.
    pub next_hop: NextHopMode,
    /// How many times the own AS may stand in a path from the peer.
    pub allowed_local_as: u32,
    /// Graceful-restart time, where it is said.
    pub restart_time: Option<Duration>,
    /// Time between keepalives, where it is said.
    pub keepalive_time: Option<Duration>,
    /// Hops to the peer at most, 1 on a common link (GTSM).
    pub ttl_security: Option<u8>,
    /// The key of TCP MD5 signatures.
    pub password: Option<Password>,
    /// The gateway to the peer.
    pub reachable_by: Option<Ipv4Addr>,
    /// Indices into [`Topology::bgp_filters`], in order.
    pub filters: Vec<usize>,
    /// It is not to come up.
    pub expected_down: bool,
}

/// The sessions of every node, in the order in which its BIRD lists them: mesh by node name, global and the node's own by address as a string;
/// in profile `current` all by session name (calico-behaviour 0).
pub fn sessions(topology: &Topology) -> Vec<Vec<Peering>> {
    let candidates = Candidates::derive(topology);
    let nodes = topology.nodes.iter().enumerate();
    nodes
        .map(|(index, node)| {
            let mut sessions = mesh(topology, node);
            let global = named(topology, node, "Global", &candidates.global);
            sessions.extend(global.chain(named(topology, node, "Node", &candidates.own[index])));
            sessions.retain(|session| session.remote != address(node));
            if topology.profile == Profile::Current {
                sessions.sort_by(|a, b| a.name.cmp(&b.name));
            }
            sessions
        })
        .collect()
}

/// `local` never dials `remote`: their addresses are compared as strings, so 10.0.0.9 comes after 10.0.0.10
/// (calico-behaviour 7.2).
fn is_passive(local: Ipv4Addr, remote: Ipv4Addr) -> bool {
    remote.to_string() > local.to_string()
}

fn address(node: &Node) -> Ipv4Addr {
    node.bgp_address().addr()
}

/// A route reflector is in no mesh: it opens no mesh session, and nobody meshes with it.
fn mesh(topology: &Topology, node: &Node) -> Vec<Peering> {
    if !topology.bgp.node_to_node_mesh_enabled || node.cluster_id.is_some() {
        return Vec::new();
    }
    let meshed = |other: &&Node| other.name != node.name && other.cluster_id.is_none();
    let mut others: Vec<&Node> = topology.nodes.iter().filter(meshed).collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    others
        .into_iter()
        .map(|other| Peering {
            name: session_name("Mesh", address(other), None),
            remote: address(other),
            remote_port: topology.listen_port(other).unwrap_or(BGP_PORT),
            remote_as: topology.as_number(other),
            local_as: topology.as_number(node),
            passive: is_passive(address(node), address(other)),
            use_node_ip: true,
            rr_client: false,
            next_hop: NextHopMode::Auto,
            allowed_local_as: 0,
            restart_time: topology.bgp.node_mesh_max_restart_time,
            keepalive_time: None,
            ttl_security: None,
            password: topology.bgp.node_mesh_password.clone(),
            reachable_by: None,
            filters: Vec::new(),
            expected_down: false,
        })
        .collect()
}

/// `Mesh_172_18_0_3`: BIRD's names have neither dots nor colons.
fn session_name(kind: &str, remote: Ipv4Addr, port: Option<u16>) -> String {
    let address = remote.to_string().replace('.', "_");
    match port {
        Some(port) => format!("{kind}_{address}_port_{port}"),
        None => format!("{kind}_{address}"),
    }
}

/// The sessions of `node` that `set` makes.
fn named(topology: &Topology, node: &Node, kind: &str, set: &CandidateSet<'_>) -> impl Iterator<Item = Peering> {
    let mut sessions: Vec<Peering> = set
        .iter()
        .map(|(&(remote, port), candidate)| {
            let Candidate { peer, remote_as, cluster_id, by_ip, calico_node } = *candidate;
            let local_as = peer.local_as_number.filter(|_| by_ip).unwrap_or(topology.as_number(node));
            let internal = remote_as == local_as;
            Peering {
                name: session_name(kind, remote, port),
                remote,
                remote_port: port.unwrap_or(BGP_PORT),
                remote_as,
                local_as,
                passive: kind == "Global" && calico_node && is_passive(address(node), remote),
                use_node_ip: peer.use_node_ip,
                // Of a peerIP no cluster is known: on a reflector it is always a client.
                rr_client: internal && node.cluster_id.is_some() && cluster_id != node.cluster_id,
                next_hop: match peer.next_hop {
                    PeerNextHop::Auto => NextHopMode::Auto,
                    PeerNextHop::KeepExternal if internal => NextHopMode::Auto,
                    PeerNextHop::KeepExternal => NextHopMode::Keep,
                    PeerNextHop::Mode(mode) => mode,
                },
                allowed_local_as: if by_ip { peer.num_allowed_local_as_numbers } else { 0 },
                restart_time: peer.max_restart_time,
                keepalive_time: peer.keepalive_time,
                ttl_security: peer.ttl_security,
                password: peer.password.clone(),
                reachable_by: peer.reachable_by.filter(|_| by_ip),
                filters: peer.filters.clone(),
                expected_down: peer.expected_down,
            }
        })
        .collect();
    // confd lists keys, and these are strings.
    sessions.sort_by_cached_key(|session| session.remote.to_string());
    sessions.into_iter()
}

type Key = (Ipv4Addr, Option<u16>);

/// By address and port. The first one to be stored stays.
type CandidateSet<'a> = BTreeMap<Key, Candidate<'a>>;

#[derive(Clone, Copy, Debug)]
struct Candidate<'a> {
    /// The resource that made it.
    peer: &'a BgpPeer,
    remote_as: Asn,
    /// The peer's cluster, where it is known.
    cluster_id: Option<BgpIdentifier>,
    /// It is the peerIP.
    by_ip: bool,
    /// The peerIP is some node's.
    calico_node: bool,
}

/// What the three passes of calico-behaviour 7.3 collect.
struct Candidates<'a> {
    global: CandidateSet<'a>,
    /// Per node.
    own: Vec<CandidateSet<'a>>,
}

impl<'a> Candidates<'a> {
    fn derive(topology: &'a Topology) -> Self {
        let mut sets = Self { global: CandidateSet::new(), own: vec![CandidateSet::new(); topology.nodes.len()] };
        // Resources come in the order of their names.
        let mut peers: Vec<&BgpPeer> = topology.bgp_peers.iter().collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        // Pass A, peers of every node, and pass B, peers of some.
        let (global, own): (Vec<&BgpPeer>, Vec<&BgpPeer>) =
            peers.iter().partition(|peer| peer.nodes == PeeringNodes::Global);
        for peer in global {
            for (key, candidate) in forward(topology, peer) {
                sets.global.entry(key).or_insert(candidate);
            }
        }
        for peer in own {
            let candidates = forward(topology, peer);
            for node in peering_nodes(topology, peer) {
                for &(key, candidate) in &candidates {
                    sets.store(node, key, candidate);
                }
            }
        }
        // Pass C: whoever is named as a peer peers in turn.
        for peer in peers.into_iter().filter(|peer| peer.reverse) {
            for local in named_nodes(topology, peer) {
                for remote in peering_nodes(topology, peer) {
                    let (key, candidate) = of_node(topology, peer, &topology.nodes[remote]);
                    sets.store(local, key, candidate);
                }
            }
        }
        sets
    }

    fn store(&mut self, node: usize, key: Key, candidate: Candidate<'a>) {
        if !self.global.contains_key(&key) {
            self.own[node].entry(key).or_insert(candidate);
        }
    }
}

/// The nodes that `peer` is of.
fn peering_nodes(topology: &Topology, peer: &BgpPeer) -> Vec<usize> {
    select(topology, |index, node| match &peer.nodes {
        PeeringNodes::Global => true,
        PeeringNodes::One(one) => *one == NodeId(index),
        PeeringNodes::Selected(selector) => selector.matches(&node.labels),
    })
}

/// The nodes that `peer` names as the other end.
fn named_nodes(topology: &Topology, peer: &BgpPeer) -> Vec<usize> {
    select(topology, |_, node| match &peer.peer {
        PeerAddress::Nodes(selector) => selector.matches(&node.labels),
        PeerAddress::Ip { address: ip, port, as_number } => {
            // A port that is written must be the one that the node's configuration names.
            let configured = topology.listen_port(node);
            let same_port = port.is_none() || configured.is_none() || *port == configured;
            address(node) == *ip && topology.as_number(node) == *as_number && same_port
        }
    })
}

fn select(topology: &Topology, wanted: impl Fn(usize, &Node) -> bool) -> Vec<usize> {
    let nodes = topology.nodes.iter().enumerate();
    nodes.filter(|(index, node)| wanted(*index, node)).map(|(index, _)| index).collect()
}

/// The candidates that `peer` makes for the nodes that it is of.
fn forward<'a>(topology: &Topology, peer: &'a BgpPeer) -> Vec<(Key, Candidate<'a>)> {
    match &peer.peer {
        PeerAddress::Nodes(selector) => {
            let nodes = topology.nodes.iter().filter(|node| selector.matches(&node.labels));
            nodes.map(|node| of_node(topology, peer, node)).collect()
        }
        PeerAddress::Ip { address: ip, port, as_number } => {
            let mut nodes = topology.nodes.iter().filter(|node| address(node) == *ip);
            let calico_node = nodes.clone().next().is_some();
            let same_as = nodes.find(|node| topology.as_number(node) == *as_number);
            let port = port.or_else(|| topology.listen_port(same_as?));
            vec![((*ip, port), Candidate { peer, remote_as: *as_number, cluster_id: None, by_ip: true, calico_node })]
        }
    }
}

/// `node` as the other end.
fn of_node<'a>(topology: &Topology, peer: &'a BgpPeer, node: &Node) -> (Key, Candidate<'a>) {
    let (remote_as, cluster_id) = (topology.as_number(node), node.cluster_id);
    let candidate = Candidate { peer, remote_as, cluster_id, by_ip: false, calico_node: false };
    ((address(node), topology.listen_port(node)), candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    fn topology(bgp: &str) -> Topology {
        let nodes = (1..=4).map(|i| {
            let labels = if i <= 2 { "labels = { rack = \"a\", rr = \"\" }\n" } else { "labels = { rack = \"b\" }\n" };
            format!("[[node]]\nname = \"n{i}\"\naddress = \"10.0.0.{}/24\"\n{labels}", i + 7)
        });
        let router = "[[router]]\nname = \"tor\"\naddresses = [\"10.0.0.1/24\"]\nasNumber = 65001\n";
        let text = format!("name = \"lab\"\n{}{router}{bgp}", nodes.collect::<String>());
        topology::parse(&text, "lab").unwrap_or_else(|faults| panic!("{faults:#?}"))
    }

    /// `name as [passive]` of every session of `node`.
    fn sessions_of(bgp: &str, node: usize) -> Vec<String> {
        let sessions = sessions(&topology(bgp)).swap_remove(node - 1);
        let text = |session: Peering| {
            format!("{} {}{}", session.name, session.remote_as, if session.passive { " passive" } else { "" })
        };
        sessions.into_iter().map(text).collect()
    }

    const NO_MESH: &str = "[BGPConfiguration]\nnodeToNodeMeshEnabled = false\n";

    fn peer(text: &str) -> String {
        format!("{NO_MESH}[[BGPPeer]]\nname = \"p\"\n{text}\n")
    }

    #[test]
    fn the_mesh_joins_every_two_nodes_and_the_lower_string_is_passive() {
        assert_eq!(
            sessions_of("", 3),
            ["Mesh_10_0_0_8 64512 passive", "Mesh_10_0_0_9 64512 passive", "Mesh_10_0_0_11 64512 passive"]
        );
        assert_eq!(sessions_of("", 2), ["Mesh_10_0_0_8 64512", "Mesh_10_0_0_10 64512", "Mesh_10_0_0_11 64512"]);
        assert_eq!(sessions_of(NO_MESH, 2), [""; 0]);
    }

    #[test]
    fn a_peer_without_nodes_is_global_and_one_with_a_selector_is_the_nodes_own() {
        let global = peer("peerIP = \"10.0.0.1\"\nasNumber = 65001");
        assert_eq!(sessions_of(&global, 4), ["Global_10_0_0_1 65001"]);
        let selected = peer("nodeSelector = \"rack == 'a'\"\npeerIP = \"10.0.0.1\"\nasNumber = 65001");
        assert_eq!(sessions_of(&selected, 1), ["Node_10_0_0_1 65001"]);
        assert_eq!(sessions_of(&selected, 3), [""; 0]);
        let one = peer("node = \"n3\"\npeerIP = \"10.0.0.1:1790\"\nasNumber = 65001");
        assert_eq!(sessions_of(&one, 3), ["Node_10_0_0_1_port_1790 65001"]);
    }

    #[test]
    fn a_selected_peer_peers_in_turn() {
        let reflectors = peer("nodeSelector = \"!has(rr)\"\npeerSelector = \"has(rr)\"");
        assert_eq!(sessions_of(&reflectors, 3), ["Node_10_0_0_8 64512", "Node_10_0_0_9 64512"]);
        assert_eq!(sessions_of(&reflectors, 1), ["Node_10_0_0_10 64512", "Node_10_0_0_11 64512"]);
        let all = peer("peerSelector = \"has(rr)\"");
        assert_eq!(sessions_of(&all, 3), ["Global_10_0_0_8 64512", "Global_10_0_0_9 64512"]);
        assert_eq!(
            sessions_of(&all, 1),
            ["Global_10_0_0_9 64512", "Node_10_0_0_10 64512", "Node_10_0_0_11 64512"],
            "what is global already is not the node's own as well"
        );
    }

    #[test]
    fn a_node_named_by_address_peers_in_turn_if_the_as_is_its_own() {
        let named = peer("node = \"n4\"\npeerIP = \"10.0.0.8\"");
        assert_eq!(sessions_of(&named, 4), ["Node_10_0_0_8 64512"]);
        assert_eq!(sessions_of(&named, 1), ["Node_10_0_0_11 64512"]);
        let wrong = peer("node = \"n4\"\npeerIP = \"10.0.0.8\"\nasNumber = 65009");
        assert_eq!(sessions_of(&wrong, 1), [""; 0]);
    }

    #[test]
    fn a_global_peer_that_is_a_node_is_dialled_by_the_higher_string_only() {
        let global = peer("peerIP = \"10.0.0.9\"");
        assert_eq!(sessions_of(&global, 3), ["Global_10_0_0_9 64512 passive"]);
        assert_eq!(
            sessions_of(&global, 2),
            ["Node_10_0_0_10 64512", "Node_10_0_0_11 64512", "Node_10_0_0_8 64512"],
            "by address, as strings"
        );
    }

    #[test]
    fn a_configured_listen_port_is_in_the_name_and_is_dialled() {
        let text = peer("nodeSelector = \"rack == 'b'\"\npeerSelector = \"has(rr)\"");
        let text = text.replace("[BGPConfiguration]\n", "[BGPConfiguration]\nlistenPort = 1790\n");
        assert_eq!(sessions_of(&text, 3), ["Node_10_0_0_8_port_1790 64512", "Node_10_0_0_9_port_1790 64512"]);
        assert_eq!(sessions(&topology(&text))[2][0].remote_port, 1790);
    }

    #[test]
    fn profile_current_sorts_by_session_name() {
        let text = peer("nodeSelector = \"rack == 'b'\"\npeerSelector = \"has(rr)\"")
            + "[[BGPPeer]]\nname = \"q\"\npeerIP = \"10.0.0.1\"\nasNumber = 65001\n";
        let mut topology = topology(&text);
        topology.profile = Profile::Current;
        let names: Vec<String> = sessions(&topology)[2].iter().map(|session| session.name.clone()).collect();
        assert_eq!(names, ["Global_10_0_0_1", "Node_10_0_0_8", "Node_10_0_0_9"]);
    }
}
