//! A scenario in which every step has exactly one verb and no option contradicts another.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::pattern::{FdbPattern, NeighbourPattern, RoutePattern};
pub use super::read::At;
use super::read::words;
use crate::bgp::view::State;
use crate::net::{IfName, LinkKind, MacAddr, Route, RouteProtocol};

/// A whole scenario. Made by [`parse`](super::parse) only.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The topology file, relative to the scenario's.
    pub topology: At<String>,
    /// The name, where the file gives one; else it is the file's stem.
    pub name: Option<String>,
    /// Which tunl0 it needs.
    pub provider: Option<Provider>,
    /// It needs a kernel that can masquerade.
    pub masquerade: bool,
    /// How long all steps together may take.
    pub timeout: Option<Duration>,
    /// The steps; never empty.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it shows, where the file says so.
    pub name: Option<String>,
    /// `within`, where the file says so.
    pub within: Option<Duration>,
    /// Whether its packets come through; `Fail` with ping, curl and capture only.
    pub expect: Expect,
    /// What it does.
    pub verb: Verb,
    /// Where it stands in the file.
    pub span: Range<usize>,
}

impl Step {
    /// How long a step may take that does not say `within`.
    pub const DEFAULT_WITHIN: Duration = Duration::from_secs(10);
    /// How long an answer that must *not* come is waited for, where the step does not say `within`: long enough for
    /// any path inside one host, and the only time a scenario ever waits out.
    pub const SILENCE: Duration = Duration::from_secs(1);

    /// How long the step may take.
    pub fn time_limit(&self) -> Duration {
        match (self.within, self.expect) {
            (Some(within), _) => within,
            (None, Expect::Fail) => Self::SILENCE,
            (None, Expect::Pass) => Self::DEFAULT_WITHIN,
        }
    }

    /// What the report calls it: its name, or its verb and what it is about.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None if self.expect == Expect::Fail => format!("{}, in vain", self.verb),
            None => self.verb.to_string(),
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `ping`
    Ping(Ping),
    /// `mtu`
    Mtu(Mtu),
    /// `curl`
    Curl(Curl),
    /// `capture`
    Capture(Box<Capture>),
    /// `routes`, `neighbours`, `fdb`, `links` or `bgp`.
    State(StateCheck),
    /// `wait`
    Wait(Wait),
    /// `exec`
    Exec(Exec),
    /// `do`
    Do(Do),
}

impl Verb {
    /// The verb as the file spells it.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Ping(_) => "ping",
            Self::Mtu(_) => "mtu",
            Self::Curl(_) => "curl",
            Self::Capture(_) => "capture",
            Self::State(state) => state.keyword(),
            Self::Wait(_) => "wait",
            Self::Exec(_) => "exec",
            Self::Do(_) => "do",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(ping) => write!(f, "{ping}"),
            Self::Mtu(mtu) => write!(f, "{mtu}"),
            Self::Curl(curl) => write!(f, "{curl}"),
            Self::Capture(capture) => {
                let on: Vec<String> = capture.on.iter().map(|place| place.to_string()).collect();
                let during: Vec<String> = capture.during.iter().map(|traffic| traffic.to_string()).collect();
                write!(f, "capture on {} during {}", on.join(", "), during.join(", "))
            }
            Self::State(state) => write!(f, "{state}"),
            Self::Wait(Wait::Converged) => write!(f, "wait until converged"),
            Self::Wait(Wait::State(state)) => write!(f, "wait for {state}"),
            Self::Exec(exec) => write!(f, "{exec}"),
            Self::Do(action) => write!(f, "{action}"),
        }
    }
}

/// ICMP echo requests; every one must be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Ping {
    /// Who sends.
    pub from: At<String>,
    /// Who answers: a name or an address.
    pub to: At<String>,
    /// How many; at least 1.
    pub count: u32,
    /// TTL of every reply.
    pub ttl: Option<u8>,
    /// Payload in bytes.
    pub size: u16,
    /// Don't Fragment.
    pub df: bool,
    /// Text of what must come back instead of a reply.
    pub error: Option<String>,
}

impl fmt::Display for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ping {} -> {}", self.from.value, self.to.value)
    }
}

/// The largest IP packet that passes without being fragmented, and what one byte more brings.
#[derive(Clone, Debug, PartialEq)]
pub struct Mtu {
    /// Who sends.
    pub from: At<String>,
    /// Who answers: a name or an address.
    pub to: At<String>,
    /// Length in bytes of the largest packet, its IP header included.
    pub largest: u16,
    /// What becomes of a packet that is one byte longer; `None` may be anything.
    pub beyond: Option<Beyond>,
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mtu {} -> {}", self.from.value, self.to.value)
    }
}

/// What becomes of a packet that is too long.
#[derive(Clone, Debug, PartialEq)]
pub enum Beyond {
    /// Nothing comes back: whoever drops it does not say so.
    Silence,
    /// The sender's own kernel refuses it and names this MTU.
    Local(u16),
    /// Somebody on the way answers with ICMP "fragmentation needed" (RFC 1191 §4).
    FragmentationNeeded {
        /// Who: a node or pod, whichever of its addresses it speaks from, or an address.
        from: At<String>,
        /// The next hop's MTU that it names.
        mtu: u16,
    },
}

/// An HTTP GET.
#[derive(Clone, Debug, PartialEq)]
pub struct Curl {
    /// Who asks.
    pub from: At<String>,
    /// Who answers: a name or an address.
    pub to: At<String>,
    /// TCP port.
    pub port: u16,
    /// Path, beginning with `/`; with `size` it asks for that many bytes.
    pub path: String,
    /// Status expected.
    pub status: u16,
    /// Length of the body in bytes.
    pub size: Option<u32>,
    /// Text that the body contains.
    pub body: Option<String>,
}

impl fmt::Display for Curl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "curl {} -> {}", self.from.value, self.to.value)?;
        if self.port != 80 {
            write!(f, ":{}", self.port)?;
        }
        if self.path != "/" { f.write_str(&self.path) } else { Ok(()) }
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    /// Where.
    pub on: At<String>,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Text that the standard output contains.
    pub stdout: Option<String>,
    /// Exit status.
    pub status: i32,
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec on {}: {}", self.on.value, self.command.join(" "))
    }
}

/// A capture around some traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// Every interface that an expectation or a hop is about, each once; never empty.
    pub on: Vec<At<Place>>,
    /// The traffic, one after the other; never empty. All of it must come through (or none, with `expect = "fail"`), whatever
    /// is captured.
    pub during: Vec<Traffic>,
    /// Which packets are taken at all, in tcpdump's words.
    pub filter: Option<At<String>>,
    /// What must be seen; may be empty where there is a path.
    pub expect: Vec<PacketExpectation>,
    /// The way that one packet must take: empty, or two hops at least.
    pub path: Vec<Hop>,
}

/// The traffic of a capture.
#[derive(Clone, Debug, PartialEq)]
pub enum Traffic {
    /// ICMP echo requests.
    Ping(Ping),
    /// An HTTP GET.
    Curl(Curl),
    /// A command.
    Exec(Exec),
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(ping) => ping.fmt(f),
            Self::Curl(curl) => curl.fmt(f),
            Self::Exec(exec) => exec.fmt(f),
        }
    }
}

/// How many packets of which kind.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketExpectation {
    /// The interfaces whose packets are counted together; never empty.
    pub on: Vec<Place>,
    /// Which packets.
    pub packet: PacketPattern,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: Option<u32>,
}

/// One interface on the way of a packet, and how the packet must look there.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// The interface.
    pub on: Place,
    /// The packet.
    pub packet: PacketPattern,
}

/// A kind of packet. What is `None` may be anything; addresses, protocol, port and TTL are the inner packet's, where
/// there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PacketPattern {
    /// How it is wrapped.
    pub encap: Option<Encap>,
    /// Source: a name or an address.
    pub src: Option<At<String>>,
    /// Destination: a name or an address.
    pub dst: Option<At<String>>,
    /// IP protocol.
    pub proto: Option<IpProtocol>,
    /// Source or destination port.
    pub port: Option<u16>,
    /// TTL on the wire.
    pub ttl: Option<u8>,
    /// The outer packet.
    pub outer: OuterPattern,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// Bytes that wrapping adds.
    pub overhead: Option<u32>,
}

/// The outer packet; what is `None` may be anything, no outer packet included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OuterPattern {
    /// Source: a name or an address.
    pub src: Option<At<String>>,
    /// Destination: a name or an address.
    pub dst: Option<At<String>>,
    /// TTL on the wire.
    pub ttl: Option<u8>,
    /// UDP destination port.
    pub port: Option<u16>,
}

/// A look at the lab's state, tried again until it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum StateCheck {
    /// `routes`
    Routes(Routes),
    /// `neighbours`
    Neighbours(Neighbours),
    /// `fdb`
    Fdb(Fdb),
    /// `links`
    Links(Links),
    /// `bgp`
    Bgp(Bgp),
}

impl StateCheck {
    /// The verb as the file spells it.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Routes(_) => "routes",
            Self::Neighbours(_) => "neighbours",
            Self::Fdb(_) => "fdb",
            Self::Links(_) => "links",
            Self::Bgp(_) => "bgp",
        }
    }

    /// The node or pod that is looked at.
    pub fn on(&self) -> &At<String> {
        match self {
            Self::Routes(Routes { on, .. })
            | Self::Neighbours(Neighbours { on, .. })
            | Self::Fdb(Fdb { on, .. })
            | Self::Links(Links { on, .. })
            | Self::Bgp(Bgp { on, .. }) => on,
        }
    }
}

impl fmt::Display for StateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.keyword(), self.on().value)
    }
}

/// Routes of table main.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes {
    /// The node or pod.
    pub on: At<String>,
    /// `equal` speaks of this protocol's routes only.
    pub proto: Option<RouteProtocol>,
    /// What must be there.
    pub want: RouteExpectation,
}

/// What must be in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteExpectation {
    /// These, and no other.
    Equal(Vec<Route>),
    /// Some, and some not; one of the two lists is not empty.
    Among {
        /// These, among others.
        include: Vec<Route>,
        /// None that fits one of these.
        exclude: Vec<RoutePattern>,
    },
}

/// Neighbour entries; one of the two lists is not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// The node or pod.
    pub on: At<String>,
    /// One that fits each of these.
    pub include: Vec<NeighbourPattern>,
    /// None that fits one of these.
    pub exclude: Vec<NeighbourPattern>,
}

/// Forwarding entries; one of the two lists is not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Fdb {
    /// The node or pod.
    pub on: At<String>,
    /// One that fits each of these.
    pub include: Vec<FdbPattern>,
    /// None that fits one of these.
    pub exclude: Vec<FdbPattern>,
}

/// Interfaces; one of the two lists is not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    /// The node or pod.
    pub on: At<String>,
    /// One that fits each of these.
    pub include: Vec<LinkExpectation>,
    /// None of these names.
    pub exclude: Vec<IfName>,
}

/// An interface. What is `None` may be anything.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkExpectation {
    /// The name.
    pub name: IfName,
    /// Administratively up.
    pub up: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// All addresses less link-local ones of IPv6, in any order.
    pub addresses: Option<Vec<IpNet>>,
    /// Link-layer address.
    pub mac: Option<MacAddr>,
    /// The device's kind.
    pub kind: Option<LinkKind>,
}

/// BGP sessions and paths; something of either.
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// The node or router.
    pub on: At<String>,
    /// What sessions must be in which state.
    pub sessions: Option<SessionExpectation>,
    /// What must be in its table.
    pub paths: Vec<PathExpectation>,
}

/// A path of a speaker's table. What is `None` may be anything.
#[derive(Clone, Debug, PartialEq)]
pub struct PathExpectation {
    /// The destination.
    pub prefix: IpNet,
    /// The peer: a node or router, its address, or the protocol's name.
    pub from: Option<At<String>>,
    /// The selected one.
    pub best: Option<bool>,
    /// The AS path as BIRD prints it.
    pub as_path: Option<String>,
    /// NEXT_HOP: a node or router, or an address.
    pub next_hop: Option<At<String>>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Communities, among others.
    pub communities: Vec<String>,
    /// ORIGINATOR_ID: a node, or an identifier.
    pub originator: Option<At<String>>,
    /// CLUSTER_LIST, nearest first.
    pub clusters: Option<Vec<String>>,
    /// Text of why it lost.
    pub lost: Option<String>,
    /// There must be none.
    pub absent: bool,
}

/// The states of sessions.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionExpectation {
    /// Every session, at least one.
    All(State),
    /// Each of these: by the node at the other end, its address, or the protocol's name. Never empty.
    Each(Vec<(At<String>, State)>),
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Everything that is planned holds.
    Converged,
    /// A state assertion.
    State(StateCheck),
}

/// A change of the lab; it is done when the lab has converged again.
#[derive(Clone, Debug, PartialEq)]
pub enum Do {
    /// To a BGP session.
    Peer {
        /// What.
        action: PeerAction,
        /// Whose session.
        node: At<String>,
        /// The other end: a node, an address, or the protocol's name.
        with: At<String>,
    },
    /// To an interface.
    Link {
        /// What.
        action: LinkAction,
        /// Which.
        on: At<Place>,
    },
}

impl fmt::Display for Do {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { action, node, with } => write!(f, "{action} peer {} of {}", with.value, node.value),
            Self::Link { action, on } => write!(f, "link {} {action}", on.value),
        }
    }
}

/// An interface of a namespace, `node1:eth0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The node, pod or other namespace.
    pub namespace: String,
    /// The interface in it.
    pub interface: IfName,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.interface)
    }
}

/// An IP protocol number; prints as its name where it is a common one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    pub(super) const NAMES: [(u8, &'static str); 4] = [(1, "icmp"), (4, "ipip"), (6, "tcp"), (17, "udp")];
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

words! {
    /// Who makes IP-in-IP packets.
    Provider {
        /// The kernel's `ipip`.
        Kernel = "kernel",
        /// The daemon, behind a TUN device.
        User = "user",
    }
}

words! {
    /// Whether the packets of a step come through.
    Expect {
        /// They do.
        Pass = "pass",
        /// They do not.
        Fail = "fail",
    }
}

words! {
    /// How a packet is wrapped.
    Encap {
        /// Not at all.
        None = "none",
        /// An IPv4 packet inside an IPv4 packet, protocol 4 (RFC 2003).
        Ipip = "ipip",
        /// Ethernet inside UDP (RFC 7348).
        Vxlan = "vxlan",
    }
}

words! {
    /// What becomes of a packet that is too long, where that is a word.
    BeyondWord {
        /// Nothing comes back.
        Silence = "silence",
    }
}

words! {
    /// What a lab as a whole can be waited for.
    Until {
        /// Everything that is planned holds.
        Converged = "converged",
    }
}

words! {
    /// What to do to a BGP session.
    PeerAction {
        /// Close it and keep it closed.
        Disable = "disable",
        /// Let it come up again.
        Enable = "enable",
        /// Close it, and let it come up at once.
        Restart = "restart",
    }
}

words! {
    /// What to do to an interface.
    LinkAction {
        /// `ip link set up`
        Up = "up",
        /// `ip link set down`
        Down = "down",
    }
}

words! {
    /// A device's kind, as `ip -d link` names it.
    LinkKindWord {
        /// `lo`.
        Loopback = "loopback",
        /// One end of a veth pair.
        Veth = "veth",
        /// An Ethernet bridge.
        Bridge = "bridge",
        /// The kernel's IP-in-IP tunnel.
        Ipip = "ipip",
        /// A VXLAN tunnel end.
        Vxlan = "vxlan",
        /// A TUN device.
        Tun = "tun",
    }
}

impl From<LinkKindWord> for LinkKind {
    fn from(word: LinkKindWord) -> Self {
        match word {
            LinkKindWord::Loopback => Self::Loopback,
            LinkKindWord::Veth => Self::Veth,
            LinkKindWord::Bridge => Self::Bridge,
            LinkKindWord::Ipip => Self::Ipip,
            LinkKindWord::Vxlan => Self::Vxlan,
            LinkKindWord::Tun => Self::Tun,
        }
    }
}
