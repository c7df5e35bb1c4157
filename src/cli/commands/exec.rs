//! `lab exec` and `lab shell`: this process enters the namespace and becomes the command.

#![expect(clippy::disallowed_methods, reason = "I/O edge: becomes another program")]

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::net::LabName;

/// Runs `command` in `place`; returns only if that fails.
pub(crate) fn exec(lab: Option<&LabName>, place: &str, command: &[OsString]) -> Result<ExitCode, Failure> {
    require_root()?;
    enter(&Selected::with(lab, place)?, place)?;
    let (program, arguments) = command.split_first().expect("clap asks for a command");
    become_program(Command::new(program).args(arguments), &program.to_string_lossy())
}

/// Opens the user's shell in `place`.
pub(crate) fn shell(lab: Option<&LabName>, place: &str) -> Result<ExitCode, Failure> {
    require_root()?;
    let selected = Selected::with(lab, place)?;
    enter(&selected, place)?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    let prompt = format!("{}:{place}# ", selected.state.lab());
    become_program(Command::new(&shell).env("LAB_WHERE", place).env("PS1", prompt), &shell)
}

/// Enters the namespace as `ip netns exec` does: `/sys` shows its devices, in a mount namespace of our own.
fn enter(selected: &Selected, place: &str) -> Result<(), Failure> {
    let netns = selected.netns(place)?;
    let failed = |what: &str| {
        let what = format!("{what} for netns {}", netns.name());
        move |errno: nix::Error| Failure::environment(format!("{what}: {}", errno.desc()))
    };
    setns(netns.fd(), CloneFlags::CLONE_NEWNET).map_err(failed("enter the namespace"))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).map_err(failed("detach the mounts"))?;
    // Not everywhere is /sys a mount of its own; then the new one simply goes on top.
    let _ = umount2("/sys", MntFlags::MNT_DETACH);
    mount(Some("lab"), "/sys", Some("sysfs"), MsFlags::empty(), none).map_err(failed("mount /sys"))
}

fn become_program(command: &mut Command, program: &str) -> Result<ExitCode, Failure> {
    let error = command.exec();
    let (code, reason) = match error.kind() {
        std::io::ErrorKind::NotFound => (127, "no such program".to_string()),
        _ => (126, error.to_string()),
    };
    eprintln!("error: run `{program}`: {reason}");
    Ok(ExitCode::Other(code))
}
