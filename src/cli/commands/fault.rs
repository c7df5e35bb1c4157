//! `lab link` and `lab peer`: changes of a running lab that return once it has converged again.

use std::time::Duration;

use super::{print, print_json};
use crate::bgp_io::Order;
use crate::cli::args::{LinkVerb, Output, PeerVerb};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::control::{Change, DoRequest};
use crate::net::LabName;

pub(crate) async fn link(
    lab: Option<&LabName>,
    verb: &LinkVerb,
    output: Output,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let (arguments, up) = match verb {
        LinkVerb::Up(arguments) => (arguments, true),
        LinkVerb::Down(arguments) => (arguments, false),
    };
    let place = arguments.interface.split(':').next().unwrap_or_default();
    let selected = Selected::with(lab, place)?;
    let (on, interface) = selected.interface(&arguments.interface)?;
    let what = format!("{on}:{interface} is {}", if up { "up" } else { "down" });
    carry_out(&selected, Change::Link { on, interface, up }, arguments.timeout, &what, output, quiet).await
}

pub(crate) async fn peer(
    lab: Option<&LabName>,
    verb: &PeerVerb,
    output: Output,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let (arguments, order, done) = match verb {
        PeerVerb::Disable(arguments) => (arguments, Order::Disable, "disabled"),
        PeerVerb::Enable(arguments) => (arguments, Order::Enable, "enabled"),
        PeerVerb::Restart(arguments) => (arguments, Order::Restart, "restarted"),
    };
    let selected = Selected::with(lab, &arguments.node)?;
    let node = selected.speaker(&arguments.node)?;
    let what = format!("{node}: the session with {} is {done}", arguments.peer);
    let change = Change::Peer { node, with: arguments.peer.clone(), order };
    carry_out(&selected, change, arguments.timeout, &what, output, quiet).await
}

async fn carry_out(
    selected: &Selected,
    change: Change,
    timeout: Duration,
    what: &str,
    output: Output,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let outcome = selected.client()?.change(&DoRequest { change, timeout_ms }).await?;
    if output == Output::Json {
        print_json(&outcome)?;
        return Ok(if outcome.converged { ExitCode::Done } else { ExitCode::Failed });
    }
    if !outcome.converged {
        let missing = outcome.missing.iter().map(|fact| format!("\n  {fact}")).collect::<String>();
        let timeout = crate::net::show_duration(timeout);
        return Err(Failure::failed(format!("{what}; but the lab has not converged within {timeout}:{missing}")));
    }
    if !quiet {
        print(&format!("{what}; converged after {:.1} ms\n", outcome.elapsed_us as f64 / 1000.0));
    }
    Ok(ExitCode::Done)
}
