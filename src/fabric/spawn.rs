//! Starting programs of the host inside a namespace, so that they end with this process.

#![expect(clippy::disallowed_methods, reason = "I/O edge: runs programs")]
#![expect(unsafe_code, reason = "what a child does before it becomes the program has no safe wrapper in std")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, mkdir, symlinkat};

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
    /// For a program that writes where it likes: `/run` and `/var` are its own and gone with it, and of the host's it finds there this
    /// folder only.
    pub sealed_but: Option<PathBuf>,
}

/// Starts `program` inside `netns`, with SIGTERM at the end of this process, however that ends.
///
/// # Errors
/// The namespace cannot be entered, or there is no such program.
pub fn spawn(netns: &Netns, program: Program) -> io::Result<Child> {
    let Program { path, arguments, environment, log, sealed_but } = program;
    let mut command = Command::new(path);
    command.args(arguments).envs(environment).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    let prepare = move || {
        if let Some(folder) = &sealed_but {
            seal(folder)?;
        }
        // The kernel sends it when the thread ends that started the child: the namespace thread, which lives as long as the process.
        Ok(set_pdeathsig(Signal::SIGTERM)?)
    };
    // SAFETY: between fork and exec this makes system calls only; nix copies such short paths to the stack, and nothing allocates.
    unsafe { command.pre_exec(prepare) };
    netns.run(move || command.spawn())?
}

/// Gives this process mounts of its own in which `/run` and `/var` are empty but for `folder`, which must exist.
fn seal(folder: &Path) -> io::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    // Being in it is how to name it once it is hidden.
    chdir(folder)?;
    for hidden in ["/run", "/var"] {
        mount(Some("lab"), hidden, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    }
    for (path, mode) in [("/var/tmp", 0o1777), ("/var/lib", 0o755), ("/var/log", 0o755)] {
        make_directory(Path::new(path), mode)?;
    }
    symlinkat("/run", AT_FDCWD, "/var/run")?;
    let path = folder.as_os_str().as_bytes();
    // From the root down.
    for end in (1..=path.len()).filter(|&end| path.get(end).is_none_or(|byte| *byte == b'/')) {
        make_directory(Path::new(OsStr::from_bytes(&path[..end])), 0o755)?;
    }
    mount(Some("."), folder, none, MsFlags::MS_BIND, none)?;
    Ok(chdir("/")?)
}

/// Like `mkdir`, content with what is there.
fn make_directory(path: &Path, mode: u32) -> nix::Result<()> {
    match mkdir(path, Mode::from_bits_truncate(mode)) {
        Err(Errno::EEXIST) => Ok(()),
        made => made,
    }
}
