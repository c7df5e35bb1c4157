//! Tries a state assertion again until it holds or its time is over.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::lab::{Lab, LabError};
use crate::scenario::{StateCheck, Verdict, assert};

/// The verdict as soon as it is [`Verdict::Pass`], or the last one once `deadline` is over. The first look always happens.
///
/// A look that breaks is repeated like one that does not hold: a namespace may be about to change under it.
pub(super) async fn until<L: Lab>(check: &StateCheck, lab: &L, deadline: Instant) -> Result<Verdict, LabError> {
    loop {
        let last_look = Instant::now() >= deadline;
        let result = match timeout_at(deadline.max(Instant::now() + LOOK), look(check, lab)).await {
            Ok(result) => result,
            Err(_) => Err(LabError::Broken(format!("{check} cannot be read: no answer for {} s", LOOK.as_secs()))),
        };
        if last_look || result == Ok(Verdict::Pass) {
            return result;
        }
        // Notifications come for what the daemon watches; the neighbour table, say, nobody watches.
        tokio::select! {
            () = lab.changed() => {}
            () = sleep_until(deadline.min(Instant::now() + INTERVAL)) => {}
        }
    }
}

/// Between two looks when nothing is notified: short beside anything that a person or a hold timer would notice, long
/// beside the dump of a namespace.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long one look may take, whatever the step's time.
const LOOK: Duration = Duration::from_secs(2);

async fn look<L: Lab>(check: &StateCheck, lab: &L) -> Result<Verdict, LabError> {
    Ok(match check {
        StateCheck::Routes(expected) => assert::routes(expected, &lab.routes(&expected.on).await?),
        StateCheck::Neighbours(expected) => assert::neighbours(expected, &lab.neighbours(&expected.on).await?),
        StateCheck::Fdb(expected) => assert::fdb(expected, &lab.fdb(&expected.on).await?),
        StateCheck::Links(expected) => assert::links(expected, &lab.links(&expected.on).await?),
        StateCheck::Bgp(expected) => {
            let has = |name: &str, address| lab.has_address(name, address);
            let sessions = match &expected.sessions {
                Some(_) => assert::bgp(expected, &lab.bgp(&expected.on).await?, &has),
                None => Verdict::Pass,
            };
            match (&sessions, expected.paths.is_empty()) {
                (Verdict::Pass, false) => assert::paths(expected, &lab.paths(&expected.on).await?, &has),
                _ => sessions,
            }
        }
    })
}
