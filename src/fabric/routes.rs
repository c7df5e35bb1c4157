//! Writes the speaker's routes into one namespace for as long as the speaker lives, as BIRD's `kernel` protocol would.
//!
//! It touches `proto bird` routes only. The kernel's own NLM_F_REPLACE would replace the first route of the same
//! destination and metric whoever wrote it, so it is not used: a new route is added with NLM_F_EXCL, and a changed one is
//! appended before the old one is removed, so that no packet finds neither. The kernel takes one route per destination and
//! metric, the speaker has one per destination: with another metric it is a new one there, and the old one is removed, too.
//!
//! One thread writes for all namespaces: the kernel takes one route change at a time anyway.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::oneshot;

use super::error::{FabricError, KernelReason};
use super::kernel::Change;
use super::netlink::socket::{BATCH, Request, RouteSocket};
use super::netlink::{encode, indices};
use super::netns::Netns;
use super::observe;
use crate::bgp::FibChange;
use crate::net::{IfName, NetnsName, Route, RouteProtocol};

/// The writer of one namespace.
#[derive(Clone)]
pub struct RouteWriter {
    table: Arc<Mutex<Table>>,
    port: u32,
}

impl RouteWriter {
    /// Opens a writer in `netns`. `proto bird` routes that are there already count as its own.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there are no descriptors left.
    pub fn open(netns: &Netns) -> io::Result<Self> {
        let mut socket = RouteSocket::open(netns)?;
        let port = socket.port()?;
        let links = indices(&mut socket)?;
        let mut table = Table { netns: netns.name().clone(), socket, links, own: HashMap::new() };
        for route in table.read()? {
            if route.proto == RouteProtocol::BIRD {
                table.own.insert(route.dst, route);
            }
        }
        Ok(Self { table: Arc::new(Mutex::new(table)), port })
    }

    /// By what [`Monitor`](super::Monitor) tells this writer's changes from others'.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Carries out `changes` in order and returns when the kernel has acknowledged every one: one result per change.
    /// Routes are written as `proto bird` whatever they say. A removal of what is not there succeeds.
    pub async fn apply(&self, changes: Vec<FibChange>) -> Vec<Result<(), FabricError>> {
        let (reply, results) = oneshot::channel();
        let writer = self.clone();
        let count = changes.len();
        let job = Box::new(move || {
            // The caller may have gone; the routes are written all the same.
            let _ = reply.send(writer.apply_blocking(&changes));
        });
        let queued = thread_queue().send(job);
        match (queued, results.await) {
            (Ok(()), Ok(results)) => results,
            _ => (0..count).map(|_| Err(self.failed(io::Error::other("the route thread has ended")))).collect(),
        }
    }

    /// [`RouteWriter::apply`] on the calling thread.
    pub fn apply_blocking(&self, changes: &[FibChange]) -> Vec<Result<(), FabricError>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).apply(changes)
    }

    fn failed(&self, source: io::Error) -> FabricError {
        let netns = self.table.lock().unwrap_or_else(PoisonError::into_inner).netns.clone();
        FabricError::Netns { action: "write routes in namespace", netns, source }
    }
}

impl std::fmt::Debug for RouteWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteWriter").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The kernel takes one route per destination and metric.
type Key = (IpNet, u32);

fn key(route: &Route) -> Key {
    (route.dst, route.metric)
}

struct Table {
    netns: NetnsName,
    socket: RouteSocket,
    links: HashMap<IfName, u32>,
    /// What we wrote and have not removed. The kernel may have dropped some of it with a link.
    own: HashMap<IpNet, Route>,
}

/// What is asked of the kernel for one change, with the change's position.
enum Step {
    /// Add; nothing of this key is known to be there.
    Add(usize),
    /// Append the new route; the next step removes the old one.
    Append(usize),
    /// Remove the old one of the change before.
    Drop(usize),
    /// Remove whatever `proto bird` route has the key of the one that we wrote.
    Remove(usize),
}

impl Table {
    fn apply(&mut self, changes: &[FibChange]) -> Vec<Result<(), FabricError>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            // A run changes each destination once, so that what a step found does not depend on another step; and two messages
            // per change fit into a batch.
            let mut seen = HashSet::new();
            let run = rest.iter().take(BATCH / 2).take_while(|change| seen.insert(route_of(change).dst)).count();
            let (run, later) = rest.split_at(run);
            let mut outcome = self.apply_run(run);
            let stale: Vec<usize> = (0..run.len()).filter(|at| is_no_device(&outcome[*at])).collect();
            if !stale.is_empty() {
                // A link was made anew under its old name: it has another index now.
                self.links.clear();
                for at in stale {
                    outcome[at] = self.apply_run(&run[at..=at]).pop().unwrap_or(Ok(()));
                }
            }
            results.extend(outcome);
            rest = later;
        }
        results
    }

    fn apply_run(&mut self, changes: &[FibChange]) -> Vec<Result<(), FabricError>> {
        let routes: Vec<Route> =
            changes.iter().map(|change| route_of(change).clone().proto(RouteProtocol::BIRD)).collect();
        self.learn_links(&routes);
        let mut results: Vec<Result<(), KernelReason>> = vec![Ok(()); changes.len()];
        let mut steps = Vec::with_capacity(changes.len());
        let mut requests = Vec::with_capacity(changes.len());
        for (at, (change, route)) in changes.iter().zip(&routes).enumerate() {
            let old = self.own.get(&route.dst);
            let planned = match (change, old) {
                (FibChange::Remove(_), _) => Ok(vec![(Step::Remove(at), remove(old.unwrap_or(route)))]),
                (FibChange::Replace(_), Some(old)) if old.metric != route.metric => self.add(route).map(|add| {
                    let mut steps = vec![(Step::Add(at), add), (Step::Remove(at), remove(old))];
                    if old.metric == 0 {
                        // That removes one of any metric, where the kernel had dropped ours.
                        steps.reverse();
                    }
                    steps
                }),
                (FibChange::Replace(_), Some(old)) if old != route => self
                    .append(route)
                    .and_then(|append| Ok(vec![(Step::Append(at), append), (Step::Drop(at), self.drop(old)?)])),
                (FibChange::Replace(_), _) => self.add(route).map(|add| vec![(Step::Add(at), add)]),
            };
            match planned {
                Ok(planned) => {
                    for (step, request) in planned {
                        steps.push(step);
                        requests.push(request);
                    }
                }
                Err(reason) => results[at] = Err(reason),
            }
        }
        let answers = match self.socket.batch(requests) {
            Ok(answers) => answers,
            Err(error) => {
                let reason = KernelReason::from(error);
                return self.conclude(changes, &routes, vec![Err(reason); changes.len()], &HashMap::new());
            }
        };
        // Changes about which the kernel's table has to be asked, and those that are as we wrote them the last time.
        let (mut doubtful, mut same) = (Vec::new(), Vec::new());
        for (step, answer) in steps.into_iter().zip(answers) {
            match (step, answer) {
                (Step::Add(at), Err(reason)) if reason.is(Errno::EEXIST) => {
                    let is_same = self.own.get(&routes[at].dst) == Some(&routes[at]);
                    if is_same { &mut same } else { &mut doubtful }.push(at);
                }
                (Step::Append(_), Err(reason)) if reason.is(Errno::EEXIST) => {}
                (Step::Add(at) | Step::Append(at), Err(reason)) => results[at] = Err(reason),
                // The kernel had dropped the old one, and somebody may have taken its place: start again.
                (Step::Drop(at), Err(_)) if results[at].is_ok() => {
                    let route = &routes[at];
                    let again = self.drop(route).and_then(|drop| Ok(vec![drop, self.add(route)?]));
                    match again.and_then(|again| Ok(self.socket.batch(again)?)).map(|mut answers| answers.pop()) {
                        Ok(Some(Err(reason))) if reason.is(Errno::EEXIST) => doubtful.push(at),
                        Ok(Some(Err(reason))) | Err(reason) => results[at] = Err(reason),
                        Ok(_) => {}
                    }
                }
                (Step::Remove(at), Err(reason)) if !reason.is(Errno::ESRCH) && !reason.is(Errno::ENODEV) => {
                    results[at] = Err(reason);
                }
                _ => {}
            }
        }
        doubtful.extend(self.confirm(&same, &routes, &mut results));
        let holders = self.resolve(&doubtful, &routes, &mut results);
        self.conclude(changes, &routes, results, &holders)
    }

    /// Settles the additions of what we wrote before: of a peer that goes and comes back there may be as many as it has routes, and the
    /// kernel's whole table is not to be asked for each few of them. Returns those where the kernel had dropped ours.
    fn confirm(&mut self, same: &[usize], routes: &[Route], results: &mut [Result<(), KernelReason>]) -> Vec<usize> {
        let appends: Result<Vec<Request>, KernelReason> = same.iter().map(|at| self.append(&routes[*at])).collect();
        let answers = match appends.and_then(|appends| Ok(self.socket.batch(appends)?)) {
            Ok(answers) => answers,
            Err(reason) => {
                same.iter().for_each(|at| results[*at] = Err(reason.clone()));
                return Vec::new();
            }
        };
        let mut dropped = Vec::new();
        for (&at, answer) in same.iter().zip(answers) {
            match answer {
                // The very route is there.
                Err(reason) if reason.is(Errno::EEXIST) => {}
                Err(reason) => results[at] = Err(reason),
                // Somebody else's is, and now ours behind it.
                Ok(()) => match self.drop(&routes[at]).and_then(|drop| Ok(self.socket.batch(vec![drop])?)) {
                    Ok(_) => dropped.push(at),
                    Err(reason) => results[at] = Err(reason),
                },
            }
        }
        dropped
    }

    /// Settles the additions that found something of the same key: ours from an earlier life is replaced, somebody else's
    /// stays, and the addition has failed. Returns who wrote those.
    fn resolve(
        &mut self,
        doubtful: &[usize],
        routes: &[Route],
        results: &mut [Result<(), KernelReason>],
    ) -> HashMap<usize, RouteProtocol> {
        let mut holders = HashMap::new();
        if doubtful.is_empty() {
            return holders;
        }
        let there = match self.read() {
            Ok(there) => there,
            Err(error) => {
                let reason = KernelReason::from(error);
                doubtful.iter().for_each(|at| results[*at] = Err(reason.clone()));
                return holders;
            }
        };
        for &at in doubtful {
            let route = &routes[at];
            let same_key: Vec<&Route> = there.iter().filter(|other| key(other) == key(route)).collect();
            if same_key.contains(&route) {
                continue;
            }
            let ours = same_key.iter().find(|other| other.proto == RouteProtocol::BIRD);
            results[at] = match (ours, same_key.first()) {
                (Some(ours), _) => self.append(route).and_then(|append| {
                    let answers = self.socket.batch(vec![append, self.drop(ours)?])?;
                    answers.into_iter().next().unwrap_or(Ok(()))
                }),
                (None, holder) => {
                    holders.extend(holder.map(|holder| (at, holder.proto)));
                    Err(KernelReason::errno(Errno::EEXIST))
                }
            };
        }
        holders
    }

    /// Records what is ours now, and words the failures.
    fn conclude(
        &mut self,
        changes: &[FibChange],
        routes: &[Route],
        results: Vec<Result<(), KernelReason>>,
        holders: &HashMap<usize, RouteProtocol>,
    ) -> Vec<Result<(), FabricError>> {
        let netns = &self.netns;
        let own = &mut self.own;
        let each = changes.iter().zip(routes).zip(results).enumerate();
        each.map(|(at, ((change, route), result))| {
            match (change, &result) {
                (FibChange::Replace(_), Ok(())) => drop(own.insert(route.dst, route.clone())),
                (FibChange::Remove(_), Ok(())) => drop(own.remove(&route.dst)),
                // What was there before may be there still.
                (_, Err(_)) => {}
            }
            result.map_err(|reason| match holders.get(&at) {
                Some(holder) => {
                    FabricError::RouteTaken { route: Box::new(route.clone()), netns: netns.clone(), holder: *holder }
                }
                None => FabricError::Change {
                    change: Box::new(match change {
                        FibChange::Replace(_) => Change::AddRoute(route.clone()),
                        FibChange::Remove(_) => Change::RemoveRoute(route.clone()),
                    }),
                    netns: netns.clone(),
                    reason,
                },
            })
        })
        .collect()
    }

    /// Looks the links up again if one is named that was not there the last time, as a new pod's is.
    fn learn_links(&mut self, routes: &[Route]) {
        let named = routes
            .iter()
            .flat_map(|route| route.dev.iter().chain(route.nexthops.iter().filter_map(|hop| hop.dev.as_ref())));
        if named.into_iter().any(|dev| !self.links.contains_key(dev))
            && let Ok(links) = indices(&mut self.socket)
        {
            self.links = links;
        }
    }

    fn read(&mut self) -> io::Result<Vec<Route>> {
        let names = self.links.iter().map(|(name, index)| (*index, name.clone())).collect();
        observe::dump_routes(&mut self.socket, &names)
    }

    fn add(&self, route: &Route) -> Result<Request, KernelReason> {
        let message = encode::route(route, |dev| self.index(dev))?;
        Ok((NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(message)))
    }

    fn append(&self, route: &Route) -> Result<Request, KernelReason> {
        let message = encode::route(route, |dev| self.index(dev))?;
        Ok((NLM_F_CREATE | NLM_F_APPEND, RouteNetlinkMessage::NewRoute(message)))
    }

    fn drop(&self, route: &Route) -> Result<Request, KernelReason> {
        // An interface that has gone took the route with it: any index that never was finds nothing.
        let message = encode::remove_route(route, |dev| Ok(self.index(dev).unwrap_or(i32::MAX.cast_unsigned())))?;
        Ok((0, message))
    }

    fn index(&self, dev: &IfName) -> Result<u32, KernelReason> {
        self.links
            .get(dev)
            .copied()
            .ok_or_else(|| KernelReason { errno: Errno::ENODEV as i32, text: Some(format!("there is no link {dev}")) })
    }
}

fn remove(route: &Route) -> Request {
    (0, encode::remove_any_route(route, RouteProtocol::BIRD))
}

fn is_no_device(result: &Result<(), FabricError>) -> bool {
    matches!(result, Err(FabricError::Change { reason, .. }) if reason.is(Errno::ENODEV))
}

fn route_of(change: &FibChange) -> &Route {
    match change {
        FibChange::Replace(route) | FibChange::Remove(route) => route,
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The queue of the one thread that writes routes, started at first use.
fn thread_queue() -> &'static mpsc::Sender<Job> {
    static QUEUE: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("routes".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .expect("a thread can be started");
        queue
    })
}
