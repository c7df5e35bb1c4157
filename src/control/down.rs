//! `lab down`: end the daemon, remove the namespaces, forget the lab. It needs neither the daemon nor the topology file.

use std::time::Duration;

use super::state::{LabState, StateDir};
use super::sweep::remove_namespaces;
use crate::fabric;
use crate::net::LabName;
use crate::report::chain;

/// How long a daemon may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How often to look whether a daemon that begins has said which process it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What of a lab could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("remove lab `{lab}`: {reason}")]
pub struct DownError {
    /// The lab.
    pub lab: LabName,
    /// Everything that is left, and why.
    pub reason: String,
}

/// Removes the lab and returns when nothing of it is left: processes, namespaces, state.
///
/// # Errors
/// What is left, and why. The state stays too then, so that `lab down` can be tried again.
pub async fn down(lab: &LabName) -> Result<(), DownError> {
    let failed = |reason: String| DownError { lab: lab.clone(), reason };
    let state = StateDir::of(lab);
    if let Some(pid) = daemon(&state).await.map_err(failed)? {
        let end = tokio::task::spawn_blocking(move || fabric::end_process(pid, GRACE));
        let ended = end.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        ended.map_err(|error| failed(format!("end its daemon, process {pid}: {error}")))?;
    }
    // Only now: it may have been killed half-way through making one of them.
    let names = state.origin().map(|origin| origin.namespaces).unwrap_or_default();
    remove_namespaces(lab, names).await.map_err(failed)?;
    state.remove().map_err(|error| failed(chain(&error)))
}

/// The process of a lab that lives; `None` for one that does not.
async fn daemon(state: &StateDir) -> Result<Option<i32>, String> {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let looking = async {
        loop {
            look.tick().await;
            match (state.state(), state.pid()) {
                (Some(LabState::Up), None) => {} // it begins at this moment, and writes its number down first
                (Some(LabState::Up), pid) => return pid,
                _ => return None,
            }
        }
    };
    let found = tokio::time::timeout(GRACE, looking).await;
    found.map_err(|_| "somebody holds its lock, and no daemon has said who it is".to_string())
}
