//! Starting programs of the host inside a namespace, so that they end with this process.

#![expect(clippy::disallowed_methods, reason = "I/O edge: runs programs")]
#![expect(unsafe_code, reason = "what a child does before it becomes the program has no safe wrapper in std")]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::netns::Netns;

/// A program to be started.
#[derive(Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What its environment has besides ours.
    pub environment: Vec<(&'static str, OsString)>,
    /// Where its standard output and error go.
    pub log: File,
    /// A directory that is empty to it, and gone with it: what it writes there must not stay on the host.
    pub scratch: Option<&'static str>,
}

/// Starts `program` inside `netns`, with SIGTERM at the end of this process, however that ends.
///
/// # Errors
/// The namespace cannot be entered, or there is no such program.
pub fn spawn(netns: &Netns, program: Program) -> io::Result<Child> {
    let Program { path, arguments, environment, log, scratch } = program;
    let mut command = Command::new(path);
    command.args(arguments).envs(environment).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    let prepare = move || {
        if let Some(scratch) = scratch {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            mount(Some("lab"), scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))?;
        }
        // The kernel sends it when the thread ends that started the child: the namespace thread, which lives as long as the process.
        Ok(set_pdeathsig(Signal::SIGTERM)?)
    };
    // SAFETY: between fork and exec this makes system calls only; nix copies such short paths to the stack, and nothing allocates.
    unsafe { command.pre_exec(prepare) };
    netns.run(move || command.spawn())?
}
