//! Faulty files in, diagnostics out. `«…»` marks the bytes that a diagnostic must point at, in the order of the file.

use proptest::prelude::*;

use super::{BGP_100, FULL_MESH, NODE, ONE_NODE};
use crate::report::diagnostic::{render, to_json};
use crate::topology::{Span, parse};

/// Code and help of the faults of a text, one for each mark.
pub(super) fn check(marked: &str, expected: &[(&str, &str)]) {
    let mut text = String::new();
    let mut spans: Vec<Span> = Vec::new();
    for c in marked.chars() {
        match c {
            '«' => spans.push(text.len()..text.len()),
            '»' => spans.last_mut().unwrap().end = text.len(),
            c => text.push(c),
        }
    }
    let expected: Vec<_> = expected.iter().map(|(code, help)| (code.to_string(), help.to_string())).collect();
    let found = match parse(&text, "lab") {
        Ok(_) => panic!("no fault found in\n{text}"),
        Err(found) => found,
    };
    let drawn = render("lab.toml", &text, &found, false);
    let (at, said): (Vec<_>, Vec<_>) =
        found.into_iter().map(|fault| (fault.span, (fault.code.to_owned(), fault.help))).unzip();
    assert_eq!(said, expected, "{drawn}");
    assert_eq!(at, spans, "{drawn}");
}

#[test]
fn what_is_not_toml_is_pointed_at() {
    check("name = «lab»\n", &[("syntax", "write `\"lab\"`")]);
    check(
        "name = \"a\"\n«name» = \"b\"\n",
        &[("syntax", "keep one of the two; several tables of a kind have two brackets: `[[node]]`")],
    );
    check(
        "[[node]«»\nname = \"a\"\n",
        &[("syntax", "close as many brackets as are open: `[[node]]`, `[[step]]`, `[BGPConfiguration]`")],
    );
    check("name = \"a«»\n", &[("syntax", "close the string with the quote that opens it, on the same line")]);
    for word in ["node1", "inf2", "true1", "10.0.1.11/24", "2x", "2026-13-45"] {
        check(&format!("name = «{word}»\n"), &[("syntax", &format!("write `\"{word}\"`"))]);
        check(&format!("node = [{{ name = «{word}» }}]\n"), &[("syntax", &format!("write `\"{word}\"`"))]);
    }
    let faults = parse("name = lab\nmode = BGP\n[[node]\n", "lab").unwrap_err();
    let lines: Vec<_> = faults.iter().map(|fault| fault.span.start).collect();
    assert_eq!(lines, [7, 18, 29], "{faults:?}");
}

#[test]
fn a_wrong_key_type_or_choice_says_what_to_write() {
    let top = "the top level takes `BGPConfiguration`, `BGPFilter`, `BGPPeer`, `IPPool`, `mode`, `name`, `node`, `pod`, `profile`, `router`, `segment`, `timers`";
    for (marked, code, help) in [
        (format!("«nmae» = \"x\"\n{NODE}"), "unknown-key", "did you mean `name`?"),
        (format!("«colour» = \"x\"\n{NODE}"), "unknown-key", top),
        (format!("«resources» = [\"calico.yaml\"]\n{NODE}"), "not-built-yet", &format!("remove it; {top}")),
        (format!("{NODE}«adress» = \"10.0.0.1/24\"\n"), "unknown-key", "did you mean `address`?"),
        (
            format!("{NODE}[BGPConfiguration]\n«serviceClusterIPs» = []\n"),
            "not-built-yet",
            "remove it; `[BGPConfiguration]` takes `asNumber`, `bindMode`, `communities`, `listenPort`, `nodeMeshMaxRestartTime`, `nodeMeshPassword`, `nodeMeshPasswordFile`, `nodeToNodeMeshEnabled`, `prefixAdvertisements`",
        ),
        (format!("{NODE}[BGPConfiguration]\n«asnumber» = 64512\n"), "unknown-key", "did you mean `asNumber`?"),
        (format!("{NODE}[[pod]]\nname = \"p\"\n«nod» = \"n1\"\n"), "unknown-key", "did you mean `node`?"),
        (format!("{NODE}pods = «\"2\"»\n"), "wrong-type", "write `pods = 2`"),
        (
            format!("{NODE}«mode» = \"BGP\"\n"),
            "unknown-key",
            "write `mode` above the first `[…]` of the file: below a `[[node]]` it belongs to that",
        ),
        ("[[node]]\nname = \"n1\"\naddresses = [«10»]\n".to_owned(), "wrong-type", "write `\"10\"`"),
        ("node = [«\"n1\"»]\n".to_owned(), "wrong-type", "write a table `[[node]]` for each"),
        (format!("{NODE}gateway = «[]»\n"), "wrong-type", "write `gateway = \"10.0.1.1\"`, say"),
        (format!("{NODE}pods = «2.5»\n"), "wrong-type", "write `pods = 2`, say"),
        (format!("{NODE}labels = {{ reflector = «true» }}\n"), "wrong-type", "write `reflector = \"true\"`"),
        (format!("{NODE}labels = «\"a=b\"»\n"), "wrong-type", "write `labels = { rack = \"rack1\" }`, say"),
        (format!("{NODE}asNumber = «1.10»\n"), "wrong-type", "write `asNumber = \"1.10\"`"),
        (format!("{NODE}addresses = «\"10.0.0.1/24\"»\n"), "wrong-type", "write `addresses = [\"10.0.0.1/24\"]`"),
        ("[«node»]\nname = \"n1\"\n".to_owned(), "wrong-type", "write `[[node]]`, with two brackets, once for each"),
        ("node = «\"n1\"»\n".to_owned(), "wrong-type", "write a table `[[node]]` for each"),
        (format!("{NODE}«[[BGPConfiguration]]»\n"), "wrong-type", "write `[BGPConfiguration]`, with one bracket, once"),
        (
            format!("{NODE}[BGPConfiguration]\nnodeToNodeMeshEnabled = «\"false\"»\n"),
            "wrong-type",
            "write `nodeToNodeMeshEnabled = false`",
        ),
        (format!("{NODE}«[[pod]]»\nname = \"p\"\n"), "missing-key", "write `node = \"node1\"`"),
        ("«[[node]]»\naddress = \"10.0.0.1/24\"\n".to_owned(), "missing-key", "write `name = \"node1\"`"),
        (
            format!("mode = «\"ipip\"»\n{NODE}"),
            "unknown-value",
            "did you mean `\"IPIP\"`? `mode` takes `\"BGP\"`, `\"IPIP\"`, `\"IPIPCrossSubnet\"`, `\"VXLAN\"`, `\"VXLANCrossSubnet\"`",
        ),
        (format!("profile = «\"old\"»\n{NODE}"), "unknown-value", "`profile` takes `\"classic\"`, `\"current\"`"),
        (
            format!("{NODE}[[segment]]\nsubnet = \"10.0.0.0/24\"\nmtu = «575»\n"),
            "out-of-range",
            "write a number from 576 to 65535",
        ),
        (
            format!("{NODE}[[segment]]\nsubnet = \"10.0.0.0/24\"\nmtu = «65536»\n"),
            "out-of-range",
            "write a number from 576 to 65535",
        ),
        (format!("{NODE}asNumber = «0»\n"), "out-of-range", "write a number from 1 to 4294967295"),
        (format!("{NODE}asNumber = «4294967296»\n"), "out-of-range", "write a number from 1 to 4294967295"),
        (format!("{NODE}pods = «10001»\n"), "out-of-range", "write a number from 0 to 10000"),
        (format!("{NODE}pods = «99999999999999999999»\n"), "out-of-range", "write a number from 0 to 10000"),
        (
            "[[node]]\nname = \"n-{}\"\ncount = «0»\naddress = \"10.0.0.1/24\"\n".to_owned(),
            "out-of-range",
            "write a number from 1 to 10000",
        ),
        (
            format!("{NODE}[[IPPool]]\ncidr = \"10.244.0.0/16\"\nblockSize = «19»\n"),
            "out-of-range",
            "write a number from 20 to 32",
        ),
        (format!("{NODE}[BGPConfiguration]\nlistenPort = «0»\n"), "out-of-range", "write a number from 1 to 65535"),
    ] {
        check(&marked, &[(code, help)]);
    }
}

#[test]
fn a_wrong_name_says_what_to_write() {
    let rule = "a name is 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
    let long = "x".repeat(252);
    let node = |name: &str| format!("[[node]]\nname = {name}\naddress = \"10.0.0.12/24\"\n");
    for (marked, code, help) in [
        (format!("name = «\"My Lab\"»\n{NODE}"), "invalid-lab-name", "write `name = \"my-lab\"`"),
        (node("«\"Node_1\"»"), "invalid-name", &*format!("write `node-1`: {rule}")),
        (node("«\"\"»"), "invalid-name", rule),
        (node("«\"a..b\"»"), "invalid-name", rule),
        (
            node(&format!("«\"{long}\"»")),
            "name-too-long",
            "shorten it to 251 characters: its namespace is `<lab>-<name>`, of at most 255",
        ),
        (node("«\"gateway\"»"), "reserved-name", "give the node another name, `gateway1` say"),
        (
            format!("{NODE}{}", node("«\"n1\"»")),
            "duplicate-name",
            "give the node another name; nodes, pods and routers share one name space",
        ),
        (
            format!("{NODE}[[pod]]\nname = «\"n1\"»\nnode = \"n1\"\n"),
            "duplicate-name",
            "give the pod another name; nodes, pods and routers share one name space",
        ),
        (
            format!("{NODE}[[pod]]\nname = «\"fabric\"»\nnode = \"n1\"\n"),
            "reserved-name",
            "give the pod another name, `fabric1` say",
        ),
        (
            format!("{NODE}pods = 1\n[[pod]]\nname = «\"n1-pod1\"»\nnode = \"n1\"\n"),
            "duplicate-name",
            "give the pod another name; nodes, pods and routers share one name space",
        ),
        (
            format!("{NODE}labels = {{ «\"a b\"» = \"c\" }}\n"),
            "invalid-label",
            "a label is 1 to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, after a domain and `/` or not: `rack`, `example.org/rack`",
        ),
        (
            format!("{NODE}labels = {{ rack = «\"rack 1\"» }}\n"),
            "invalid-label",
            "write at most 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, with a letter or digit at both ends",
        ),
        (
            format!("{NODE}[[pod]]\nname = \"p\"\nnode = \"n1\"\nnamespace = «\"a.b\"»\n"),
            "invalid-namespace",
            "write 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends",
        ),
        (format!("{NODE}[[pod]]\nname = \"p\"\nnode = «\"m1\"»\n"), "unknown-node", "did you mean `n1`?"),
        (
            format!("{NODE}[[pod]]\nname = \"p\"\nnode = «\"worker\"»\n"),
            "unknown-node",
            "write the `name` of a `[[node]]`",
        ),
        (
            format!("{NODE}asNumber = «\"1.70000\"»\n"),
            "invalid-as-number",
            "write a number from 1 to 4294967295, or two from 0 to 65535 with a dot, in quotes: `\"1.10\"`",
        ),
        (
            format!("{NODE}asNumber = «\"+5\"»\n"),
            "invalid-as-number",
            "write a number from 1 to 4294967295, or two from 0 to 65535 with a dot, in quotes: `\"1.10\"`",
        ),
    ] {
        check(&marked, &[(code, help)]);
    }
}

#[test]
fn a_wrong_address_or_segment_says_what_to_write() {
    let node = |address: &str| format!("[[node]]\nname = \"n2\"\naddress = {address}\n");
    let gateway = |address: &str| format!("{NODE}gateway = {address}\n");
    let many =
        |count: usize, address: &str| format!("[[node]]\nname = \"r-{{}}\"\ncount = {count}\naddress = {address}\n");
    for (marked, code, help) in [
        (
            "«»mode = \"BGP\"\n".to_owned(),
            "no-node",
            "write `[[node]]` with `name = \"node1\"` and `address = \"10.0.1.11/24\"`",
        ),
        ("[[node]]\nname = «\"n1\"»\n".to_owned(), "no-address", "write `address = \"10.0.1.11/24\"`"),
        ("[[node]]\nname = \"n1\"\naddresses = «[]»\n".to_owned(), "no-address", "write `address = \"10.0.1.11/24\"`"),
        (
            "[[node]]\nname = \"n1\"\naddress = «\"10.0.0.1/24\"»\naddresses = [\"10.0.0.2/24\"]\n".to_owned(),
            "address-twice",
            "put all of them into `addresses`, the BGP address first, and remove `address`",
        ),
        (node("«\"10.0.0.12\"»"), "no-mask", "write `\"10.0.0.12/24\"`"),
        (node("«\"10.0.0.300/24\"»"), "invalid-address", "write `\"10.0.1.11/24\"`, say"),
        (node("«\"fd00::1/64\"»"), "invalid-address", "write `\"10.0.1.11/24\"`, say"),
        (node("«\"10.0.0.1/32\"»"), "invalid-mask", "write `\"10.0.0.1/24\"`, say"),
        (node("«\"127.0.0.1/8\"»"), "unusable-address", "write `\"10.0.1.11/24\"`, say"),
        (node("«\"10.0.0.0/24\"»"), "not-a-host-address", "write an address from 10.0.0.1 to 10.0.0.254, with /24"),
        (node("«\"10.0.0.255/24\"»"), "not-a-host-address", "write an address from 10.0.0.1 to 10.0.0.254, with /24"),
        (format!("{NODE}{}", node("«\"10.0.0.11/24\"»")), "duplicate-address", "give `n2` another address"),
        (
            format!("{NODE}{}", node("«\"10.0.0.12/16\"»")),
            "overlapping-segments",
            "write the same mask for addresses on one segment, or disjoint subnets",
        ),
        (
            format!("{NODE}{}[[segment]]\nsubnet = \"10.0.0.0/24\"\n", node("«\"10.0.0.12/16\"»")),
            "wrong-mask",
            "write `\"10.0.0.12/24\"`",
        ),
        (
            format!("{NODE}[[segment]]\nsubnet = «\"10.0.1.0/24\"»\n"),
            "unused-segment",
            "there are addresses on 10.0.0.0/24; write one of these or remove the `[[segment]]`",
        ),
        (format!("{NODE}[[segment]]\nsubnet = «\"10.0.0.1/24\"»\n"), "host-bits", "write `subnet = \"10.0.0.0/24\"`"),
        (
            format!("{NODE}[[segment]]\nsubnet = «\"10.0.0.0\"»\n"),
            "invalid-network",
            "write `subnet = \"10.0.0.0/24\"`, say: a network has a mask",
        ),
        (
            format!("{NODE}[[segment]]\nsubnet = \"10.0.0.0/24\"\n[[segment]]\nsubnet = «\"10.0.0.0/24\"»\n"),
            "duplicate-segment",
            "keep one of the two",
        ),
        (
            "[[node]]\nname = \"n1\"\naddresses = [\"10.0.0.1/24\", «\"10.0.0.2/24\"»]\n".to_owned(),
            "segment-twice",
            "give it one address on each segment",
        ),
        (gateway("«\"10.0.0.1/24\"»"), "invalid-address", "write `gateway = \"10.0.0.1\"`, without the mask"),
        (
            gateway("«\"10.0.1.1\"»"),
            "gateway-outside-subnet",
            "write an address from 10.0.0.1 to 10.0.0.254 that no node has",
        ),
        (
            gateway("«\"10.0.0.255\"»"),
            "gateway-outside-subnet",
            "write an address from 10.0.0.1 to 10.0.0.254 that no node has",
        ),
        (
            gateway("«\"10.0.0.11\"»"),
            "gateway-is-node",
            "write another address from 10.0.0.1 to 10.0.0.254, or begin `address` beyond it",
        ),
        (
            format!("{}gateway = «\"10.0.0.15\"»\n", many(9, "\"10.0.0.11/24\"")),
            "gateway-is-node",
            "write another address from 10.0.0.1 to 10.0.0.254, or begin `address` beyond it",
        ),
        (
            format!("{}{}gateway = «\"10.0.0.2\"»\n", gateway("\"10.0.0.1\""), node("\"10.0.0.12/24\"")),
            "gateway-conflict",
            "write `gateway = \"10.0.0.1\"`: a segment has one",
        ),
        (
            "[[node]]\nname = \"a\"\naddress = «\"10.0.0.1/30\"»\n[[node]]\nname = \"b\"\naddress = \"10.0.0.2/30\"\n"
                .to_owned(),
            "no-gateway",
            "free one of the two, or write `gateway =` with an address that no node has",
        ),
        (
            "[[node]]\nname = «\"n\"»\ncount = 2\naddress = \"10.0.0.1/24\"\n".to_owned(),
            "count-without-placeholder",
            "write `name = \"n-{}\"`: `{}` stands for 1, 2, …",
        ),
        (
            "[[node]]\nname = «\"n-{}\"»\naddress = \"10.0.0.1/24\"\n".to_owned(),
            "placeholder-without-count",
            "write `count = 2`, or a name without `{}`",
        ),
        (
            many(10, "«\"10.0.0.250/24\"»"),
            "subnet-exhausted",
            "write `count = 5` or less, a lower first address, or a shorter mask",
        ),
        (
            many(1001, "«\"10.0.0.2/16\"»"),
            "segment-too-large",
            "put the nodes into subnets of at most 1000: a segment is a bridge, and a bridge has at most 1,023 ports",
        ),
        (format!("{NODE}{}", many(3, "«\"10.0.0.9/24\"»")), "duplicate-address", "give `r-3` another address"),
        (
            format!("{NODE}pods = «10000»\n[[pod]]\nname = \"p\"\nnode = \"n1\"\n"),
            "too-many-pods",
            "leave it at 10000 pods",
        ),
    ] {
        check(&marked, &[(code, help)]);
    }
}

#[test]
fn a_wrong_pool_or_pinned_address_says_what_to_write() {
    let pool = |rest: &str| format!("{NODE}[[IPPool]]\nname = \"a\"\n{rest}\n");
    let pinned = |address: &str| format!("{NODE}[[pod]]\nname = \"p\"\nnode = \"n1\"\nip = {address}\n");
    for (marked, code, help) in [
        (
            format!("mode = «\"BGP\"»\n{}", pool("cidr = \"10.244.0.0/16\"")),
            "mode-with-pools",
            "remove `mode`, and write `ipipMode` or `vxlanMode` in the `[[IPPool]]`",
        ),
        (pool("cidr = «\"10.244.1.0/16\"»"), "host-bits", "write `cidr = \"10.244.0.0/16\"`"),
        (
            pool("cidr = «\"fd00::/64\"»"),
            "ipv6-pool",
            "write an IPv4 network, `cidr = \"10.244.0.0/16\"` say: the lab's pools are IPv4",
        ),
        (pool("cidr = «\"169.254.0.0/24\"»"), "reserved-network", "write `cidr = \"10.244.0.0/16\"`, say"),
        (pool("cidr = «\"10.244.0.0/28\"»"), "pool-too-small", "write `blockSize = 28` or more, or a larger `cidr`"),
        (
            pool("cidr = \"10.244.0.0/28\"\nblockSize = «27»"),
            "pool-too-small",
            "write `blockSize = 28` or more, or a larger `cidr`",
        ),
        (
            format!("{NODE}pods = 5\n[[IPPool]]\ncidr = «\"10.244.0.0/30\"»\nblockSize = 30\n"),
            "pool-too-small",
            "write a larger `cidr`, or fewer pods",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\nipipMode = \"Always\"\nvxlanMode = «\"CrossSubnet\"»"),
            "both-encapsulations",
            "write `\"Never\"` for one of the two",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\nnodeSelector = \"rack «=» 'a'\""),
            "invalid-selector",
            "write `==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with` here, as in `rack == 'rack1'`",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\nnodeSelector = «\"rack == \\\"a\"»"),
            "invalid-selector",
            "write a closing `\"` here, as in `rack == 'rack1'`",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\nnodeSelector = «\"global()\"»"),
            "invalid-selector",
            "write `all()` for every node",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\n[[IPPool]]\nname = \"b\"\ncidr = «\"10.244.128.0/24\"»"),
            "overlapping-pools",
            "write a `cidr` apart from every other pool's",
        ),
        (
            pool("cidr = \"10.244.0.0/16\"\n[[IPPool]]\nname = «\"a\"»\ncidr = \"10.245.0.0/24\""),
            "duplicate-name",
            "write `name =` with another name; without one an IPPool is called `default-ipv4-ippool`",
        ),
        (
            "[[node]]\nname = \"n1\"\naddress = «\"10.244.0.11/24\"»\n".to_owned(),
            "node-in-pool",
            "give `n1` an address outside the pools, or the pool another `cidr`",
        ),
        (
            format!("{NODE}pods = «1»\n[[IPPool]]\ncidr = \"10.244.0.0/16\"\nnodeSelector = \"has(rack)\"\n"),
            "no-pool-for-pod",
            "write an `[[IPPool]]` whose `nodeSelector` selects the node, or move the pod",
        ),
        (pinned("«\"10.245.0.1\"»"), "outside-pools", "write an address in 10.244.0.0/16, or remove `ip`"),
        (pinned("«\"10.244.0.1/32\"»"), "invalid-address", "write `ip = \"10.244.0.1\"`, without the mask"),
        (
            format!(
                "{}[[IPPool]]\nname = \"off\"\ncidr = \"10.244.0.0/16\"\ndisabled = true\n",
                pinned("«\"10.244.0.1\"»")
            ),
            "pool-disabled",
            "write an address of an enabled pool, or remove `disabled` from `off`",
        ),
        (
            format!("{}[[pod]]\nname = \"q\"\nnode = \"n1\"\nip = «\"10.244.0.1\"»\n", pinned("\"10.244.0.1\"")),
            "duplicate-address",
            "give `q` another address, or remove `ip`",
        ),
    ] {
        check(&marked, &[(code, help)]);
    }
}

#[test]
fn faults_of_every_kind_are_reported_together_in_the_order_of_the_file() {
    check(
        r#"
name = "lab"
«colour» = "red"
profile = «"clasic"»

[[node]]
name = "a"
address = "10.0.0.11/24"
«gatway» = "10.0.0.1"
pods = «"2"»

[[node]]
name = «"a"»
address = «"10.0.0.11/24"»

[[pod]]
name = "p"
node = «"b"»
ip = «"10.1.2.3"»
«»"#
        .trim_end_matches("«»"),
        &[
            (
                "unknown-key",
                "the top level takes `BGPConfiguration`, `BGPFilter`, `BGPPeer`, `IPPool`, `mode`, `name`, `node`, `pod`, `profile`, `router`, `segment`, `timers`",
            ),
            ("unknown-value", "did you mean `\"classic\"`? `profile` takes `\"classic\"`, `\"current\"`"),
            ("unknown-key", "did you mean `gateway`?"),
            ("wrong-type", "write `pods = 2`"),
            ("duplicate-name", "give the node another name; nodes, pods and routers share one name space"),
            ("duplicate-address", "give `a` another address"),
            ("unknown-node", "write the `name` of a `[[node]]`"),
            ("outside-pools", "write an address in 10.244.0.0/16, or remove `ip`"),
        ],
    );
}

#[test]
fn a_fault_does_not_make_others_follow() {
    // The node could be the one that the pod is on, the pool the one that the address is in.
    check(
        "[[node]]\nname = «1»\naddress = \"10.0.0.11/24\"\n[[pod]]\nname = \"p\"\nnode = \"n1\"\n",
        &[("wrong-type", "write `name = \"1\"`")],
    );
    check(
        "[[«nodes»]]\nname = \"n1\"\n[[pod]]\nname = \"p\"\nnode = \"n1\"\n",
        &[("unknown-key", "did you mean `node`?")],
    );
    check(
        &format!("{NODE}[[pod]]\nname = \"p\"\nnode = \"n1\"\nip = \"10.9.0.1\"\n[[IPPool]]\ncidr = «10»\n"),
        &[("wrong-type", "write `cidr = \"10\"`")],
    );
    check(
        "[[node]]\nname = \"n-{}\"\ncount = «\"3\"»\naddress = \"10.0.0.11/24\"\n[[pod]]\nname = \"p\"\nnode = \"n-2\"\n",
        &[("wrong-type", "write `count = 3`")],
    );
    // The segment is used, if only by a node at fault.
    check(
        &format!("{NODE}[[node]]\nname = «\"n1\"»\naddress = \"10.0.1.1/24\"\n[[segment]]\nsubnet = \"10.0.1.0/24\"\n"),
        &[("duplicate-name", "give the node another name; nodes, pods and routers share one name space")],
    );
    check(
        "[[node]]\nname = \"n1\"\naddress = «\"10.0.1.1/16\"»\n[[segment]]\nsubnet = \"10.0.1.0/24\"\n",
        &[("wrong-mask", "write `\"10.0.1.1/24\"`")],
    );
}

#[test]
fn a_fault_is_told_by_line_and_column_and_drawn_in_place() {
    let text = format!("{NODE}[[pod]]\nname = \"p\"\nnode = \"n2\"\n");
    let faults = parse(&text, "lab").unwrap_err();
    assert_eq!(
        render("lab.toml", &text, &faults, false),
        "\
error[unknown-node]: the pod `p` is on `n2`, which is no node
 --> lab.toml:6:8
  |
6 | node = \"n2\"
  |        ^^^^ no such node
  |
  = help: did you mean `n1`?
"
    );
    assert_eq!(
        to_json("lab.toml", &text, &faults),
        serde_json::json!([{
            "file": "lab.toml", "line": 6, "column": 8, "endLine": 6, "endColumn": 12, "code": "unknown-node",
            "message": "the pod `p` is on `n2`, which is no node", "help": "did you mean `n1`?",
        }])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_file_never_panics_and_is_drawn(
        file in prop::sample::select(vec![FULL_MESH, BGP_100, ONE_NODE]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[\\[\\]{}=\"#a-z0-9./é\n ]{0,6}"), 1..4),
    ) {
        let mut text = file.to_owned();
        for (at, length, insert) in cuts {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &insert);
        }
        if let Err(faults) = parse(&text, "lab") {
            prop_assert!(!faults.is_empty());
            for fault in &faults {
                prop_assert!(fault.span.end <= text.len() && text.get(fault.span.clone()).is_some(), "{:?}", fault);
                prop_assert!(!fault.help.is_empty() && !fault.label.is_empty() && !fault.message.is_empty());
            }
            prop_assert!(render("lab.toml", &text, &faults, true).contains("lab.toml"));
        }
    }
}
