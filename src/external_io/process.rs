//! One daemon in one namespace.

#![expect(clippy::disallowed_methods, reason = "I/O edge: waits for a daemon's first answer, and reads its log")]

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::ask;
use super::programs::{Missing, find};
use crate::bgp::view::{SessionView, SpeakerView, State};
use crate::bgp::{PeerId, SpeakerConfig};
use crate::external;
use crate::fabric::{Netns, Program, spawn};
use crate::net::{ExternalSpeaker, Order};

/// How long a daemon may take to answer for the first time: ExaBGP is Python, and a host may be busy.
const START: Duration = Duration::from_secs(20);
/// How often it is asked until then.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How long a daemon may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Why a daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// It is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Its configuration cannot be written down.
    #[error("configure {speaker} of `{name}`: {reason}")]
    Configuration {
        /// Which daemon.
        speaker: ExternalSpeaker,
        /// Whose.
        name: String,
        /// Why.
        reason: String,
    },
    /// The system refused.
    #[error("{action} of `{name}`")]
    System {
        /// What was attempted.
        action: String,
        /// Whose daemon.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// It ended, or does not answer.
    #[error("{speaker} of `{name}` {what}{}", said(.log))]
    Start {
        /// Which daemon.
        speaker: ExternalSpeaker,
        /// Whose.
        name: String,
        /// What it does instead.
        what: String,
        /// The end of its log.
        log: String,
    },
}

fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its last words:\n{log}") }
}

/// A running daemon. Dropping it ends it.
#[derive(Debug)]
pub struct External {
    speaker: ExternalSpeaker,
    config: SpeakerConfig,
    folder: PathBuf,
    programs: Vec<PathBuf>,
    children: Mutex<Vec<Child>>,
    sessions: Mutex<Vec<SessionView>>,
    /// One question at a time: ExaBGP has one pipe for all answers.
    turn: tokio::sync::Mutex<()>,
    started: Instant,
}

impl External {
    /// Starts `speaker` inside `netns` with `config`, all that it reads and writes in `folder`, which is made. Returns once it answers.
    ///
    /// # Errors
    /// It is not installed, cannot be configured, or ends at once.
    pub async fn start(
        netns: &Netns,
        speaker: ExternalSpeaker,
        config: SpeakerConfig,
        folder: PathBuf,
    ) -> Result<Self, ExternalError> {
        let name = config.name.clone();
        let system = |action: &str| {
            let (action, name) = (action.to_owned(), name.clone());
            move |source| ExternalError::System { action, name, source }
        };
        let programs = find(speaker)?;
        let files = external::configuration(speaker, &config);
        let files = files.map_err(|reason| ExternalError::Configuration { speaker, name: name.clone(), reason })?;
        let make = || {
            DirBuilder::new().mode(0o700).recursive(true).create(&folder)?;
            for file in files {
                new_file(&folder.join(file.name))?.write_all(file.text.as_bytes())?;
            }
            if speaker == ExternalSpeaker::ExaBgp {
                for pipe in ["exabgp.in", "exabgp.out"] {
                    mkfifo(&folder.join(pipe), Mode::S_IRUSR | Mode::S_IWUSR)?;
                }
            }
            io::Result::Ok(())
        };
        make().map_err(system("write the configuration"))?;
        let started = Self {
            sessions: Mutex::new(external::silent(&config)),
            speaker,
            config,
            folder,
            programs,
            children: Mutex::new(Vec::new()),
            turn: tokio::sync::Mutex::new(()),
            started: Instant::now(),
        };
        // In order: bgpd wants zebra's socket.
        for (index, path) in started.programs_to_run().enumerate() {
            let program = started.program(index, path).map_err(system("open the log"))?;
            let child = spawn(netns, program).map_err(system(&format!("start {}", path.display())))?;
            started.children().push(child);
            started.answered(index).await?;
        }
        started.announce().await.map_err(system("announce the networks"))?;
        started.refresh().await;
        Ok(started)
    }

    /// Its programs that are daemons: `gobgp` is for asking.
    fn programs_to_run(&self) -> impl Iterator<Item = &Path> {
        let count = if self.speaker == ExternalSpeaker::GoBgp { 1 } else { self.programs.len() };
        self.programs[..count].iter().map(PathBuf::as_path)
    }

    fn program(&self, index: usize, path: &Path) -> io::Result<Program> {
        let file = |name: &str| self.folder.join(name).into_os_string();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut environment = Vec::new();
        let arguments: Vec<OsString> = match self.speaker {
            ExternalSpeaker::Bird => {
                let options = [("-c", "bird.conf"), ("-s", "bird.ctl"), ("-P", "bird.pid")];
                let options = options.into_iter().flat_map(|(option, name)| [option.into(), file(name)]);
                words(&["-f"]).into_iter().chain(options).collect()
            }
            ExternalSpeaker::Frr => {
                let name = ["zebra", "bgpd"][index];
                // Its own user cannot look into the lab's directory; its group is asked for even of root.
                let mut all = words(&["-u", "root", "-g", "frrvty", "-P", "0", "--log", "stdout", "--vty_socket"]);
                all.push(self.folder.clone().into());
                let options =
                    [("-f", format!("{name}.conf")), ("-i", format!("{name}.pid")), ("-z", "zserv.api".into())];
                all.extend(options.into_iter().flat_map(|(option, name)| [option.into(), file(&name)]));
                if name == "bgpd" {
                    all.extend(words(&["-p", &self.config.listen_port.to_string()]));
                }
                all
            }
            ExternalSpeaker::GoBgp => {
                let mut api = OsString::from("unix://");
                api.push(file("gobgpd.sock"));
                [words(&["--pprof-disable", "-f"]), vec![file("gobgpd.toml"), "--api-hosts".into(), api]].concat()
            }
            ExternalSpeaker::ExaBgp => {
                // It looks for its pipes by a name below a few folders, of which `/run` is one.
                let pipes = self.folder.strip_prefix("/run").unwrap_or(&self.folder).join("exabgp");
                environment.push(("exabgp_api_pipename", pipes.into_os_string()));
                environment.push(("exabgp_daemon_user", "root".into()));
                environment.push(("exabgp_daemon_daemonize", "false".into()));
                environment.push(("exabgp_log_destination", "stdout".into()));
                vec![file("exabgp.conf")]
            }
        };
        Ok(Program {
            path: path.to_owned(),
            arguments,
            environment,
            log: new_file(&self.log(index))?,
            // FRR makes a folder for sockets and one for logs of crashes, whatever it is told.
            sealed_but: (self.speaker == ExternalSpeaker::Frr).then(|| self.folder.clone()),
        })
    }

    /// Where the program `index` logs.
    fn log(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.speaker.programs()[index]))
    }

    /// Waits until the program `index` answers.
    async fn answered(&self, index: usize) -> Result<(), ExternalError> {
        let mut again = tokio::time::interval(ASK_AGAIN);
        let deadline = Instant::now() + START;
        loop {
            again.tick().await;
            let is_zebra = self.speaker == ExternalSpeaker::Frr && index == 0;
            let answer = match is_zebra {
                true => tokio::net::UnixStream::connect(self.folder.join("zserv.api")).await.map(drop),
                false => self.ask().await.map(drop),
            };
            let Err(error) = answer else { return Ok(()) };
            let ended = self.ended();
            if ended.is_none() && Instant::now() < deadline {
                continue;
            }
            return Err(ExternalError::Start {
                speaker: self.speaker,
                name: self.config.name.clone(),
                what: ended.unwrap_or_else(|| format!("does not answer: {error}")),
                log: last_lines(&self.log(index)),
            });
        }
    }

    /// Has it originate what its configuration cannot say.
    async fn announce(&self) -> io::Result<()> {
        if self.speaker == ExternalSpeaker::GoBgp {
            for network in external::gobgp::networks(&self.config) {
                ask::gobgp(&self.programs[1], &self.folder, &external::gobgp::originated(network)).await?;
            }
        }
        Ok(())
    }

    async fn ask(&self) -> io::Result<Vec<SessionView>> {
        let (folder, config) = (&self.folder, &self.config);
        Ok(match self.speaker {
            ExternalSpeaker::Bird => {
                external::bird::sessions(config, &ask::birdc(folder, external::bird::QUERY).await?)
            }
            ExternalSpeaker::Frr => {
                let answer = ask::vtysh(folder, &["enable", external::frr::QUERY]).await?;
                external::frr::sessions(config, &answer)
            }
            ExternalSpeaker::GoBgp => {
                let answer = ask::gobgp(&self.programs[1], folder, &external::gobgp::QUERY).await?;
                external::gobgp::sessions(config, &answer)
            }
            ExternalSpeaker::ExaBgp => {
                external::exabgp::sessions(config, &ask::exabgp(folder, external::exabgp::QUERY).await?)
            }
        })
    }

    /// Asks it for its sessions; one that does not answer has none.
    pub async fn refresh(&self) {
        let _turn = self.turn.lock().await;
        let now = self.ask().await.unwrap_or_else(|error| {
            tracing::warn!(speaker = %self.speaker, name = %self.config.name, %error, "ask");
            external::silent(&self.config)
        });
        *self.sessions() = now;
    }

    /// The node or router whose part it plays.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its sessions as it told them last.
    pub fn view(&self) -> SpeakerView {
        SpeakerView {
            name: self.config.name.clone(),
            local_as: self.config.local_as,
            router_id: self.config.router_id,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sessions: self.sessions().clone(),
        }
    }

    /// Asks something of the states that it told last, in the order of the configuration.
    pub fn states<T>(&self, question: impl FnOnce(&mut dyn Iterator<Item = State>) -> T) -> T {
        question(&mut self.sessions().iter().map(|session| session.state))
    }

    /// Has it carry out commands of its own command line, one after the other; the last one's answer. For GoBGP a command is the
    /// words of one call of `gobgp`.
    ///
    /// # Errors
    /// It does not answer, or refuses one, and the others are not tried.
    pub async fn command(&self, commands: &[impl AsRef<str>]) -> io::Result<String> {
        let _turn = self.turn.lock().await;
        if self.speaker == ExternalSpeaker::Frr {
            return ask::vtysh(&self.folder, commands).await;
        }
        let mut answer = String::new();
        for command in commands.iter().map(AsRef::as_ref) {
            answer = match self.speaker {
                ExternalSpeaker::Bird => ask::birdc(&self.folder, command).await?,
                ExternalSpeaker::GoBgp => {
                    let words: Vec<&str> = command.split(' ').collect();
                    ask::gobgp(&self.programs[1], &self.folder, &words).await?
                }
                ExternalSpeaker::ExaBgp | ExternalSpeaker::Frr => ask::exabgp(&self.folder, command).await?,
            };
        }
        Ok(answer)
    }

    /// Disables, enables or restarts a session.
    ///
    /// # Errors
    /// It cannot, or refuses.
    pub async fn administer(&self, peer: PeerId, order: Order) -> Result<(), String> {
        let peer = self.config.peers.get(peer.0 as usize).ok_or("there is no such peer")?;
        let commands = external::administration(self.speaker, &self.config, peer, order)?;
        let done = self.command(&commands).await;
        done.map_err(|error| format!("{} of `{}`: {error}", self.speaker, self.config.name))?;
        self.refresh().await;
        Ok(())
    }

    /// Why it runs no more, with the end of its log's words; `None` while it does.
    pub fn failure(&self) -> Option<String> {
        let ended = self.ended()?;
        Some(format!("{}: {} {ended}; its log is {}", self.config.name, self.speaker, self.log(0).display()))
    }

    /// What shows more of it than its sessions.
    pub fn remedy(&self) -> String {
        let (name, folder) = (&self.config.name, self.folder.display());
        match self.speaker {
            ExternalSpeaker::Bird => format!("`lab birdc {name} show route all`"),
            ExternalSpeaker::Frr => format!("`vtysh --vty_socket {folder} -c 'show bgp ipv4 unicast'`"),
            ExternalSpeaker::GoBgp => format!("`gobgp --target unix://{folder}/gobgpd.sock global rib`"),
            ExternalSpeaker::ExaBgp => format!("its log is {}", self.log(0).display()),
        }
    }

    /// How one of its programs ended.
    fn ended(&self) -> Option<String> {
        let mut children = self.children();
        let ended = children
            .iter_mut()
            .zip(self.speaker.programs())
            .find_map(|(child, program)| Some((child.try_wait().ok()??, *program)));
        ended.map(|(status, program)| format!("ended: {program}, {status}"))
    }

    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock().expect("nobody panics while holding this")
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<SessionView>> {
        self.sessions.lock().expect("nobody panics while holding this")
    }
}

impl Drop for External {
    fn drop(&mut self) {
        let Ok(children) = self.children.get_mut() else { return };
        // The number of one that was waited for may be another process's by now.
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for child in children.iter() {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        }
        for child in children {
            // What it has not ended by then, `end_process` ends.
            let _ = crate::fabric::end_process(child.id().cast_signed(), GRACE);
            let _ = child.wait();
        }
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)
}

fn last_lines(path: &Path) -> String {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(5).collect();
    tail.into_iter().rev().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
