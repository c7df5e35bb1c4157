//! The command line: arguments, one file per verb, exit codes. The only place that writes to the terminal.

mod args;
mod commands;
mod exit_code;
mod failure;
mod select;

pub use exit_code::ExitCode;

use clap::Parser as _;

use args::{Arguments, Verb};
use failure::Failure;

/// Runs the program: parses the arguments, runs the verb, prints what went wrong.
pub fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::Invalid } else { ExitCode::Done };
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return code.into();
        }
    };
    init_log();
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.code
        }
    }
    .into()
}

/// `LAB_LOG=debug` and the like; warnings otherwise. Logs go to standard error.
fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LAB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { lab, output, quiet, verb } = arguments;
    let selected = lab.as_ref();
    // These become another program or another session: they come before the first thread.
    let verb = match verb {
        Verb::Exec { r#where, command } => return commands::exec::exec(selected, &r#where, &command),
        Verb::Shell { r#where } => return commands::exec::shell(selected, &r#where),
        Verb::Daemon { lab, timeout_ms } => {
            return crate::control::run_daemon(&lab, std::time::Duration::from_millis(timeout_ms))
                .map(|()| ExitCode::Done)
                .map_err(|error| Failure::environment(format!("the daemon of lab `{lab}`: {error}")));
        }
        verb => verb,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("start the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        match verb {
            Verb::Up { file, timeout } => commands::up::up(&file, timeout, output, quiet).await,
            Verb::Down { what, all } => commands::down::down(selected, what.as_deref(), all, quiet).await,
            Verb::Ls => commands::ls::ls(output),
            Verb::Status { name } => commands::status::status(name.as_ref().or(selected), output).await,
            Verb::Test(arguments) => commands::test::test(selected, &arguments, output, quiet).await,
            Verb::Check { files } => commands::file::check(&files, output, quiet),
            Verb::Plan { file } => commands::file::plan(&file, output),
            Verb::Schema { kind } => commands::file::schema(kind),
            Verb::Ping(arguments) => commands::probe::ping(selected, &arguments, output).await,
            Verb::Curl { from, to, timeout } => commands::probe::curl(selected, &from, &to, timeout, output).await,
            Verb::Capture { what, count, write } => {
                commands::capture::capture(selected, &what, count, write.as_deref(), quiet).await
            }
            Verb::Show { r#where, what, prefix } => {
                commands::show::show(selected, &r#where, what, prefix, output).await
            }
            Verb::Calicoctl(args::Calicoctl::Node(args::CalicoctlNode::Status { node })) => {
                commands::show::calicoctl_node_status(selected, &node).await
            }
            Verb::Birdc { node, command } => commands::show::birdc(selected, &node, &command).await,
            Verb::Link(verb) => commands::fault::link(selected, &verb, output, quiet).await,
            Verb::Peer(verb) => commands::fault::peer(selected, &verb, output, quiet).await,
            Verb::Calico(verb) => commands::calico::calico(&verb),
            Verb::Doctor => commands::doctor::doctor(output).await,
            Verb::Completions { shell } => commands::file::completions(shell),
            Verb::Exec { .. } | Verb::Shell { .. } | Verb::Daemon { .. } => unreachable!("handled before the runtime"),
        }
    });
    // A reader thread on standard input or a capture must not hold the exit up.
    runtime.shutdown_background();
    outcome
}
