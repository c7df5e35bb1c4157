//! The daemon of one lab: the process behind `lab up`.
//!
//! It starts with its three standard descriptors only: 0 is a socket to `lab up` until the lab stands, 1 is the lab's
//! lock, 2 its log. It ends by a signal. Until it has said how `up` ended, the end of its caller is the end of the lab too.

#![expect(clippy::disallowed_methods, reason = "I/O edge: the clock of `up` starts here")]

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::lab::Lab;
use super::protocol::UpEvent;
use super::server;
use super::state::StateDir;
use super::sweep;
use crate::net::LabName;
use crate::report::chain;

/// Runs the daemon of `lab` until it is told to stop. Everything it needs is in the lab's state directory.
///
/// # Errors
/// What kept it from starting; what kept the lab from standing goes to the caller on descriptor 0 instead.
pub fn run(lab: &LabName, timeout: Duration) -> io::Result<()> {
    close_inherited()?;
    // A session of its own: no terminal's signals, and no death with the caller's.
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")?;
    raise_open_files()?;
    let caller = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    caller.set_nonblocking(true)?;
    let mut last_word = caller.try_clone()?;
    let state = StateDir::of(lab);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (watch, say) = UnixStream::from_std(caller)?.into_split();
        serve(&state, timeout, watch, Caller(say)).await
    })?;
    match ended {
        Ended::Told => {
            // Reader tasks of thousands of connections need not be joined one by one: the process ends.
            runtime.shutdown_background();
        }
        Ended::NeverStood(message) => {
            // This waits for a build under way, which would go on making namespaces behind the sweep, and closes every
            // socket, which would keep its namespace.
            drop(runtime);
            let message = match remove(&state) {
                Ok(()) => message,
                Err(left) => format!("{message}; and cleaning up failed: {left}"),
            };
            last_word.set_nonblocking(false)?;
            // A caller that has gone needs no answer.
            let _ = last_word.write_all(&line(&UpEvent::Failed { message }));
        }
    }
    Ok(())
}

/// How the daemon's life ended.
enum Ended {
    /// It was told to stop; who told it removes the lab.
    Told,
    /// The lab does not stand, and why.
    NeverStood(String),
}

/// `lab up`, as long as it listens.
struct Caller(OwnedWriteHalf);

impl Caller {
    async fn say(&mut self, event: &UpEvent) {
        // A caller that has gone is noticed by whoever watches it.
        let _ = self.0.write_all(&line(event)).await;
    }
}

fn line(event: &UpEvent) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("an event holds numbers and text only");
    line.push(b'\n');
    line
}

async fn serve(state: &StateDir, timeout: Duration, mut watch: OwnedReadHalf, mut caller: Caller) -> io::Result<Ended> {
    let started = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let made = tokio::select! {
        made = make(state, started, timeout, &mut caller) => made,
        // The caller never writes: whatever comes is its end.
        _ = watch.read_u8() => Err("`lab up` was interrupted".to_string()),
        _ = terminate.recv() => Err("the daemon was told to stop".to_string()),
        _ = interrupt.recv() => Err("the daemon was told to stop".to_string()),
    };
    let (_lab, server) = match made {
        Ok(made) => made,
        Err(message) => {
            // Dropping it would tell the caller that we are gone, and it would sweep beside us.
            caller.0.forget();
            return Ok(Ended::NeverStood(message));
        }
    };
    drop((caller, watch));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = server => tracing::error!(?ended, "the control socket's server ended"),
    }
    Ok(Ended::Told)
}

type Server = tokio::task::JoinHandle<io::Result<()>>;

/// Builds the lab and waits for it to converge, telling `caller` how far it is. An error means that it does not stand.
async fn make(
    state: &StateDir,
    started: Instant,
    timeout: Duration,
    caller: &mut Caller,
) -> Result<(Arc<Lab>, Server), String> {
    // Before anything is built: `lab down` has to find whom to end.
    state.save_pid(std::process::id()).map_err(|error| chain(&error))?;
    let (topology, plan) = state.plan().map_err(|error| chain(&error))?;
    let (progress, mut steps) = tokio::sync::watch::channel((0, 0));
    let lab = {
        let building = Lab::start(state, topology, plan, started, progress);
        tokio::pin!(building);
        loop {
            tokio::select! {
                biased;
                built = &mut building => break Arc::new(built.map_err(|error| chain(&*error))?),
                Ok(()) = steps.changed() => {
                    let (done, total) = *steps.borrow_and_update();
                    caller.say(&UpEvent::Building { done, total }).await;
                }
            }
        }
    };
    let listener = UnixListener::bind(state.socket())
        .map_err(|error| format!("listen on {}: {error}", state.socket().display()))?;
    let server = tokio::spawn({
        let router = server::router(Arc::clone(&lab));
        async move { axum::serve(listener, router).await }
    });
    let outcome = {
        let remaining = timeout.saturating_sub(started.elapsed());
        let converging = lab.wait_converged(remaining);
        tokio::pin!(converging);
        let mut progress = tokio::time::interval(Duration::from_millis(100));
        progress.tick().await;
        loop {
            tokio::select! {
                outcome = &mut converging => break outcome,
                _ = progress.tick() => {
                    let (established, awaited) = lab.sessions();
                    caller.say(&UpEvent::Converging { established, awaited }).await;
                }
            }
        }
    };
    caller
        .say(&match outcome.converged {
            true => UpEvent::Converged,
            false => UpEvent::NotConverged { missing: outcome.missing },
        })
        .await;
    Ok((lab, server))
}

/// Removes what a failed `up` made: namespaces, then the state.
fn remove(state: &StateDir) -> Result<(), String> {
    // No name is half-made: the builder has ended by itself. One that is not marked is a stranger's, in whose way we were.
    sweep::remove_namespaces_blocking(state.lab(), &[])?;
    state.remove().map_err(|error| chain(&error))
}

/// Closes whatever descriptor the caller's caller left open, so that a pipe ends when `lab up` ends.
fn close_inherited() -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) {
            inherited.push(fd);
        }
    }
    for fd in inherited.into_iter().filter(|fd| *fd > 2) {
        // The directory's own descriptor is in the list and closed by now.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one: every session takes one descriptor at each end.
fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}
