//! `lab show`, and the views that network engineers know: `calicoctl node status`, `birdc`.

#![expect(clippy::disallowed_methods, reason = "I/O edge: the wall clock of birdc's `since`")]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::{print, print_json, table};
use crate::bgp::view::{PathView, SessionView, SpeakerView, State};
use crate::cli::args::{Output, Shown};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::external_io;
use crate::fabric::observe;
use crate::net::{ExternalSpeaker, LabName};
use crate::report::{birdc as bird, calicoctl};

pub(crate) async fn show(
    lab: Option<&LabName>,
    place: &str,
    what: Shown,
    prefix: Option<IpNet>,
    output: Output,
) -> Result<ExitCode, Failure> {
    require_root()?;
    if prefix.is_some() && what != Shown::Bgp {
        return Err(Failure::invalid("a prefix goes with `bgp` only"));
    }
    let selected = Selected::with(lab, place)?;
    match what {
        Shown::Routes => lines(&observe::routes(&selected.netns(place)?)?, output),
        Shown::Neighbours => lines(&observe::neighbours(&selected.netns(place)?)?, output),
        Shown::Fdb => lines(&observe::fdb(&selected.netns(place)?)?, output),
        Shown::Links => links(&observe::links(&selected.netns(place)?)?, output),
        Shown::Protocols => {
            let view = selected.client()?.speaker(&selected.speaker(place)?).await?;
            match output {
                Output::Table => print(&bird::show_protocols(&view, now(&view))),
                Output::Json => print_json(&view)?,
            }
            Ok(())
        }
        Shown::Sessions => {
            let view = selected.client()?.speaker(&selected.speaker(place)?).await?;
            sessions(&view, &crate::plan::causes(&selected.plan), output)
        }
        Shown::Bgp => {
            let mut paths = selected.client()?.paths(&selected.speaker(place)?).await?;
            if let Some(prefix) = prefix {
                paths.retain(|path| path.prefix == prefix.trunc());
            }
            bgp(&paths, output)
        }
    }?;
    Ok(ExitCode::Done)
}

pub(crate) async fn calicoctl_node_status(lab: Option<&LabName>, node: &str) -> Result<ExitCode, Failure> {
    require_root()?;
    let selected = Selected::with(lab, node)?;
    let view = selected.client()?.speaker(&selected.speaker(node)?).await?;
    print(&calicoctl::node_status(&view, now(&view)));
    Ok(ExitCode::Done)
}

pub(crate) async fn birdc(lab: Option<&LabName>, node: &str, words: &[String]) -> Result<ExitCode, Failure> {
    require_root()?;
    let selected = Selected::with(lab, node)?;
    let node = selected.speaker(node)?;
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    let external = selected.plan.speakers.iter().find(|speaker| speaker.name == node).and_then(|s| s.external);
    match external {
        None => {}
        // A BIRD knows more commands than we do, and prints them in its own way.
        Some(ExternalSpeaker::Bird) => {
            let answer = external_io::birdc(&selected.state.speaker(&node), &words.join(" ")).await;
            print(&answer.map_err(|error| bird_says(&node, &error))?);
            return Ok(ExitCode::Done);
        }
        Some(other) => {
            let sessions = format!("`lab show {node} sessions` and `lab show {node} routes` show what it does");
            return Err(Failure::invalid(format!("`{node}` runs {other}, which has no birdc: {sessions}")));
        }
    }
    let command = bird::Command::parse(&words).map_err(Failure::invalid)?;
    let client = selected.client()?;
    let view = client.speaker(&node).await?;
    let paths = match &command {
        bird::Command::Route(bird::RouteQuery { export: Some(peer), .. }) => client.exported(&node, peer).await?,
        bird::Command::Route(_) => client.paths(&node).await?,
        bird::Command::Protocols { .. } => Vec::new(),
    };
    print(&bird::render(&command, &view, &paths, now(&view)).map_err(Failure::invalid)?);
    Ok(ExitCode::Done)
}

/// BIRD refuses a command, or is not there.
fn bird_says(node: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::Other => Failure::invalid(format!("BIRD of `{node}`: {error}")),
        _ => Failure::environment(format!("ask BIRD of `{node}`: {error}")),
    }
}

/// Values that print as the lines of a familiar tool.
fn lines<T: std::fmt::Display + serde::Serialize>(values: &[T], output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print_json(&values),
        Output::Table => {
            values.iter().for_each(|value| print(&format!("{value}\n")));
            Ok(())
        }
    }
}

fn links(links: &[crate::net::Link], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(&links);
    }
    let mut table = table(["LINK", "KIND", "STATE", "MTU", "MAC", "MASTER", "ADDRESSES"]);
    for link in links {
        let state = match (link.up, link.carrier) {
            (false, _) => "DOWN",
            (true, false) => "NO-CARRIER",
            (true, true) => "UP",
        };
        table.add_row([
            link.name.to_string(),
            format!("{:?}", link.kind).to_lowercase(),
            state.into(),
            link.mtu.to_string(),
            link.mac.map_or_else(|| "-".into(), |mac| mac.to_string()),
            link.master.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            link.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        ]);
    }
    print(&format!("{table}\n"));
    Ok(())
}

/// A line per session; then, of those that are up, what was agreed on and said, and of the others why they are not.
fn sessions(view: &SpeakerView, causes: &BTreeMap<(String, String), String>, output: Output) -> Result<(), Failure> {
    let sessions: &[SessionView] = &view.sessions;
    if output == Output::Json {
        return print_json(&sessions);
    }
    let (now, mut notes) = (now(view), String::new());
    let mut table = table(["SESSION", "PEER", "AS", "STATE", "SINCE", "IMPORTED", "EXPORTED", "HOLD", "KEEPALIVE"]);
    for session in sessions {
        let state = match session.disabled {
            true => "Idle (disabled)".into(),
            false => session.state.to_string(),
        };
        table.add_row([
            session.name.clone(),
            session.remote.to_string(),
            session.remote_as.to_string(),
            state,
            now.since(session.since_ms),
            session.imported.to_string(),
            session.exported.to_string(),
            timer(session.hold),
            timer(session.keepalive),
        ]);
        notes += &match session.state {
            State::Established => agreed(session),
            _ => {
                let cause = causes.get(&(view.name.clone(), session.name.clone()));
                let mut why: Vec<&str> = session.last_error.iter().map(String::as_str).collect();
                why.extend(cause.map(String::as_str));
                if session.disabled {
                    why.insert(0, "disabled");
                }
                if why.is_empty() {
                    why.push(if session.passive { "waits for the peer to dial" } else { "no error so far" });
                }
                format!("{}: {}\n", session.name, why.join("; "))
            }
        };
    }
    print(&format!("{table}\n{notes}"));
    Ok(())
}

/// What is left of a timer, and what it is set to.
fn timer(timer: Option<(u64, u64)>) -> String {
    timer.map_or_else(|| "-".into(), |(total, left)| format!("{}/{} s", left / 1000, total / 1000))
}

/// The capabilities of a session that is up, and its messages.
fn agreed(session: &SessionView) -> String {
    let counts = &session.messages;
    format!(
        "{}: {}; {} UPDATEs and {} KEEPALIVEs received, {} and {} sent\n",
        session.name,
        session.capabilities.join(", "),
        counts.updates_received,
        counts.keepalives_received,
        counts.updates_sent,
        counts.keepalives_sent,
    )
}

fn bgp(paths: &[PathView], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(&paths);
    }
    let mut table = table(["PREFIX", "", "FROM", "VIA", "AS PATH", "LOCAL PREF", "WHY IT LOST"]);
    for path in paths {
        let via = match (path.blackhole, path.gateway, &path.dev) {
            (true, ..) => "blackhole".into(),
            (_, Some(gateway), Some(dev)) => format!("{gateway} dev {dev}"),
            (_, None, Some(dev)) => format!("dev {dev}"),
            (_, Some(gateway), None) => gateway.to_string(),
            (_, None, None) => "unresolved".into(),
        };
        let best = match (path.best, path.kernel_failed) {
            (true, false) => "*",
            (true, true) => "!",
            (false, _) => "",
        };
        table.add_row([
            path.prefix.to_string(),
            best.into(),
            path.protocol.clone(),
            via,
            path.bgp.as_ref().map(|bgp| bgp.as_path.clone()).unwrap_or_default(),
            path.bgp.as_ref().and_then(|bgp| bgp.local_pref).map(|value| value.to_string()).unwrap_or_default(),
            path.lost.clone().unwrap_or_default(),
        ]);
    }
    print(&format!("{table}\n"));
    Ok(())
}

/// When a view that has just come was taken. Times of day are shown in UTC.
fn now(view: &SpeakerView) -> bird::Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    bird::Now { local_seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX), uptime_ms: view.uptime_ms }
}
