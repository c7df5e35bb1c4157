//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

use crate::net::LabName;

const AFTER_HELP: &str = "\
Exit codes: 0 done or passed, 1 an assertion failed or not converged in time, 2 wrong usage or an invalid file,
3 the environment cannot do it (privilege, kernel feature, name taken), 4 no scenario ran.

First steps:
  sudo lab up topologies/calico-bgp-fullmesh.toml
  sudo lab ping wluo-8n4nq wluo-4x7jf
  sudo lab exec calico-bgp-fullmesh-control-plane -- ip route
  sudo lab down";

/// The Calico fabric of a Kubernetes cluster on one Linux host, with real BGP, and scenarios that assert it.
#[derive(Debug, Parser)]
#[command(name = "lab", version, max_term_width = 120, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The lab that is meant, where a name alone is ambiguous
    #[arg(long, global = true, value_name = "LAB")]
    pub(crate) lab: Option<LabName>,
    /// How verbs that print data print it
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// No progress and no summary
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: stable, one value.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build the lab of a topology, start its speakers, return the moment it has converged
    Up {
        /// The topology
        file: PathBuf,
        /// How long convergence may take; the lab stays up, to be looked at, when it takes longer
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        timeout: Duration,
    },
    /// Remove a lab, its processes included; also one whose daemon or file is gone
    Down {
        /// The lab, or its topology file; may be left out when there is only one
        #[arg(value_name = "LAB|FILE", conflicts_with = "all")]
        what: Option<String>,
        /// Every lab
        #[arg(long)]
        all: bool,
    },
    /// List the labs that exist
    Ls,
    /// Show nodes, pods, sessions and routes; healthy, or what is missing (exit code 1)
    Status {
        /// The lab; may be left out when there is only one
        name: Option<LabName>,
    },
    /// Run scenarios: bring up, take the steps, print verdicts, take down
    Test(TestArguments),
    /// Check topologies and scenarios; needs no root
    Check {
        /// Files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print what every namespace and every speaker of a topology is to contain; needs no root
    Plan {
        /// The topology
        file: PathBuf,
    },
    /// Run a command in a node or pod; ends with the command's exit status
    Exec {
        /// A node or pod
        r#where: String,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<std::ffi::OsString>,
    },
    /// Open a shell in a node or pod
    Shell {
        /// A node or pod
        r#where: String,
    },
    /// Ping from a node or pod; no ping program is needed
    Ping(PingArguments),
    /// Fetch a page from a pod; no curl program is needed
    Curl {
        /// A node or pod
        from: String,
        /// A node, pod or address; port 80 and `/` unless said
        #[arg(value_name = "TO[:PORT][/PATH]")]
        to: String,
        /// How long it may take
        #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
        timeout: Duration,
    },
    /// Capture packets: a line each, or pcapng
    Capture {
        /// Interfaces, as `node1:eth0`; then a filter in tcpdump's words: host, port, tcp, udp, icmp, arp, proto N, and, or, not
        #[arg(required = true, value_name = "WHERE:IFACE... [FILTER]")]
        what: Vec<String>,
        /// Stop after so many packets
        #[arg(short = 'c', value_name = "N")]
        count: Option<u64>,
        /// Write pcapng to a file, or to standard output with `-`
        #[arg(short = 'w', value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// Show what the kernel or the speaker of a node, pod or router holds
    Show {
        /// A node or pod
        r#where: String,
        /// What
        #[arg(value_enum)]
        what: Shown,
        /// For `bgp`: only this prefix, with every path and why it lost
        prefix: Option<ipnet::IpNet>,
    },
    /// calicoctl's view of a node
    #[command(subcommand)]
    Calicoctl(Calicoctl),
    #[command(
        about = "BIRD's view of a node: show protocols [all [NAME]] | show route [all] [for ADDRESS | protocol NAME]"
    )]
    Birdc {
        /// A node
        node: String,
        /// birdc's words
        #[arg(required = true)]
        command: Vec<String>,
    },
    /// Set an interface down or up, and wait until the lab has converged again
    #[command(subcommand)]
    Link(LinkVerb),
    /// Disable, enable or restart one side of a session, and wait until the lab has converged again
    #[command(subcommand)]
    Peer(PeerVerb),
    /// Calico's calculations; needs no root
    #[command(subcommand)]
    Calico(Calico),
    /// Show what this host can do and what it lacks, with the remedy
    Doctor,
    /// Print the JSON schema of a kind of file, or of what `lab status -o json` prints
    Schema {
        /// Which
        #[arg(value_enum)]
        kind: Schema,
    },
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Keep a lab: what `lab up` starts
    #[command(hide = true)]
    Daemon {
        lab: LabName,
        #[arg(long)]
        timeout_ms: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Scenario files, or directories of them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a JSON report; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Leave the labs up
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where the artefacts of failed steps go
    #[arg(long, value_name = "DIR", default_value = "artefacts")]
    pub(crate) artefacts: PathBuf,
    /// How long a lab may take to converge at first
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct PingArguments {
    /// A node or pod
    pub(crate) from: String,
    /// A node, pod or address
    pub(crate) to: String,
    /// How many requests
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    pub(crate) count: u32,
    /// Bytes of data after the ICMP header
    #[arg(short, long, value_name = "BYTES", default_value_t = 56)]
    pub(crate) size: u16,
    /// Forbid fragmentation
    #[arg(long)]
    pub(crate) df: bool,
    /// Time to live
    #[arg(short, long, value_name = "N")]
    pub(crate) ttl: Option<u8>,
    /// Between requests; by default the next request goes as soon as the reply is there
    #[arg(short, long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// How long a reply may take
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// Table main, as `ip route` prints it.
    Routes,
    /// ARP entries.
    Neighbours,
    /// Forwarding entries of bridges and VXLAN devices.
    Fdb,
    /// Interfaces with their addresses.
    Links,
    /// BIRD's protocols.
    Protocols,
    /// Every path of the speaker's table.
    Bgp,
    /// BGP sessions.
    Sessions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calicoctl {
    /// BGP sessions of a node
    #[command(subcommand)]
    Node(CalicoctlNode),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CalicoctlNode {
    /// The table of `calicoctl node status`
    Status {
        /// A node
        node: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinkVerb {
    /// Set it down
    Down(LinkArguments),
    /// Set it up
    Up(LinkArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LinkArguments {
    /// The interface, as `node1:eth0`
    #[arg(value_name = "WHERE:IFACE")]
    pub(crate) interface: String,
    /// How long convergence may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerVerb {
    /// Close the session and do not dial
    Disable(PeerArguments),
    /// Dial again
    Enable(PeerArguments),
    /// Close the session and dial again
    Restart(PeerArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PeerArguments {
    /// Whose side
    pub(crate) node: String,
    /// The peer: a node's name, an address, or the session's name
    pub(crate) peer: String,
    /// How long convergence may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calico {
    /// The block that each node claims, by itself in an empty pool: `NODE CIDR`
    Block {
        /// The pool
        #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
        pool: Ipv4Net,
        /// Prefix length of a block
        #[arg(long, value_name = "N", default_value_t = 26)]
        block_size: u8,
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// The MAC of each node's `vxlan.calico`: `NODE MAC`
    VtepMac {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// The host end of a pod's veth
    VethName {
        /// The pod
        #[arg(value_name = "NAMESPACE.POD")]
        pod: String,
    },
    /// Whether a selector matches labels: `true` or `false`
    Selector {
        /// The expression
        expression: String,
        /// Labels, as `rack=rack1,ssd=true`
        #[arg(long, value_name = "K=V,...", default_value = "")]
        labels: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    /// The topology file.
    Topology,
    /// The scenario file.
    Scenario,
    /// What `lab status -o json` prints.
    Status,
}

/// `2s`, `500ms`, `1m`, or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    crate::net::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_command() {
        let arguments = Arguments::try_parse_from(["lab", "exec", "node1", "--", "ip", "-o", "json"]).unwrap();
        assert_eq!(arguments.output, Output::Table);
        assert!(matches!(arguments.verb, Verb::Exec { command, .. } if command == ["ip", "-o", "json"]));
        assert!(Arguments::try_parse_from(["lab", "down", "a", "--all"]).is_err());
    }
}
