//! A lab that stands, as a scenario's steps see it: the kernel looked at directly, the daemon asked for the rest.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::lab::{Captured, ExecRequest, HttpRequest, Lab, LabError, PingRequest};
use crate::bgp::view::{PathView, SpeakerView};
use crate::capture::pcapng::{Flush, Writer};
use crate::capture::{Captured as Frame, Tap};
use crate::control::{Change, Client, DoRequest, Order, Outcome, StateDir, StateError, WaitRequest};
use crate::fabric::netns::Netns;
use crate::fabric::observe;
use crate::net::{FdbEntry, IfName, LabName, Link, Neighbour, Route};
use crate::packet::echo::IcmpError;
use crate::packet::{self, Filter, Layer, LinkType, Packet};
use crate::plan::Plan;
use crate::probe::{HttpError, PingOptions, http_get, ping};
use crate::report::chain;
use crate::scenario::{
    Do, Encap, ExecResult, HttpResult, LinkAction, Obstacle, PeerAction, PingReply, PingResult, Place, SeenPacket,
};
use crate::topology::Topology;

/// How long one echo reply may take, where the step has more time: far more than any path inside one host.
const REPLY: Duration = Duration::from_secs(1);

/// A lab by its state directory.
#[derive(Debug)]
pub struct LiveLab {
    name: LabName,
    topology: Topology,
    plan: Plan,
    client: Client,
    artefacts: PathBuf,
}

impl LiveLab {
    /// The lab of `state`; artefacts go below `artefacts`.
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub fn open(state: &StateDir, artefacts: &Path) -> Result<Self, StateError> {
        let (topology, plan) = state.plan()?;
        let name = state.lab().clone();
        Ok(Self { name, topology, plan, client: Client::new(state), artefacts: artefacts.into() })
    }

    /// The topology that it was made from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    fn netns(&self, on: &str) -> Result<Netns, LabError> {
        let planned = self.plan.namespaces.iter().find(|netns| netns.name == on);
        let planned = planned.ok_or_else(|| LabError::Broken(format!("lab `{}` has no `{on}`", self.name)))?;
        Netns::open(&planned.netns).map_err(|error| LabError::Broken(format!("open netns {}: {error}", planned.netns)))
    }

    fn observe<T>(&self, on: &str, look: impl FnOnce(&Netns) -> std::io::Result<T>) -> Result<T, LabError> {
        look(&self.netns(on)?).map_err(|error| LabError::Broken(format!("look at `{on}`: {error}")))
    }

    fn write_artefacts(
        &self,
        folder: &Path,
        speakers: &str,
        captured: Option<&Captured>,
    ) -> std::io::Result<Vec<String>> {
        fs::create_dir_all(folder)?;
        let mut written = Vec::new();
        let mut write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes)?;
            written.push(path.display().to_string());
            std::io::Result::Ok(())
        };
        let mut routes = String::new();
        for netns in &self.plan.namespaces {
            routes.push_str(&format!("# {}\n", netns.name));
            match Netns::open(&netns.netns).and_then(|netns| observe::routes(&netns)) {
                Ok(table) => table.iter().for_each(|route| routes.push_str(&format!("{route}\n"))),
                Err(error) => routes.push_str(&format!("# {error}\n")),
            }
        }
        write("routes.txt", routes.as_bytes())?;
        write("sessions.json", speakers.as_bytes())?;
        if let Some(captured) = captured {
            write("capture.pcapng", &captured.pcapng)?;
        }
        Ok(written)
    }
}

impl Lab for LiveLab {
    type Capture = Taps;

    fn name(&self) -> &LabName {
        &self.name
    }

    fn address(&self, who: &str) -> Option<IpAddr> {
        let pod = self.plan.pods.iter().find(|pod| pod.name == who).map(|pod| pod.address);
        let interface = || self.topology.interfaces(who).map(|interfaces| interfaces[0].address.addr());
        pod.or_else(interface).map(IpAddr::V4)
    }

    fn has_address(&self, who: &str, address: IpAddr) -> bool {
        self.plan.namespace(who).is_some_and(|netns| netns.has_address(address))
    }

    async fn routes(&self, on: &str) -> Result<Vec<Route>, LabError> {
        self.observe(on, observe::routes)
    }

    async fn links(&self, on: &str) -> Result<Vec<Link>, LabError> {
        self.observe(on, observe::links)
    }

    async fn neighbours(&self, on: &str) -> Result<Vec<Neighbour>, LabError> {
        self.observe(on, observe::neighbours)
    }

    async fn fdb(&self, on: &str) -> Result<Vec<FdbEntry>, LabError> {
        self.observe(on, observe::fdb)
    }

    async fn bgp(&self, node: &str) -> Result<SpeakerView, LabError> {
        self.client.speaker(node).await.map_err(broken)
    }

    async fn paths(&self, node: &str) -> Result<Vec<PathView>, LabError> {
        self.client.paths(node).await.map_err(broken)
    }

    async fn ping(&self, request: &PingRequest) -> Result<PingResult, LabError> {
        let IpAddr::V4(target) = request.to else {
            return Err(LabError::Broken(format!("ping {}: only IPv4 is spoken here", request.to)));
        };
        let options = PingOptions {
            count: request.count,
            size: request.size,
            path_mtu: request.path_mtu,
            timeout: REPLY.min(request.timeout / request.count.max(1)),
            ..PingOptions::new(target)
        };
        let report = ping(&self.netns(&request.from)?, &options).await.map_err(broken)?;
        let replies = report.replies.iter().map(|reply| PingReply {
            sequence: u16::try_from(reply.seq).unwrap_or(u16::MAX),
            ttl: reply.ttl,
            round_trip: reply.rtt,
        });
        let from_others = report.errors.iter().map(|error| match error {
            IcmpError { icmp_type: 3, code: 4, from, mtu, .. } => {
                Obstacle::FragmentationNeeded { from: (*from).into(), mtu: *mtu }
            }
            other => Obstacle::Other(other.to_string()),
        });
        let own = report.local_errors.iter().map(|error| match error.mtu {
            Some(mtu) => Obstacle::Local { mtu: Some(mtu) },
            None => Obstacle::Other(error.to_string()),
        });
        Ok(PingResult { sent: report.sent, replies: replies.collect(), obstacles: from_others.chain(own).collect() })
    }

    async fn curl(&self, request: &HttpRequest) -> Result<HttpResult, LabError> {
        let netns = self.netns(&request.from)?;
        match http_get(&netns, request.to, None, &request.path, request.timeout).await {
            Ok(reply) => Ok(HttpResult::Answer { status: reply.status, body: reply.text(), length: reply.body.len() }),
            Err(error @ (HttpError::Request { .. } | HttpError::Connect { .. })) => Err(broken(error)),
            Err(error) => Ok(HttpResult::None(chain(&error))),
        }
    }

    async fn exec(&self, request: &ExecRequest) -> Result<ExecResult, LabError> {
        // This process has threads, and a mount namespace can only be entered by one that has none: the program itself
        // becomes the command.
        let mut command = Command::new("/proc/self/exe");
        command.args(["exec", "--lab", self.name.as_str(), &request.on, "--"]).args(&request.command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let what = request.command.join(" ");
        match tokio::time::timeout(request.timeout, command.output()).await {
            Err(_) => Err(LabError::NotInTime { what: format!("`{what}` did not end"), missing: Vec::new() }),
            Ok(Err(error)) => Err(LabError::Broken(format!("run `{what}`: {error}"))),
            Ok(Ok(output)) => {
                use std::os::unix::process::ExitStatusExt as _;
                let status = output.status;
                Ok(ExecResult {
                    status: status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
                    stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                })
            }
        }
    }

    async fn capture_start(&self, on: &[Place], filter: Option<&str>) -> Result<Taps, LabError> {
        let filter = filter.map(Filter::parse).transpose().map_err(|error| LabError::Broken(error.to_string()))?;
        let mut places: Vec<(&str, Vec<IfName>)> = Vec::new();
        for place in on {
            match places.iter_mut().find(|(name, _)| *name == place.namespace) {
                Some((_, interfaces)) => interfaces.push(place.interface.clone()),
                None => places.push((&place.namespace, vec![place.interface.clone()])),
            }
        }
        let taps = places.into_iter().map(|(place, interfaces)| {
            let tap = Tap::open(&self.netns(place)?, &interfaces).map_err(broken)?;
            Ok((place.to_owned(), tap))
        });
        Ok(Taps { filter, taps: taps.collect::<Result<_, LabError>>()? })
    }

    async fn capture_stop(&self, capture: Taps) -> Result<Captured, LabError> {
        capture.drain().map_err(|error| LabError::Broken(format!("read a capture: {error}")))
    }

    async fn act(&self, action: &Do, limit: Duration) -> Result<(), LabError> {
        let change = match action {
            Do::Peer { action, node, with } => Change::Peer {
                node: node.value.clone(),
                with: with.value.clone(),
                order: match action {
                    PeerAction::Disable => Order::Disable,
                    PeerAction::Enable => Order::Enable,
                    PeerAction::Restart => Order::Restart,
                },
            },
            Do::Link { action, on } => Change::Link {
                on: on.value.namespace.clone(),
                interface: on.value.interface.clone(),
                up: matches!(action, LinkAction::Up),
            },
        };
        let outcome = self.client.change(&DoRequest { change, timeout_ms: millis(limit) }).await.map_err(broken)?;
        in_time(outcome)
    }

    async fn converged(&self, limit: Duration) -> Result<(), LabError> {
        in_time(self.client.wait(&WaitRequest { timeout_ms: millis(limit) }).await.map_err(broken)?)
    }

    async fn keep(&self, scenario: &str, step: usize, captured: Option<&Captured>) -> Result<Vec<String>, LabError> {
        let speakers = match self.client.speakers().await {
            Ok(speakers) => serde_json::to_string_pretty(&speakers).map_err(broken)?,
            Err(error) => format!("{{\"error\": {:?}}}\n", chain(&error)),
        };
        let folder = self.artefacts.join(file_name(scenario)).join(format!("step-{step}"));
        self.write_artefacts(&folder, &speakers, captured)
            .map_err(|error| LabError::Broken(format!("write {}: {error}", folder.display())))
    }
}

/// A capture under way: one tap per namespace.
#[derive(Debug)]
pub struct Taps {
    filter: Option<Filter>,
    taps: Vec<(String, Tap)>,
}

impl Taps {
    /// Everything that was heard, by time.
    fn drain(mut self) -> std::io::Result<Captured> {
        let mut frames: Vec<(usize, Frame, Packet)> = Vec::new();
        let mut interfaces: Vec<(String, LinkType)> = Vec::new();
        for (place, tap) in &mut self.taps {
            let first = interfaces.len();
            interfaces.extend(tap.interfaces().iter().map(|ear| (format!("{place}:{}", ear.name), ear.link)));
            while let Some(frame) = tap.try_next()? {
                let index = first + frame.interface;
                let decoded = packet::decode(interfaces[index].1, &frame.bytes, frame.original_len);
                if self.filter.as_ref().is_none_or(|filter| filter.matches(&decoded)) {
                    frames.push((index, frame, decoded));
                }
            }
            let dropped = tap.dropped()?;
            if dropped > 0 {
                return Err(std::io::Error::other(format!("the kernel dropped {dropped} packets at `{place}`")));
            }
        }
        frames.sort_by_key(|(_, frame, _)| frame.timestamp);
        let mut file = Writer::new(Vec::new(), Flush::WhenFull)?;
        let ids = interfaces.iter().map(|(label, link)| file.add_interface(label, *link));
        let ids = ids.collect::<std::io::Result<Vec<_>>>()?;
        let mut packets = Vec::with_capacity(frames.len());
        for (index, frame, decoded) in &frames {
            file.write(ids[*index], frame)?;
            packets.push(seen(&interfaces[*index].0, frame, decoded));
        }
        Ok(Captured { packets, pcapng: file.finish()? })
    }
}

fn seen(interface: &str, frame: &Frame, packet: &Packet) -> SeenPacket {
    let inner = packet.innermost_ip();
    let outer = packet.outermost_ip().filter(|_| packet.encapsulation() != packet::Encap::None);
    let ports = packet.tcp().map(|tcp| (tcp.source, tcp.destination));
    let vxlan = packet.layers.iter().find_map(|layer| match layer {
        Layer::Vxlan(vxlan) => Some(vxlan),
        _ => None,
    });
    let outer_port = |layer: &Layer| match layer {
        Layer::Udp(udp) => Some(udp.destination),
        _ => None,
    };
    SeenPacket {
        interface: interface.into(),
        at: frame.timestamp,
        identity: packet.identity(),
        encap: match packet.encapsulation() {
            packet::Encap::None => Encap::None,
            packet::Encap::Ipip => Encap::Ipip,
            packet::Encap::Vxlan => Encap::Vxlan,
        },
        src: inner.map(|pair| pair.source),
        dst: inner.map(|pair| pair.destination),
        outer_src: outer.map(|pair| pair.source),
        outer_dst: outer.map(|pair| pair.destination),
        outer_ttl: outer.and_then(|_| packet.outermost_ipv4()).map(|ip| ip.ttl),
        outer_port: vxlan.and_then(|_| packet.layers.iter().find_map(outer_port)),
        vni: vxlan.map(|vxlan| vxlan.vni),
        overhead: packet.overhead(),
        ttl: packet.innermost_ipv4().map(|ip| ip.ttl),
        protocol: packet.innermost_ipv4().map(|ip| ip.protocol),
        ports: ports.or_else(|| packet.udp().map(|udp| (udp.source, udp.destination))),
        length: frame.original_len,
        text: packet::line(packet, frame.timestamp, interface, frame.direction),
    }
}

/// A scenario's name as one component of a path, whatever the file calls it.
fn file_name(scenario: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = scenario.chars().map(safe).collect();
    if name.trim_matches('.').is_empty() { "_".into() } else { name }
}

fn in_time(outcome: Outcome) -> Result<(), LabError> {
    match outcome.converged {
        true => Ok(()),
        false => Err(LabError::NotInTime { what: "the lab has not converged".into(), missing: outcome.missing }),
    }
}

fn broken(error: impl std::error::Error) -> LabError {
    LabError::Broken(chain(&error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenarios_name_leads_nowhere_but_into_the_artefacts() {
        let names = ["calico-bgp-fullmesh", "two hops", "../../etc", "..", ""].map(file_name);
        assert_eq!(names, ["calico-bgp-fullmesh", "two_hops", ".._.._etc", "_", "_"]);
    }
}
