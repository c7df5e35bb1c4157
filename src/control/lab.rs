//! A running lab inside its daemon: the fabric it built, the speakers, the pods' pages, and the faults in force.

#![expect(clippy::disallowed_methods, reason = "I/O edge: reads the files of passwords")]

use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::watch;

use super::protocol::{Change, LabStatus, NodeStatus, PodStatus, RouterStatus};
use super::speaker::Speaker;
use super::state::StateDir;
use super::tunnels::Tunnels;
use crate::bgp::view::{PathView, State};
use crate::bgp::{PeerId, SpeakerConfig};
use crate::bgp_io::{Driver, Order};
use crate::external_io;
use crate::fabric::netns::Netns;
use crate::fabric::{self, MasqueradeOutcome, NetlinkKernel, observe};
use crate::net::Password;
use crate::plan::expect::{Expectation, expectation};
use crate::plan::{Faults, Plan, SpeakerPlan};
use crate::probe::{PodPage, PodServer, serve_pod};
use crate::report::chain;
use crate::topology::{Router, Topology};

/// Descriptors that the daemon needs besides those of sessions, pods and namespaces.
const SPARE_DESCRIPTORS: usize = 200;

/// A lab that stands. Dropping it ends its speakers and pages; the namespaces stay.
pub(super) struct Lab {
    file: PathBuf,
    topology: Topology,
    pub(super) plan: Arc<Plan>,
    /// One per speaker, in the plan's order.
    speakers: Vec<Speaker>,
    /// The speakers' namespaces, in the plan's order.
    pub(super) netns: Vec<Netns>,
    _pods: Vec<PodServer>,
    in_force: Mutex<(Faults, Arc<Expectation>)>,
    /// Held by the change that is being carried out: of two at once, one could leave the kernel and the faults at odds.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Stepped at everything that convergence can depend on.
    pub(super) changed: watch::Sender<u64>,
    masquerading: OnceLock<MasqueradeOutcome>,
    pub(super) tunnels: Tunnels,
    started: Instant,
    pub(super) converged_after: OnceLock<Duration>,
}

type Failure = Box<dyn Error + Send + Sync>;

impl Lab {
    /// Builds the fabric and starts everything; `progress` is told steps done and steps in all. The builder's thread works on when
    /// this future is dropped: the runtime's end waits for it. On an error, what was built of the fabric is gone again, or the
    /// caller has to sweep.
    pub(super) async fn start(
        state: &StateDir,
        topology: Topology,
        plan: Plan,
        started: Instant,
        progress: watch::Sender<(usize, usize)>,
    ) -> Result<Self, Failure> {
        check_descriptors(&plan)?;
        for external in plan.speakers.iter().filter_map(|speaker| speaker.external) {
            external_io::find(external)?;
        }
        let configs = with_passwords(&plan, &state.file().unwrap_or_default())?;
        let plan = Arc::new(plan);
        let building = Arc::clone(&plan);
        tokio::task::spawn_blocking(move || {
            Tunnels::check(&building)?;
            fabric::build(&NetlinkKernel, &building, &|step| {
                progress.send_replace((step.done, step.total));
            })
            .map_err(Failure::from)
        })
        .await??;
        tracing::debug!("the fabric stands");
        let tunnels = Tunnels::start(&plan).await?;
        let (changed, _) = watch::channel(0);
        let mut netns = Vec::new();
        let mut speakers = Vec::new();
        for (speaker, config) in plan.speakers.iter().zip(configs) {
            let inside = Netns::open(&speaker.netns)?;
            speakers.push(match speaker.external {
                None => Speaker::Own(Box::new(Driver::open(&inside, config, changed.clone())?)),
                Some(external) => {
                    let folder = state.speaker(&speaker.name);
                    Speaker::external(&inside, external, config, folder).await?
                }
            });
            netns.push(inside);
        }
        speakers.iter_mut().for_each(Speaker::start);
        tracing::debug!("the speakers run");
        let mut pods = Vec::new();
        for pod in &plan.pods {
            let page = PodPage { name: pod.name.clone(), address: pod.address };
            pods.push(serve_pod(&Netns::open(&pod.netns)?, &page)?);
        }
        tracing::debug!("the pods answer");
        let none = Faults::default();
        let expected = Arc::new(expectation(&plan, &none));
        Ok(Self {
            file: state.file().unwrap_or_default(),
            topology,
            plan,
            speakers,
            netns,
            _pods: pods,
            in_force: Mutex::new((none, expected)),
            changing: Arc::default(),
            changed,
            masquerading: OnceLock::new(),
            tunnels,
            started,
            converged_after: OnceLock::new(),
        })
    }

    /// Every speaker of the plan and as it runs, in file order.
    pub(super) fn speakers(&self) -> impl Iterator<Item = (&SpeakerPlan, &Speaker)> {
        self.plan.speakers.iter().zip(&self.speakers)
    }

    /// Speaker `index` of the plan.
    pub(super) fn running(&self, index: usize) -> &Speaker {
        &self.speakers[index]
    }

    /// Whether some speakers have to be asked how they are.
    pub(super) fn has_external(&self) -> bool {
        self.speakers.iter().any(Speaker::is_external)
    }

    /// Asks the speakers that are not ours.
    pub(super) async fn refresh(&self) {
        for speaker in &self.speakers {
            speaker.refresh().await;
        }
    }

    /// The speaker of `node`.
    pub(super) fn speaker(&self, node: &str) -> Result<&Speaker, String> {
        self.position(node).map(|index| &self.speakers[index])
    }

    /// What the speaker of `node` has told `peer`.
    pub(super) fn exported(&self, node: &str, peer: &str) -> Result<Vec<PathView>, String> {
        let index = self.position(node)?;
        let peer = u32::try_from(self.peer(index, peer)?).map_err(|error| error.to_string())?;
        self.speakers[index].exported_to(PeerId(peer))
    }

    /// What must hold with the faults that are in force.
    pub(super) fn expectation(&self) -> Arc<Expectation> {
        Arc::clone(&self.in_force().1)
    }

    /// Sets natOutgoing up, if that was not done before.
    ///
    /// From then on the kernel tracks every connection of a node. Sessions that stand by then came up a tenth faster, and
    /// untracked ones need not be looked for when the namespaces go.
    pub(super) fn masquerade(&self) {
        self.masquerading.get_or_init(|| tokio::task::block_in_place(|| fabric::apply_masquerade(&self.plan)));
    }

    /// How natOutgoing was set up; `None` before that.
    pub(super) fn masquerading(&self) -> Option<&MasqueradeOutcome> {
        self.masquerading.get()
    }

    /// How long ago `up` began.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sessions that are Established, and those that are awaited; each end counts.
    pub(super) fn sessions(&self) -> (usize, usize) {
        let awaited = self.expectation().sessions.iter().filter(|session| session.awaited).count();
        let established = self.speakers.iter().map(Speaker::established).sum();
        (established, awaited)
    }

    /// Carries out `change`; what it does to convergence is for the caller to wait for.
    ///
    /// # Errors
    /// There is no such place, link or peer; the kernel refused.
    pub(super) async fn change(&self, change: &Change) -> Result<(), String> {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        match change {
            Change::Link { on, interface, up } => {
                let planned = self.plan.namespaces.iter().find(|netns| netns.name == *on);
                let planned = planned.ok_or_else(|| format!("there is no node, router or pod `{on}`"))?;
                if !planned.links.iter().any(|link| link.name == *interface) {
                    return Err(format!("`{on}` has no interface `{interface}` that can be set"));
                }
                // In force before the kernel says so: nobody must take the fault for a failure to converge.
                let link = (on.clone(), interface.clone());
                let put = |up: bool| {
                    self.alter(|faults| match up {
                        true => faults.links_down.remove(&link),
                        false => faults.links_down.insert(link.clone()),
                    })
                };
                let altered = put(*up);
                let (netns, plan, interface, up) =
                    (planned.netns.clone(), Arc::clone(&self.plan), interface.clone(), *up);
                let set = tokio::task::spawn_blocking(move || {
                    // The change goes on if who asked for it has gone: the next one waits for it all the same.
                    let _turn = turn;
                    match up {
                        false => fabric::set_link(&netns, &interface, false),
                        true => fabric::restore_link(&plan, &netns, &interface),
                    }
                });
                if let Err(error) = set.await.map_err(|error| error.to_string())?.map_err(|error| chain(&error)) {
                    if altered {
                        put(!up);
                    }
                    return Err(error);
                }
            }
            Change::Peer { node, with, order } => {
                let index = self.position(node)?;
                let peer = self.peer(index, with)?;
                let key = (node.clone(), self.plan.speakers[index].config.peers[peer].name.clone());
                let put = |order: Order| match order {
                    Order::Disable => self.alter(|faults| faults.disabled_peers.insert(key.clone())),
                    Order::Enable => self.alter(|faults| faults.disabled_peers.remove(&key)),
                    Order::Restart => false,
                };
                let altered = put(*order);
                let peer = u32::try_from(peer).map_err(|error| error.to_string())?;
                if let Err(error) = self.speakers[index].administer(PeerId(peer), *order).await {
                    if altered {
                        put(if *order == Order::Disable { Order::Enable } else { Order::Disable });
                    }
                    return Err(error);
                }
            }
        }
        self.changed.send_modify(|step| *step += 1);
        Ok(())
    }

    /// The lab at a glance.
    pub(super) async fn status(&self) -> LabStatus {
        let outcome = self.look().await;
        let mut nodes = Vec::new();
        for (index, ((speaker, running), node)) in self.speakers().zip(&self.topology.nodes).enumerate() {
            let view = running.view();
            let established = view.sessions.iter().filter(|session| session.state == State::Established).count();
            let routes = observe::routes(&self.netns[index]).unwrap_or_default();
            nodes.push(NodeStatus {
                name: speaker.name.clone(),
                address: node.bgp_address(),
                as_number: view.local_as.0,
                blocks: speaker.config.policy.own_blocks.clone(),
                pods: self.plan.pods.iter().filter(|pod| pod.node == speaker.name).count(),
                sessions_established: established,
                sessions: view.sessions.len(),
                routes: routes.iter().filter(|route| Some(route.proto) == speaker.route_protocol()).count(),
                speaker: speaker.external,
                tunl0: self.tunnels.status(&speaker.name),
            });
        }
        let pods = self.plan.pods.iter().map(|pod| PodStatus {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            node: pod.node.clone(),
            address: pod.address,
        });
        LabStatus {
            lab: self.plan.lab.clone(),
            file: self.file.clone(),
            pid: std::process::id(),
            converged: outcome.is_empty(),
            missing: outcome,
            faults: self.faults_in_words(),
            converged_after_ms: self.converged_after.get().map(|after| after.as_millis() as u64),
            tunl0: self.tunnels.in_words(),
            nat_outgoing: match self.masquerading() {
                None => "off: it is being set up".into(),
                Some(MasqueradeOutcome::NotPlanned) => "off: no pool has it".into(),
                Some(MasqueradeOutcome::Applied(_)) => "on".into(),
                Some(MasqueradeOutcome::Unsupported) => "off: this kernel has no nftables NAT (`lab doctor`)".into(),
                Some(MasqueradeOutcome::Failed(errors)) => {
                    format!("off: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
                }
            },
            nodes,
            routers: self.topology.routers.iter().map(|router| self.router_status(router)).collect(),
            pods: pods.collect(),
        }
    }

    fn router_status(&self, router: &Router) -> RouterStatus {
        let speaks = self.plan.speakers.iter().position(|speaker| speaker.name == router.name);
        let view = speaks.map(|index| self.speakers[index].view());
        let written = speaks.and_then(|index| self.plan.speakers[index].route_protocol());
        let sessions = view.as_ref().map_or(&[][..], |view| &view.sessions);
        let routes = speaks.and_then(|index| observe::routes(&self.netns[index]).ok()).unwrap_or_default();
        RouterStatus {
            name: router.name.clone(),
            addresses: router.interfaces.iter().map(|interface| interface.address).collect(),
            as_number: router.as_number.map(|asn| asn.0),
            networks: router.networks.clone(),
            sessions_established: sessions.iter().filter(|session| session.state == State::Established).count(),
            sessions: sessions.len(),
            routes: routes.iter().filter(|route| Some(route.proto) == written).count(),
            speaker: router.speaker,
        }
    }

    fn faults_in_words(&self) -> Vec<String> {
        let faults = self.in_force().0.clone();
        let links = faults.links_down.iter().map(|(place, interface)| format!("{place}:{interface} is down"));
        let peers = faults.disabled_peers.iter().map(|(node, peer)| format!("{node}: session {peer} is disabled"));
        links.chain(peers).collect()
    }

    fn in_force(&self) -> std::sync::MutexGuard<'_, (Faults, Arc<Expectation>)> {
        self.in_force.lock().expect("nobody panics while holding this")
    }

    /// Puts a fault in force, or out of it; `change` says whether it was the other way before, and so does this.
    fn alter(&self, change: impl FnOnce(&mut Faults) -> bool) -> bool {
        let mut in_force = self.in_force();
        let altered = change(&mut in_force.0);
        if altered {
            in_force.1 = Arc::new(expectation(&self.plan, &in_force.0));
        }
        altered
    }

    fn position(&self, node: &str) -> Result<usize, String> {
        let found = self.plan.speakers.iter().position(|speaker| speaker.name == node);
        found.ok_or_else(|| format!("no node or router `{node}` speaks BGP"))
    }

    /// The peer of speaker `index` that `with` means: a node's or router's name, an address, or a session's name.
    fn peer(&self, index: usize, with: &str) -> Result<usize, String> {
        let speaker = &self.plan.speakers[index];
        let (place, address) = (self.plan.namespace(with), with.parse::<IpAddr>().ok());
        let is_meant = |remote| place.is_some_and(|netns| netns.has_address(remote)) || Some(remote) == address;
        let found = speaker.config.peers.iter().position(|peer| peer.name == with || is_meant(peer.remote));
        found.ok_or_else(|| {
            let peers = speaker.config.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", ");
            format!("`{}` has no session with `{with}`: it has {peers}", speaker.name)
        })
    }
}

/// The speakers' configurations with passwords read from their files, which stand relative to the topology's.
fn with_passwords(plan: &Plan, topology: &Path) -> Result<Vec<SpeakerConfig>, Failure> {
    let folder = topology.parent().unwrap_or(Path::new("/"));
    let mut configs: Vec<SpeakerConfig> = plan.speakers.iter().map(|speaker| speaker.config.clone()).collect();
    for peer in configs.iter_mut().flat_map(|config| &mut config.peers) {
        let Some(Password::File(name)) = &peer.password else { continue };
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let key = text.lines().next().unwrap_or_default();
        if key.is_empty() || key.len() > 80 {
            return Err(format!("{}: the first line is no password of 1 to 80 bytes", path.display()).into());
        }
        peer.password = Some(Password::Text(key.to_owned()));
    }
    Ok(configs)
}

/// Fails before anything is built where the host allows fewer open files than the lab's sockets.
fn check_descriptors(plan: &Plan) -> Result<(), Failure> {
    let sessions: usize = plan.speakers.iter().map(|speaker| speaker.config.peers.len()).sum();
    // Each session's end is a socket. A speaker listens, watches and writes the kernel's routes and holds its namespace.
    let needed = sessions + 4 * plan.speakers.len() + 2 * plan.pods.len() + SPARE_DESCRIPTORS;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    match needed as u64 > hard {
        false => Ok(()),
        true => Err(format!(
            "the lab needs about {needed} open files, and the hard limit here is {hard}: raise it with `ulimit -Hn`, or take fewer nodes"
        )
        .into()),
    }
}
