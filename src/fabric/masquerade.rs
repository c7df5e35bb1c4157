//! natOutgoing (calico-behaviour 6): one nftables table per node.

use nix::errno::Errno;

use super::error::FabricError;
use super::netlink::nftables;
use super::netns::{self, Netns, in_parallel};
use crate::net::NetnsName;
use crate::plan::{Masquerade, Plan};

/// What became of natOutgoing.
#[derive(Debug)]
pub enum MasqueradeOutcome {
    /// No pool wants it.
    NotPlanned,
    /// It is in force on this many nodes: all of those that want it.
    Applied(usize),
    /// The kernel has no nftables, or no NAT in it: the lab runs without natOutgoing.
    Unsupported,
    /// Some nodes are without it.
    Failed(Vec<FabricError>),
}

/// Writes the masquerade rules of every node that has any; doing it again replaces them. Takes a tenth of a millisecond per
/// node and blocks: call it from a blocking thread.
pub fn apply_masquerade(plan: &Plan) -> MasqueradeOutcome {
    let planned = plan.namespaces.iter().filter_map(|netns| Some((&netns.netns, netns.masquerade.as_ref()?)));
    let wanted: Vec<(&NetnsName, &Masquerade)> = planned.filter(|(_, rules)| !rules.sources.is_empty()).collect();
    if wanted.is_empty() {
        return MasqueradeOutcome::NotPlanned;
    }
    let outcomes = in_parallel(&wanted, |(netns, rules)| apply(netns, rules));
    let errors: Vec<FabricError> = outcomes.into_iter().filter_map(Result::err).collect();
    let unsupported = |error: &FabricError| match error {
        FabricError::Masquerade { reason, .. } => {
            [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT].iter().any(|errno| reason.is(*errno))
        }
        _ => false,
    };
    match errors.as_slice() {
        [] => MasqueradeOutcome::Applied(wanted.len()),
        errors if errors.iter().all(unsupported) => MasqueradeOutcome::Unsupported,
        _ => MasqueradeOutcome::Failed(errors),
    }
}

fn apply(name: &NetnsName, rules: &Masquerade) -> Result<(), FabricError> {
    Netns::open(name).and_then(|netns| netns::enter(&netns)).map_err(|source| FabricError::Netns {
        action: "enter namespace",
        netns: name.clone(),
        source,
    })?;
    nftables::replace_masquerade(rules).map_err(|reason| FabricError::Masquerade { netns: name.clone(), reason })
}
