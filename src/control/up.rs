//! `lab up`, the caller's side: take the name, start the daemon, follow it until the lab stands or is gone.

#![expect(clippy::disallowed_methods, reason = "I/O edge: starts the daemon")]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

use super::interrupt::Interrupt;
use super::protocol::UpEvent;
use super::state::{LabState, Origin, StateDir, StateError};
use super::sweep::{self, remove_namespaces};
use crate::net::LabName;
use crate::plan::Plan;
use crate::report::chain;

/// What `lab up` was told.
#[derive(Clone, Debug)]
pub struct UpOptions<'a> {
    /// The topology's text, known to resolve into `plan`.
    pub text: &'a str,
    /// Where it came from.
    pub file: &'a Path,
    /// The name of a topology that has none.
    pub stem: &'a str,
    /// How long convergence may take.
    pub timeout: Duration,
}

/// Why a lab does not stand. Nothing of it is left, except where the error says so.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The lab exists.
    #[error("lab `{lab}` is up: `lab down {lab}` removes it")]
    Exists {
        /// The lab.
        lab: LabName,
    },
    /// A lab of that name died, and something of it is left.
    #[error("lab `{lab}` is broken, its daemon is gone: `lab down {lab}` removes what is left of it")]
    Broken {
        /// The lab.
        lab: LabName,
    },
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Signals cannot be listened to.
    #[error("listen to signals")]
    Signals {
        /// The reason.
        source: io::Error,
    },
    /// The daemon cannot be started.
    #[error("start the daemon {}", program.display())]
    Spawn {
        /// This program.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The daemon said why.
    #[error("{0}")]
    Failed(String),
    /// The daemon died without a word, and what it had built was removed.
    #[error("the daemon of lab `{lab}` died while it built the lab; what it had built was removed{}", said(.log))]
    Died {
        /// The lab.
        lab: LabName,
        /// The end of its log.
        log: String,
    },
    /// Cleaning up failed.
    #[error("{reason}; and `lab down {lab}` is needed, because cleaning up failed: {left}")]
    Left {
        /// The lab.
        lab: LabName,
        /// Why it does not stand.
        reason: String,
        /// Why something is left.
        left: String,
    },
    /// Ctrl-C.
    #[error("interrupted: nothing of lab `{lab}` is left")]
    Interrupted {
        /// The lab.
        lab: LabName,
    },
}

fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its last words:\n{log}") }
}

/// Brings up the lab of `plan`. Returns the predicates that do not hold: none when it converged in time. `follow` is told
/// how far it is.
///
/// # Errors
/// The lab does not stand, and why.
pub async fn up(
    plan: &Plan,
    options: &UpOptions<'_>,
    follow: &mut dyn FnMut(&UpEvent),
) -> Result<Vec<String>, UpError> {
    let lab = &plan.lab;
    let state = StateDir::of(lab);
    // Before anything exists: from here on an interrupt is an event, and never the end of this process.
    let mut interrupt = Interrupt::listen().map_err(|source| UpError::Signals { source })?;
    if sweep::marked().iter().any(|(name, _)| name == lab) && !state.exists() {
        return Err(UpError::Broken { lab: lab.clone() });
    }
    match state.create() {
        Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(match state.state() {
                Some(LabState::Broken) => UpError::Broken { lab: lab.clone() },
                _ => UpError::Exists { lab: lab.clone() },
            });
        }
        created => created?,
    }
    match start(plan, &state, options) {
        Ok((stream, mut daemon)) => {
            let outcome = follow_daemon(&state, plan, stream, &mut interrupt, follow).await;
            if outcome.is_err() {
                // It has said its last word, or died: nothing is left once its process has gone, too.
                let _ = tokio::task::spawn_blocking(move || daemon.wait()).await;
            }
            outcome
        }
        Err(error) => Err(abandon(&state, error)),
    }
}

/// Takes back the name; no namespace was made yet.
fn abandon(state: &StateDir, error: UpError) -> UpError {
    match state.remove() {
        Ok(()) => error,
        Err(left) => UpError::Left { lab: state.lab().clone(), reason: chain(&error), left: chain(&left) },
    }
}

/// Writes what the daemon needs and starts it; returns our end of its descriptor 0, and its process.
fn start(plan: &Plan, state: &StateDir, options: &UpOptions<'_>) -> Result<(StdUnixStream, Child), UpError> {
    let lock = state.lock()?;
    let origin = Origin {
        file: std::path::absolute(options.file).unwrap_or_else(|_| options.file.to_owned()),
        stem: options.stem.to_owned(),
        namespaces: plan.namespaces.iter().map(|netns| netns.netns.clone()).collect(),
    };
    state.save(options.text, &origin)?;
    let log = state.log()?;
    let program = PathBuf::from("/proc/self/exe");
    let spawn = || {
        let (ours, theirs) = StdUnixStream::pair()?;
        let daemon = Command::new(&program)
            .arg("daemon")
            .arg(plan.lab.as_str())
            .arg("--timeout-ms")
            .arg(options.timeout.as_millis().to_string())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::from(lock))
            .stderr(log)
            .spawn()?;
        ours.set_nonblocking(true)?;
        Ok((ours, daemon))
    };
    spawn().map_err(|source| UpError::Spawn { program: program.clone(), source })
}

async fn follow_daemon(
    state: &StateDir,
    plan: &Plan,
    daemon: StdUnixStream,
    interrupt: &mut Interrupt,
    follow: &mut dyn FnMut(&UpEvent),
) -> Result<Vec<String>, UpError> {
    let lab = state.lab();
    let stream = match UnixStream::from_std(daemon) {
        Ok(stream) => stream,
        Err(error) => return Err(clean_up(state, plan, UpError::Failed(chain(&error))).await),
    };
    let mut lines = BufReader::new(stream).lines();
    let mut interrupted = false;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            () = interrupt.recv(), if !interrupted => {
                interrupted = true;
                // The daemon sees our end closing and rolls back; its last line says how that went.
                let _ = socket2::SockRef::from(lines.get_ref().get_ref()).shutdown(std::net::Shutdown::Write);
                continue;
            }
        };
        let event = match &line {
            Ok(Some(line)) => serde_json::from_str(line).ok(),
            _ => None,
        };
        match event {
            Some(UpEvent::Converged) => return Ok(Vec::new()),
            Some(UpEvent::NotConverged { missing }) => return Ok(missing),
            Some(UpEvent::Failed { .. }) if interrupted => {
                return Err(clean_up(state, plan, UpError::Interrupted { lab: lab.clone() }).await);
            }
            Some(UpEvent::Failed { message }) => return Err(clean_up(state, plan, UpError::Failed(message)).await),
            Some(event) => follow(&event),
            // Interrupted as well, by whoever pressed Ctrl-C before it had a session of its own.
            None if interrupted => {
                return Err(clean_up(state, plan, UpError::Interrupted { lab: lab.clone() }).await);
            }
            None => {
                let log = std::fs::read_to_string(state.log_path()).unwrap_or_default();
                let tail = log.lines().rev().take(5).collect::<Vec<_>>();
                let log = tail.into_iter().rev().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
                return Err(clean_up(state, plan, UpError::Died { lab: lab.clone(), log }).await);
            }
        }
    }
}

/// Removes whatever the daemon may have left; it has removed all of it unless it was killed.
async fn clean_up(state: &StateDir, plan: &Plan, error: UpError) -> UpError {
    let left = |error: UpError, left: String| UpError::Left { lab: plan.lab.clone(), reason: chain(&error), left };
    let names = plan.namespaces.iter().map(|netns| netns.netns.clone()).collect();
    if state.exists() {
        if let Err(cause) = remove_namespaces(&plan.lab, names).await {
            return left(error, cause);
        }
        if let Err(cause) = state.remove() {
            return left(error, chain(&cause));
        }
    }
    error
}
