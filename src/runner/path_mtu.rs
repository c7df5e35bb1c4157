//! Finds the largest packet that passes, by echo requests with DF.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::lab::{Lab, LabError, PingRequest};
use crate::packet::path_mtu::Search;
use crate::probe::PathMtuDiscovery;
use crate::scenario::{MtuResult, Obstacle};

/// How long each attempt with a length waits for its answer. One attempt is not enough: the first packet that is too long for
/// the way between two tunnel ends is reported to the node that wrapped it, and only the next one by that node to the sender.
const ATTEMPTS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// IPv4 and ICMP headers of an echo request, in bytes.
const HEADERS: u16 = 28;

/// Tries lengths until one byte decides, or `limit` is over.
pub(super) async fn search<L: Lab>(from: &str, to: IpAddr, limit: Duration, lab: &L) -> Result<MtuResult, LabError> {
    let deadline = Instant::now() + limit;
    let mut search = Search::default();
    let mut obstacle = None;
    while let Some(length) = search.next_length() {
        if Instant::now() >= deadline {
            return Err(not_in_time(&search));
        }
        match attempt(from, to, length, lab).await? {
            Outcome::Passed => search.passed(length),
            Outcome::Stopped(why) => {
                search.stopped(length, why.as_ref().and_then(told));
                obstacle = why;
            }
        }
    }
    Ok(MtuResult { largest: search.largest(), obstacle })
}

enum Outcome {
    Passed,
    /// `None` is silence.
    Stopped(Option<Obstacle>),
}

async fn attempt<L: Lab>(from: &str, to: IpAddr, length: u16, lab: &L) -> Result<Outcome, LabError> {
    for timeout in ATTEMPTS {
        let request = PingRequest {
            from: from.into(),
            to,
            count: 1,
            size: length.saturating_sub(HEADERS),
            path_mtu: PathMtuDiscovery::Probe,
            timeout,
        };
        let result = lab.ping(&request).await?;
        if !result.replies.is_empty() {
            return Ok(Outcome::Passed);
        }
        if let Some(obstacle) = result.obstacles.into_iter().next() {
            return Ok(Outcome::Stopped(Some(obstacle)));
        }
    }
    Ok(Outcome::Stopped(None))
}

fn told(obstacle: &Obstacle) -> Option<u16> {
    match obstacle {
        Obstacle::Local { mtu } => mtu.and_then(|mtu| u16::try_from(mtu).ok()),
        Obstacle::FragmentationNeeded { mtu, .. } => *mtu,
        Obstacle::Other(_) => None,
    }
}

fn not_in_time(search: &Search) -> LabError {
    let known = [
        search.largest().map(|length| format!("{length} bytes pass")),
        search.smallest_stopped().map(|length| format!("{length} bytes do not pass")),
    ];
    LabError::NotInTime { what: "the search is not over".into(), missing: known.into_iter().flatten().collect() }
}
