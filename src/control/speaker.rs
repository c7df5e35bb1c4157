//! One speaker of a running lab: our own, or a daemon of the host in its place.

use std::path::PathBuf;

use ipnet::IpNet;

use crate::bgp::view::{PathView, SpeakerView, State};
use crate::bgp::{PeerId, SpeakerConfig};
use crate::bgp_io::{Driver, Order};
use crate::external_io::External;
use crate::fabric::Netns;
use crate::net::ExternalSpeaker;
use crate::plan::expect::SessionExpectation;

/// A speaker that runs.
pub(super) enum Speaker {
    /// Ours.
    Own(Box<Driver>),
    /// Another one.
    External(ExternalSpeaker, Box<External>),
}

impl Speaker {
    /// Starts `speaker` in the place of our own.
    pub(super) async fn external(
        netns: &Netns,
        speaker: ExternalSpeaker,
        config: SpeakerConfig,
        folder: PathBuf,
    ) -> Result<Self, crate::external_io::ExternalError> {
        Ok(Self::External(speaker, Box::new(External::start(netns, speaker, config, folder).await?)))
    }

    /// Ours begins to take connections and to dial; another one has begun.
    pub(super) fn start(&mut self) {
        if let Self::Own(driver) = self {
            driver.start();
        }
    }

    /// Whether it has to be asked for what [`Self::view`] says.
    pub(super) fn is_external(&self) -> bool {
        matches!(self, Self::External(..))
    }

    /// Has what it says of itself be of now.
    pub(super) async fn refresh(&self) {
        if let Self::External(_, external) = self {
            external.refresh().await;
        }
    }

    /// Its sessions.
    pub(super) fn view(&self) -> SpeakerView {
        match self {
            Self::Own(driver) => driver.view(),
            Self::External(_, external) => external.view(),
        }
    }

    /// The paths of its table.
    ///
    /// # Errors
    /// Only our own can say why a path lost.
    pub(super) fn paths(&self) -> Result<Vec<PathView>, String> {
        match self {
            Self::Own(driver) => Ok(driver.paths()),
            Self::External(speaker, external) => Err(table_is_its_own(*speaker, external)),
        }
    }

    /// What `peer` has been told.
    ///
    /// # Errors
    /// As of [`Self::paths`].
    pub(super) fn exported_to(&self, peer: PeerId) -> Result<Vec<PathView>, String> {
        match self {
            Self::Own(driver) => Ok(driver.exported_to(peer)),
            Self::External(speaker, external) => Err(table_is_its_own(*speaker, external)),
        }
    }

    /// How many sessions are Established.
    pub(super) fn established(&self) -> usize {
        match self {
            Self::Own(driver) => {
                driver.ask(|speaker| speaker.progress().filter(|peer| peer.state == State::Established).count())
            }
            Self::External(_, external) => {
                external.states(|states| states.filter(|state| *state == State::Established).count())
            }
        }
    }

    /// Whether all that is `expected` of its sessions, which are in the same order, holds, and all its routes are in the kernel.
    pub(super) fn is_settled(&self, expected: &[SessionExpectation]) -> bool {
        match self {
            Self::Own(driver) => {
                let settled = driver.ask(|speaker| {
                    let mut pairs = expected.iter().zip(speaker.progress());
                    pairs.all(|(session, progress)| !session.awaited || progress.is_converged())
                });
                settled && driver.fib_settled()
            }
            // Of its routes the kernel tells.
            Self::External(_, external) => external.states(|states| {
                let mut pairs = expected.iter().zip(states);
                pairs.all(|(session, state)| !session.awaited || state == State::Established)
            }),
        }
    }

    /// Routes that the kernel refused, with its reason.
    pub(super) fn fib_failures(&self) -> Vec<(IpNet, String)> {
        match self {
            Self::Own(driver) => driver.fib_failures(),
            Self::External(..) => Vec::new(),
        }
    }

    /// What keeps it from being settled besides sessions.
    pub(super) fn trouble(&self, name: &str) -> Option<String> {
        match self {
            Self::Own(driver) if !driver.fib_settled() => {
                Some(format!("{name}: routes are on their way to the kernel"))
            }
            Self::Own(_) => None,
            Self::External(_, external) => external.failure(),
        }
    }

    /// Disables, enables or restarts a session.
    ///
    /// # Errors
    /// It takes no such order.
    pub(super) async fn administer(&self, peer: PeerId, order: Order) -> Result<(), String> {
        match self {
            Self::Own(driver) => {
                driver.administer(peer, order);
                Ok(())
            }
            Self::External(_, external) => external.administer(peer, order).await,
        }
    }
}

fn table_is_its_own(speaker: ExternalSpeaker, external: &External) -> String {
    format!("`{}` runs {speaker}, whose table is its own: {}", external.name(), external.remedy())
}
