//! Whether a lab has converged: every awaited session Established, End-of-RIB received from every peer that announced
//! graceful restart, every FIB change acknowledged, natOutgoing set up, and every node's table equal to the plan's.
//!
//! Looked at when something changed, what failed last first: until the end that is one cheap look per change.

#![expect(clippy::disallowed_methods, reason = "I/O edge: deadlines of waiting")]

use std::time::{Duration, Instant};

use super::lab::Lab;
use super::protocol::Outcome;
use crate::bgp::view::State;
use crate::fabric::observe;
use crate::plan::expect::{Expectation, SessionExpectation};

/// When to look again although nobody told of a change: a kernel that is short of memory drops notifications.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// When to ask the daemons again that are not ours: they tell nobody of a change.
const ASK_AGAIN: Duration = Duration::from_millis(25);
/// How many facts of one node are told.
const FACTS_PER_NODE: usize = 3;
/// How many facts are told in all.
const FACTS: usize = 30;

impl Lab {
    /// Returns when the lab has converged, or `timeout` has passed.
    pub(super) async fn wait_converged(&self, timeout: Duration) -> Outcome {
        let started = Instant::now();
        let deadline = started + timeout;
        let mut changed = self.changed.subscribe();
        let mut suspect = 0;
        loop {
            changed.borrow_and_update();
            self.refresh().await;
            let expected = self.expectation();
            let settled = self.first_unsettled(&expected, &mut suspect).is_none();
            let overdue = Instant::now() >= deadline;
            if settled || overdue {
                self.masquerade();
            }
            let converged = settled && self.tunnels.failures().is_empty() && self.tables(&expected, 1).is_empty();
            if converged {
                tracing::debug!("converged");
                let _ = self.converged_after.set(self.age());
                return Outcome { converged, missing: Vec::new(), elapsed_us: micros(started.elapsed()) };
            }
            if overdue {
                return Outcome { converged, missing: self.look().await, elapsed_us: micros(started.elapsed()) };
            }
            // Either way the next thing is to look.
            let look_again = if self.has_external() { ASK_AGAIN } else { LOOK_AGAIN };
            let _ = tokio::time::timeout_at(deadline.min(Instant::now() + look_again).into(), changed.changed()).await;
        }
    }

    /// Every predicate that does not hold now, the first few per node.
    pub(super) async fn look(&self) -> Vec<String> {
        self.refresh().await;
        let expected = self.expectation();
        let mut facts: Vec<String> = Vec::new();
        for (index, (speaker, running)) in self.speakers().enumerate() {
            let sessions: Vec<_> = sessions_of(&expected, index).iter().filter(|session| session.awaited).collect();
            let view = running.view();
            let unmet = sessions.iter().filter_map(|session| {
                let session = &view.sessions[session.peer];
                let error = session.last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
                match session.state {
                    State::Established if session.end_of_rib_awaited && !session.end_of_rib_received => {
                        Some(format!("{}: session {}: no End-of-RIB yet", speaker.name, session.name))
                    }
                    State::Established => None,
                    state => Some(format!("{}: session {} is {state}{error}", speaker.name, session.name)),
                }
            });
            facts.extend(unmet.take(FACTS_PER_NODE));
            for (prefix, error) in running.fib_failures().into_iter().take(FACTS_PER_NODE) {
                facts.push(format!("{}: the kernel refused the route to {prefix}: {error}", speaker.name));
            }
            facts.extend(running.trouble(&speaker.name));
        }
        if self.masquerading().is_none() {
            facts.push("natOutgoing is being set up".into());
        }
        facts.extend(self.tunnels.failures());
        facts.extend(self.tables(&expected, FACTS));
        let more = facts.len().saturating_sub(FACTS);
        facts.truncate(FACTS);
        if more > 0 {
            facts.push(format!("… and {more} more"));
        }
        facts
    }

    /// A speaker whose sessions or routes are not where they must be; `suspect` is asked first, and becomes the one found.
    fn first_unsettled(&self, expected: &Expectation, suspect: &mut usize) -> Option<usize> {
        let count = self.plan.speakers.len();
        let found = (0..count)
            .map(|step| (*suspect + step) % count)
            .find(|&index| !self.running(index).is_settled(sessions_of(expected, index)));
        if let Some(index) = found {
            *suspect = index;
        }
        found
    }

    /// How the nodes' tables differ from what they must be, at most `most` facts.
    fn tables(&self, expected: &Expectation, most: usize) -> Vec<String> {
        let mut facts = Vec::new();
        for (speaker, netns) in self.plan.speakers.iter().zip(&self.netns) {
            let Some(table) = expected.tables.iter().find(|table| table.netns == speaker.netns) else { continue };
            let routes = match observe::routes(netns) {
                Ok(routes) => routes,
                Err(error) => {
                    facts.push(format!("{}: {error}", speaker.name));
                    continue;
                }
            };
            let difference = table.verify(&routes);
            let missing = difference.missing.iter().map(|route| format!("{}: no route {route}", speaker.name));
            let extra = difference.extra.iter().map(|route| format!("{}: unexpected route {route}", speaker.name));
            facts.extend(missing.chain(extra).take(FACTS_PER_NODE));
            if facts.len() >= most {
                break;
            }
        }
        facts
    }
}

/// The planned sessions of speaker `index`; they stand together, in the plan's order.
fn sessions_of(expected: &Expectation, index: usize) -> &[SessionExpectation] {
    let from = expected.sessions.partition_point(|session| session.speaker < index);
    let to = expected.sessions.partition_point(|session| session.speaker <= index);
    &expected.sessions[from..to]
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
