//! What a step needs of a lab.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bgp::view::{PathView, SpeakerView};
use crate::net::{FdbEntry, LabName, Link, Neighbour, Route};
use crate::probe::PathMtuDiscovery;
use crate::scenario::{Do, ExecResult, HttpResult, PingResult, Place, SeenPacket};

/// A running lab, as steps see it. Implementors write the methods as `async fn`.
///
/// What is wrong with the *lab* is a value: a ping without answer is a [`PingResult`], a refused connection an
/// [`HttpResult`]. [`LabError`] is for what kept the step from finding out.
/// Any future may be dropped before it ends (its step's time is over): nothing may be left running then.
pub trait Lab: Sync {
    /// A capture under way; dropping it ends it.
    type Capture: Send;

    /// The lab's name.
    fn name(&self) -> &LabName;

    /// The address of a node (its BGP address), of a router (its first one) or of a pod; `None` for any other name.
    fn address(&self, who: &str) -> Option<IpAddr>;

    /// Whether `address` is one of those of `who`.
    fn has_address(&self, who: &str, address: IpAddr) -> bool {
        self.address(who) == Some(address)
    }

    /// Table main of the namespace of `on`: a node, a pod, `fabric` or `gateway`, like every `on` here.
    fn routes(&self, on: &str) -> impl Future<Output = Result<Vec<Route>, LabError>> + Send;

    /// The interfaces of a namespace.
    fn links(&self, on: &str) -> impl Future<Output = Result<Vec<Link>, LabError>> + Send;

    /// The neighbour entries of a namespace, IPv4 and IPv6.
    fn neighbours(&self, on: &str) -> impl Future<Output = Result<Vec<Neighbour>, LabError>> + Send;

    /// The forwarding entries of a namespace's bridges and VXLAN devices.
    fn fdb(&self, on: &str) -> impl Future<Output = Result<Vec<FdbEntry>, LabError>> + Send;

    /// A node's speaker.
    fn bgp(&self, node: &str) -> impl Future<Output = Result<SpeakerView, LabError>> + Send;

    /// Every path of a speaker's table.
    fn paths(&self, node: &str) -> impl Future<Output = Result<Vec<PathView>, LabError>> + Send;

    /// Sends echo requests, and returns when each is answered or `timeout` is over.
    fn ping(&self, request: &PingRequest) -> impl Future<Output = Result<PingResult, LabError>> + Send;

    /// Gets a page, and returns with the answer or when `timeout` is over.
    fn curl(&self, request: &HttpRequest) -> impl Future<Output = Result<HttpResult, LabError>> + Send;

    /// Runs a command, and kills it when `timeout` is over ([`LabError::NotInTime`]).
    fn exec(&self, request: &ExecRequest) -> impl Future<Output = Result<ExecResult, LabError>> + Send;

    /// Starts to capture; when it returns, no packet on `on` escapes any more. `filter` is in tcpdump's words.
    fn capture_start(
        &self,
        on: &[Place],
        filter: Option<&str>,
    ) -> impl Future<Output = Result<Self::Capture, LabError>> + Send;

    /// Ends a capture and returns all that the sockets still hold: every packet that was on the wire before the call.
    fn capture_stop(&self, capture: Self::Capture) -> impl Future<Output = Result<Captured, LabError>> + Send;

    /// Changes the lab and waits until it has converged again, [`LabError::NotInTime`] after `limit`.
    fn act(&self, action: &Do, limit: Duration) -> impl Future<Output = Result<(), LabError>> + Send;

    /// Waits until the lab has converged, [`LabError::NotInTime`] after `limit`.
    fn converged(&self, limit: Duration) -> impl Future<Output = Result<(), LabError>> + Send;

    /// Ends when something in the lab changes after the first poll: a session, a route, a link. It only makes a state
    /// assertion hold sooner; a lab that cannot tell leaves this default, which never ends.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Writes what shows why step `step` (from 1) did not pass into `artefacts/<scenario>/`: routes and sessions of every
    /// node, and the capture if there was one. Returns the paths.
    fn keep(
        &self,
        scenario: &str,
        step: usize,
        captured: Option<&Captured>,
    ) -> impl Future<Output = Result<Vec<String>, LabError>> + Send;
}

/// Why a step could not find out what it was to find out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The lab was given its time and is not there: the step *failed* (exit code 1).
    #[error("{what}")]
    NotInTime {
        /// What was waited for, in words.
        what: String,
        /// What does not hold, one line each: `node1: session with node2 is Active`.
        missing: Vec<String>,
    },
    /// Something broke that has nothing to do with what is shown: an *error* (exit code 3).
    #[error("{0}")]
    Broken(String),
}

/// Echo requests to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingRequest {
    /// The node or pod that sends.
    pub from: String,
    /// Where to.
    pub to: IpAddr,
    /// How many, each as soon as the one before is answered; at least 1.
    pub count: u32,
    /// Payload in bytes.
    pub size: u16,
    /// What is done with a request that is longer than the path's MTU, as far as that is known.
    pub path_mtu: PathMtuDiscovery,
    /// For all of them together.
    pub timeout: Duration,
}

/// A page to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The node or pod that asks.
    pub from: String,
    /// Where to.
    pub to: SocketAddr,
    /// Path with query, beginning with `/`.
    pub path: String,
    /// For all of it together.
    pub timeout: Duration,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// Where.
    pub on: String,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// For all of it together.
    pub timeout: Duration,
}

/// What a capture saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The packets, in the order of their time stamps.
    pub packets: Vec<SeenPacket>,
    /// The same as a pcapng file.
    pub pcapng: Vec<u8>,
}
