//! `[[router]]` and `[[BGPPeer]]`: what they mean, and what is wrong with them.

use super::invalid::check;
use super::*;

/// A router on the segment of [`NODE`], with `more` lines.
fn router(more: &str) -> String {
    format!("{NODE}[[router]]\nname = \"tor1\"\naddresses = [\"10.0.0.1/24\"]\n{more}\n")
}

fn peer(lines: &str) -> String {
    format!("{}[[BGPPeer]]\nname = \"p\"\n{lines}\n", router("asNumber = 65001"))
}

#[test]
fn a_router_takes_the_place_of_the_implicit_gateway() {
    let topology = parsed(&format!(
        "{NODE}[[router]]\nname = \"tor1\"\naddresses = [\"10.0.0.9/24\", \"10.0.12.1/30\"]\nasNumber = 65001\n\
         networks = [\"10.0.0.0/24\", \"10.1.0.0/24\"]\nroutes = [\"default via 10.0.12.2\"]\n\
         peers = [{{ nodes = \"all()\" }}, {{ ip = \"10.0.12.2\", asNumber = 65002 }}]\n\
         [[router]]\nname = \"spine\"\naddresses = [\"10.0.12.2/30\"]\n"
    ));
    assert_eq!(topology.nodes[0].gateway, Ipv4Addr::new(10, 0, 0, 9));
    assert!(topology.segments.iter().all(|segment| segment.implicit_gateway.is_none()));
    let tor = &topology.routers[0];
    assert_eq!((tor.name.as_str(), tor.as_number, tor.address()), ("tor1", Some(Asn(65001)), net("10.0.0.9/24")));
    assert_eq!(tor.interfaces[1].name, IfName::eth(1));
    assert_eq!(tor.networks, [net("10.0.0.0/24"), net("10.1.0.0/24")]);
    assert_eq!(tor.routes, [(net("0.0.0.0/0"), Ipv4Addr::new(10, 0, 12, 2))]);
    let peers: Vec<&RouterPeers> = tor.peers.iter().map(|peer| &peer.who).collect();
    let spine = RouterPeers::Address(Ipv4Addr::new(10, 0, 12, 2), Asn(65002));
    assert_eq!(peers, [&RouterPeers::Nodes(Selector::parse("all()").unwrap()), &spine]);
    assert_eq!(topology.routers[1].as_number, None);
}

#[test]
fn of_several_routers_each_node_names_its_own() {
    let two = "[[router]]\nname = \"a\"\naddresses = [\"10.0.0.1/24\"]\n[[router]]\nname = \"b\"\naddresses = [\"10.0.0.2/24\"]\n";
    let node = |name: &str, host: u8, gateway: &str| {
        format!("[[node]]\nname = \"{name}\"\naddress = \"10.0.0.{host}/24\"\ngateway = \"{gateway}\"\n")
    };
    let topology = parsed(&format!("{}{}{two}", node("n1", 11, "10.0.0.1"), node("n2", 12, "10.0.0.2")));
    let gateways: Vec<String> = topology.nodes.iter().map(|node| node.gateway.to_string()).collect();
    assert_eq!(gateways, ["10.0.0.1", "10.0.0.2"]);
    check(
        &format!("[[node]]\nname = «\"n1\"»\naddress = \"10.0.0.11/24\"\n{two}"),
        &[("several-routers", "write `gateway =` with 10.0.0.1 (`a`) or 10.0.0.2 (`b`)")],
    );
    let wrong = node("n1", 11, "10.0.0.3").replace("\"10.0.0.3\"", "«\"10.0.0.3\"»");
    check(
        &format!("{wrong}{two}"),
        &[("gateway-is-no-router", "write 10.0.0.1 (`a`) or 10.0.0.2 (`b`), or remove the router from the segment")],
    );
}

#[test]
fn a_peer_is_of_all_nodes_one_or_those_selected() {
    let text = peer("peerIP = \"10.0.0.1:1790\"\nasNumber = 65001\nnumAllowedLocalASNumbers = 2");
    let found = &parsed(&text).bgp_peers[0];
    assert_eq!(
        (found.name.as_str(), &found.nodes, found.num_allowed_local_as_numbers),
        ("p", &PeeringNodes::Global, 2)
    );
    let expected = PeerAddress::Ip { address: [10, 0, 0, 1].into(), port: Some(1790), as_number: Asn(65001) };
    assert_eq!(found.peer, expected);
    let selected = parsed(&peer("nodeSelector = \"has(a)\"\npeerSelector = \"has(b)\"")).bgp_peers.remove(0);
    assert_eq!(selected.nodes, PeeringNodes::Selected(Selector::parse("has(a)").unwrap()));
    assert_eq!(selected.peer, PeerAddress::Nodes(Selector::parse("has(b)").unwrap()));
    let one = parsed(&peer("node = \"n1\"\npeerIP = \"10.0.0.1\"")).bgp_peers.remove(0);
    let default = PeerAddress::Ip { address: [10, 0, 0, 1].into(), port: None, as_number: Asn(64512) };
    assert_eq!((one.nodes, one.peer), (PeeringNodes::One(NodeId(0)), default));
}

#[test]
fn a_wrong_router_says_what_to_write() {
    let own = |network: &str| {
        format!(
            "{NODE}[[router]]\nname = \"r\"\naddresses = [\"10.0.0.1/24\", «\"10.9.0.1/24\"»]\nasNumber = 65001\nnetworks = [\"{network}\"]\n"
        )
    };
    for (marked, code, help) in [
        (
            router("asNumber = 65001\nspeaker = «\"quagga\"»"),
            "unknown-value",
            "`speaker` takes `\"bird\"`, `\"frr\"`, `\"gobgp\"`, `\"exabgp\"`",
        ),
        (router("speaker = «\"bird\"»"), "router-without-as", "write `asNumber = 65001`, say"),
        (
            router("asNumber = 65001\nspeaker = \"exabgp\"\ntransit = «true»"),
            "no-transit",
            "write `transit = false`, or another `speaker`",
        ),
        (
            router("peers = «[{ nodes = \"all()\" }]»").replace("«[", "[«").replace("]»", "»]"),
            "router-without-as",
            "write `asNumber = 65001`, say",
        ),
        (router("networks = «[\"10.1.0.0/24\"]»"), "router-without-as", "write `asNumber = 65001`, say"),
        (
            router("asNumber = 65001\npeers = [«{ ip = \"10.0.0.11\" }»]"),
            "invalid-peer",
            "write `{ ip = \"10.0.12.2\", asNumber = 65002 }` or `{ nodes = \"rack == 'rack1'\" }`",
        ),
        (
            router("asNumber = 65001\npeers = [{ ip = «\"10.0.0.1\"», asNumber = 1 }]"),
            "peer-is-self",
            "write the address of somebody else",
        ),
        (
            router("asNumber = 65001\npeers = [«{ ip = \"10.0.0.99\", asNumber = 1 }»]"),
            "unknown-peer",
            "write an address of a router or the first address of a node",
        ),
        (
            router("asNumber = 65001\npeers = [{ nodes = \"«=»= 'a'\" }]"),
            "invalid-selector",
            "write a label, `has(…)`, `all()`, `!` or `(` here, as in `rack == 'rack1'`",
        ),
        (router("asNumber = 65001\nnetworks = [«\"10.1.0.1/24\"»]"), "host-bits", "write `networks = \"10.1.0.0/24\"`"),
        (router("asNumber = 65001\nnetworks = [\"10.1.0.0/24\", «\"10.1.0.0/24\"»]"), "duplicate-network", "remove it"),
        (
            router("routes = [«\"10.1.0.0/24\"»]"),
            "invalid-route",
            "write destination and gateway: `10.0.2.0/24 via 10.0.12.2`, or `default via 10.0.12.2`",
        ),
        (
            router("routes = [«\"10.1.0.0/24 via 10.0.0.11 dev eth0\"»]"),
            "invalid-route",
            "write destination and gateway: `10.0.2.0/24 via 10.0.12.2`, or `default via 10.0.12.2`",
        ),
        (
            router("routes = [«\"10.1.0.0/24 via 10.7.0.1\"»]"),
            "gateway-off-link",
            "write the address of a neighbour on 10.0.0.0/24",
        ),
        (
            router("routes = [\"10.1.0.0/24 via 10.0.0.11\", «\"10.1.0.0/24 via 10.0.0.11\"»]"),
            "duplicate-route",
            "keep one",
        ),
        (
            router("routes = [\"10.1.0.0/24 via 10.0.0.99\"]").replace("\"tor1\"", "«\"tor1\"»"),
            "unknown-gateway",
            "write the address of a router on the same segment",
        ),
        (
            format!("{NODE}[[router]]\nname = \"r\"\naddresses = «[]»\n"),
            "no-address",
            "write `addresses = [\"10.0.1.1/24\"]`",
        ),
        (
            format!("{NODE}[[router]]\nname = «\"n1\"»\naddresses = [\"10.0.0.1/24\"]\n"),
            "duplicate-name",
            "give the router another name; nodes, pods and routers share one name space",
        ),
        (
            format!("{NODE}[[router]]\nname = \"r\"\naddresses = [«\"10.0.0.11/24\"»]\n"),
            "duplicate-address",
            "give `r` another address",
        ),
        (
            own("10.1.0.0/24"),
            "router-alone",
            "write an address on a segment of a node or router, or `networks = [\"10.9.0.0/24\"]` for a network of its own",
        ),
    ] {
        check(&marked, &[(code, help)]);
    }
    assert_eq!(parsed(&own("10.9.0.0/24").replace(['«', '»'], "")).routers[0].interfaces.len(), 2);
}

#[test]
fn a_router_in_a_pool_and_alone_is_told_of_both() {
    let text = format!("{NODE}[[router]]\nname = \"r\"\naddresses = [\"10.0.0.1/24\", \"10.244.0.1/16\"]\n");
    let codes: Vec<_> = parse(&text, "lab").unwrap_err().iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["node-in-pool", "router-alone"]);
}

#[test]
fn a_wrong_bgp_peer_says_what_to_write() {
    for (marked, code, help) in [
        (
            peer("").replace("\"p\"", "«\"p\"»"),
            "no-peer",
            "write `peerIP = \"10.0.1.1\"`, or `peerSelector =` with a selector of nodes",
        ),
        (
            peer("peerIP = «\"10.0.0\"»"),
            "invalid-address",
            "write `peerIP = \"10.0.1.1\"`, or with a port: `\"10.0.1.1:179\"`",
        ),
        (
            peer("peerIP = «\"10.0.0.1:0\"»"),
            "invalid-address",
            "write `peerIP = \"10.0.1.1\"`, or with a port: `\"10.0.1.1:179\"`",
        ),
        (
            peer("peerIP = \"10.0.0.99\"").replace("\"p\"", "«\"p\"»"),
            "unknown-peer",
            "write an address of a `[[router]]`, or the first address of a `[[node]]`",
        ),
        (peer("peerIP = \"10.0.0.1\"\npeerSelector = «\"all()\"»"), "peer-twice", "remove one of the two"),
        (
            peer("node = \"n1\"\nnodeSelector = «\"all()\"»\npeerIP = \"10.0.0.1\""),
            "node-twice",
            "remove one of the two",
        ),
        (peer("node = «\"n2\"»\npeerIP = \"10.0.0.1\""), "unknown-node", "did you mean `n1`?"),
        (peer("peerSelector = \"all()\"\nasNumber = «65001»"), "as-with-selector", "remove it"),
        (
            peer("nodeSelector = «\"global()\"»\npeerIP = \"10.0.0.1\""),
            "invalid-selector",
            "write `all()` for every node",
        ),
        (
            peer("peerIP = \"10.0.0.1\"\nnumAllowedLocalASNumbers = «-1»"),
            "out-of-range",
            "write a number from 0 to 255",
        ),
        (
            peer("peerIP = \"10.0.0.1\"\n[[BGPPeer]]\nname = «\"p\"»\npeerIP = \"10.0.0.1\""),
            "duplicate-name",
            "give it another name",
        ),
        (peer("peerIP = \"10.0.0.1\"\n«peerIp» = \"10.0.0.1\""), "unknown-key", "did you mean `peerIP`?"),
    ] {
        check(&marked, &[(code, help)]);
    }
}
