//! What goes over the control socket (HTTP/1.1 with JSON bodies) and, while a lab comes up, from the daemon to `lab up`.
//!
//! | Request | Body | Answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`LabStatus`] |
//! | `GET /v1/speakers` | | `[SpeakerView]` |
//! | `GET /v1/speakers/{node}` | | `SpeakerView` |
//! | `GET /v1/speakers/{node}/paths` | | `[PathView]` |
//! | `GET /v1/speakers/{node}/exported/{peer}` | | `[PathView]` |
//! | `POST /v1/wait` | [`WaitRequest`] | [`Outcome`] |
//! | `POST /v1/do` | [`DoRequest`] | [`Outcome`] |
//!
//! What the lab refuses is a status of 422 with a body of [`Refusal`]; what is none of these requests, another 4xx with plain text.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::bgp_io::Order;
use crate::net::{ExternalSpeaker, IfName, LabName};
use crate::tunnel::Statistics;

/// One lab at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LabStatus {
    /// The lab.
    #[schemars(with = "String")]
    pub lab: LabName,
    /// The topology file it came from.
    pub file: PathBuf,
    /// The daemon's process.
    pub pid: u32,
    /// Converged, faults in force considered.
    pub converged: bool,
    /// What is missing; empty when converged.
    pub missing: Vec<String>,
    /// Faults in force, in words.
    pub faults: Vec<String>,
    /// From the start of `up` to the first convergence, in milliseconds; `None` before it.
    pub converged_after_ms: Option<u64>,
    /// What carries IPIP packets; `none` where no pool uses it.
    pub tunl0: String,
    /// natOutgoing: `on`, `off: no pool has it`, or `off: ` with what is missing.
    pub nat_outgoing: String,
    /// Nodes in file order.
    pub nodes: Vec<NodeStatus>,
    /// Declared routers in file order.
    pub routers: Vec<RouterStatus>,
    /// Pods in file order.
    pub pods: Vec<PodStatus>,
}

/// One node at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeStatus {
    /// The node.
    pub name: String,
    /// Its BGP address with the mask.
    #[schemars(with = "String")]
    pub address: Ipv4Net,
    /// Its AS.
    pub as_number: u32,
    /// Its IPAM blocks.
    #[schemars(with = "Vec<String>")]
    pub blocks: Vec<Ipv4Net>,
    /// How many pods it runs.
    pub pods: usize,
    /// Sessions that are Established.
    pub sessions_established: usize,
    /// Sessions that are configured.
    pub sessions: usize,
    /// Routes that its speaker has put into the kernel, `proto bird` or FRR's `proto bgp`.
    pub routes: usize,
    /// The daemon in the place of lab's own speaker.
    pub speaker: Option<ExternalSpeaker>,
    /// Its `tunl0`, where that is served in user space.
    pub tunl0: Option<Tunl0Status>,
}

/// A `tunl0` in user space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tunl0Status {
    /// Why it no longer carries packets; `None` while it does.
    pub failure: Option<String>,
    /// What it carried and dropped.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// One declared router at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RouterStatus {
    /// The router.
    pub name: String,
    /// Its addresses with their masks.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<Ipv4Net>,
    /// Its AS; without one it speaks no BGP.
    pub as_number: Option<u32>,
    /// What it originates.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<Ipv4Net>,
    /// Sessions that are Established.
    pub sessions_established: usize,
    /// Sessions that are configured.
    pub sessions: usize,
    /// Routes that its speaker has put into the kernel, `proto bird` or FRR's `proto bgp`.
    pub routes: usize,
    /// The daemon in the place of lab's own speaker.
    pub speaker: Option<ExternalSpeaker>,
}

/// One pod at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PodStatus {
    /// The pod.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Wait until the lab has converged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitRequest {
    /// How long, in milliseconds.
    pub timeout_ms: u64,
}

/// Change something and wait until the lab has converged again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoRequest {
    /// What to change.
    pub change: Change,
    /// How long convergence may take, in milliseconds.
    pub timeout_ms: u64,
}

/// One change of a running lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Set an interface up or down.
    Link {
        /// A node, router, pod, `fabric` or `gateway`.
        on: String,
        /// The interface.
        interface: IfName,
        /// Up or down.
        up: bool,
    },
    /// Disable, enable or restart one side of a session.
    Peer {
        /// Whose side.
        node: String,
        /// The peer: a node's name, an address, or the session's name.
        with: String,
        /// What to do.
        order: Order,
    },
}

/// How waiting for convergence ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// It converged in time.
    pub converged: bool,
    /// What does not hold, the first few per node.
    pub missing: Vec<String>,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub error: String,
}

/// One line from the daemon to `lab up`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpEvent {
    /// The fabric grows.
    Building {
        /// Steps done.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// The fabric stands, the speakers run.
    Converging {
        /// Sessions established.
        established: usize,
        /// Sessions awaited.
        awaited: usize,
    },
    /// The lab stands.
    Converged,
    /// The lab stands, but has not converged in time.
    NotConverged {
        /// The first predicates that do not hold.
        missing: Vec<String>,
    },
    /// The lab could not be built, and nothing of it is left.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_daemon_is_one_json_value_that_reads_back() {
        let events = [
            (UpEvent::Building { done: 1, total: 2 }, r#"{"building":{"done":1,"total":2}}"#),
            (UpEvent::Converging { established: 3, awaited: 6 }, r#"{"converging":{"established":3,"awaited":6}}"#),
            (UpEvent::Converged, r#""converged""#),
            (UpEvent::NotConverged { missing: vec!["a\nb".into()] }, r#"{"not-converged":{"missing":["a\nb"]}}"#),
            (UpEvent::Failed { message: "no".into() }, r#"{"failed":{"message":"no"}}"#),
        ];
        for (event, line) in events {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<UpEvent>(line).unwrap(), event);
        }
    }
}
