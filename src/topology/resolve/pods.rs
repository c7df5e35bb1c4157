//! `pods = N` and `[[pod]]`.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use super::names::{Names, is_dns_name};
use super::nodes::{Nodes, plain_address};
use super::pools::{Place, Pools};
use crate::topology::error::Faults;
use crate::topology::model::{NodeId, Pod, Span};
use crate::topology::raw::{At, MAX_COUNT, RawPod};
use crate::topology::spelling::closest;

/// Where a pod is unless it says so.
const DEFAULT_NAMESPACE: &str = "default";

/// After so many faults nobody reads guesses; each costs a comparison with every node.
const MAX_GUESSES: usize = 100;

/// Resolves and checks the pods: each node's `pods = N`, then `[[pod]]` in file order.
pub(super) fn resolve(
    raw: Vec<At<RawPod>>,
    nodes: &Nodes,
    pools: &Pools,
    names: &mut Names,
    faults: &mut Faults<'_>,
) -> Vec<Pod> {
    let total = nodes.list.iter().map(|node| node.pods).sum::<usize>() + raw.len();
    if total > MAX_COUNT {
        let at = nodes.list.iter().find(|node| node.pods > 0).map_or(0..0, |node| node.pods_span.clone());
        let help = format!("leave it at {MAX_COUNT} pods");
        faults.add("too-many-pods", at, format!("the lab has {total} pods"), "more than one host holds", help);
        return Vec::new();
    }
    let mut pods = Vec::with_capacity(total);
    for (index, node) in nodes.list.iter().enumerate() {
        for number in 1..=node.pods {
            let name = format!("{}-pod{number}", node.name);
            if names.claim("pod", &name, &node.pods_span, faults) {
                pods.push(Pod {
                    name,
                    namespace: DEFAULT_NAMESPACE.to_owned(),
                    node: NodeId(index),
                    labels: BTreeMap::new(),
                    ip: None,
                    span: node.pods_span.clone(),
                });
            }
        }
    }
    let mut pinned = HashMap::new();
    for pod in raw {
        pods.extend(pod_of(pod.into_inner(), nodes, pools, names, &mut pinned, faults));
    }
    for pod in pods.iter().filter(|pod| pod.ip.is_none()) {
        let node = &nodes.list[pod.node.0];
        if !pools.serve(node) {
            let message = format!("no enabled pool serves `{}`, the node of the pod `{}`", node.name, pod.name);
            let help = "write an `[[IPPool]]` whose `nodeSelector` selects the node, or move the pod";
            faults.add("no-pool-for-pod", pod.span.clone(), message, "can get no address", help);
        }
    }
    pods
}

fn pod_of(
    raw: RawPod,
    nodes: &Nodes,
    pools: &Pools,
    names: &mut Names,
    pinned: &mut HashMap<Ipv4Addr, (String, Span)>,
    faults: &mut Faults<'_>,
) -> Option<Pod> {
    let RawPod { name, node, namespace, labels, ip } = raw;
    let span = name.span();
    let free = names.claim("pod", &name, &span, faults);
    let node_id = nodes.by_name.get(node.as_str()).copied().map(NodeId);
    if node_id.is_none() && nodes.complete {
        let guess = match faults.len() < MAX_GUESSES {
            true => closest(&node, nodes.list.iter().map(|node| node.name.as_str())),
            false => None,
        };
        let help = match guess {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => "write the `name` of a `[[node]]`".to_owned(),
        };
        let message = format!("the pod `{}` is on `{}`, which is no node", name.as_str(), node.as_str());
        faults.add("unknown-node", node.span(), message, "no such node", help);
    }
    if let Some(namespace) = &namespace
        && (!is_dns_name(namespace) || namespace.contains('.') || namespace.len() > 63)
    {
        let message = format!("`{}` is no Kubernetes namespace", namespace.as_str());
        let help = "write 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends";
        faults.add("invalid-namespace", namespace.span(), message, "not a namespace", help);
    }
    let labels = super::labels(labels, faults);
    let ip = ip.and_then(|text| {
        let address = plain_address(&text, "ip", faults)?;
        check_pinned(address, &name, &text.span(), pools, pinned, faults);
        Some(address)
    });
    let namespace = namespace.map_or_else(|| DEFAULT_NAMESPACE.to_owned(), At::into_inner);
    match (node_id, free) {
        (Some(node), true) => Some(Pod { name: name.into_inner(), namespace, node, labels, ip, span }),
        _ => None,
    }
}

fn check_pinned(
    address: Ipv4Addr,
    pod: &str,
    span: &Span,
    pools: &Pools,
    pinned: &mut HashMap<Ipv4Addr, (String, Span)>,
    faults: &mut Faults<'_>,
) {
    match pools.place(address) {
        Place::Enabled => {}
        Place::Disabled(name) => {
            let message = format!("{address} lies in the pool `{name}`, which is disabled");
            let help = format!("write an address of an enabled pool, or remove `disabled` from `{name}`");
            faults.add("pool-disabled", span.clone(), message, "not given out", help);
        }
        Place::Outside => {
            let message = format!("{address} lies in no pool");
            let help = format!("write an address in {}, or remove `ip`", pools.networks());
            faults.add("outside-pools", span.clone(), message, "outside every pool", help);
        }
    }
    if let Some((owner, at)) = pinned.get(&address) {
        let message = format!("{address} is already the address of `{owner}` (line {})", faults.line(at));
        let help = format!("give `{pod}` another address, or remove `ip`");
        faults.add("duplicate-address", span.clone(), message, "taken", help);
    } else {
        pinned.insert(address, (pod.to_owned(), span.clone()));
    }
}
