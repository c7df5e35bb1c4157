//! The nodes' `tunl0`: who serves them, and how they are.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::protocol::Tunl0Status;
use crate::fabric::netns::Netns;
use crate::fabric::{self, NetlinkKernel, host};
use crate::plan::{LinkKindPlan, Plan};
use crate::tunnel::{Config, Provider, Tunl0, provider};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Every planned `tunl0`, up and carrying packets.
pub(super) struct Tunnels {
    /// `None` where the plan has none.
    provider: Option<Provider>,
    /// In user space, one per node, with its name.
    served: Vec<(String, Tunl0)>,
}

impl Tunnels {
    /// Fails before anything is built where `plan` needs a `tunl0` and this kernel has nothing to make one of. Blocks.
    pub(super) fn check(plan: &Plan) -> Result<(), Failure> {
        let wanted =
            plan.namespaces.iter().any(|netns| netns.links.iter().any(|link| link.kind == LinkKindPlan::Tunl0));
        if !wanted || provider() == Provider::Kernel {
            return Ok(());
        }
        fabric::has_tun().map_err(|error| {
            let remedy = host::TUNL0_REMEDY;
            format!(
                "IPIP needs a tunl0, and here is neither ipip loaded nor a TUN device (/dev/net/tun: {error}): {remedy}"
            )
            .into()
        })
    }

    /// Serves what the kernel does not, and configures all. The namespaces must stand.
    pub(super) async fn start(plan: &Arc<Plan>) -> Result<Self, Failure> {
        let with_tunl0 =
            plan.namespaces.iter().filter(|netns| netns.links.iter().any(|link| link.kind == LinkKindPlan::Tunl0));
        let nodes: Vec<_> = with_tunl0.collect();
        if nodes.is_empty() {
            return Ok(Self { provider: None, served: Vec::new() });
        }
        let provider = provider();
        let mut served = Vec::new();
        if provider == Provider::User {
            let known: HashSet<Ipv4Addr> = plan.speakers.iter().map(|speaker| speaker.config.router_id.0).collect();
            for netns in nodes {
                let speaker = plan.speakers.iter().find(|speaker| speaker.netns == netns.netns);
                let local = speaker.ok_or_else(|| format!("`{}` has a tunl0 and is no node", netns.name))?;
                let config = Config { local: local.config.router_id.0, known: known.clone() };
                let tunnel = Tunl0::start(&Netns::open(&netns.netns)?, config).map_err(|error| {
                    format!("serve tunl0 in netns {}: {error} ({})", netns.netns, host::TUNL0_REMEDY)
                })?;
                served.push((netns.name.clone(), tunnel));
            }
        }
        let configured = Arc::clone(plan);
        let configure = move || {
            if provider == Provider::Kernel {
                fabric::add_tunl0(&NetlinkKernel, &configured)?;
            }
            fabric::configure_tunl0(&NetlinkKernel, &configured)
        };
        tokio::task::spawn_blocking(configure).await??;
        Ok(Self { provider: Some(provider), served })
    }

    /// Who serves them, in words; `none` where the plan has none.
    pub(super) fn in_words(&self) -> String {
        match self.provider {
            None => "none".into(),
            Some(Provider::Kernel) => "the kernel's ipip".into(),
            Some(Provider::User) => "user space, because this kernel has no ipip loaded".into(),
        }
    }

    /// How the one of `node` is; `None` where it has none in user space.
    pub(super) fn status(&self, node: &str) -> Option<Tunl0Status> {
        let (_, tunnel) = self.served.iter().find(|(name, _)| name == node)?;
        let failure = tunnel.failure().map(|failure| failure.to_string());
        Some(Tunl0Status { failure, statistics: tunnel.statistics() })
    }

    /// Those that no longer carry packets, and why.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = self.served.iter().filter_map(|(node, tunnel)| Some((node, tunnel.failure()?)));
        failed.map(|(node, failure)| format!("{node}: tunl0 is dead: {failure}")).collect()
    }
}
