//! `lab test`: each scenario in a lab of its own, one after another.

#![expect(clippy::disallowed_methods, reason = "I/O edge: finds and writes files, tells the time")]

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::file::{self, TopologyFile};
use super::print;
use super::up::Progress;
use crate::cli::args::{Output, TestArguments};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{existing, require_root};
use crate::control::{Interrupt, LabState, StateDir, UpError, UpOptions, down, up};
use crate::fabric::host;
use crate::net::LabName;
use crate::report::{Console, chain, exit_code, json, junit};
use crate::runner::{self, LiveLab};
use crate::scenario::{Provider, RunEvent, Scenario, ScenarioResult};
use crate::tunnel;

/// One scenario to run.
struct Case {
    name: String,
    scenario: Scenario,
    topology_path: PathBuf,
    topology: TopologyFile,
}

pub(crate) async fn test(
    lab: Option<&LabName>,
    arguments: &TestArguments,
    output: Output,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let cases = read_all(&arguments.files)?;
    if cases.is_empty() {
        let places: Vec<_> = arguments.files.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::none_ran(format!("no scenario ran: there is no `.toml` file in {}", places.join(", "))));
    }
    require_root()?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut console = Console::new(colour);
    // With a JSON report on standard output, the console's lines would spoil it.
    let json_to_stdout = output == Output::Json || arguments.json.as_deref() == Some(Path::new("-"));
    let silent = quiet || json_to_stdout;
    let mut results = Vec::new();
    // From before the first lab: a job that is cancelled (SIGTERM) leaves nothing either.
    let mut interrupt = Interrupt::listen()?;
    let mut interrupted = false;
    for case in &cases {
        let mut emit = |event: RunEvent| {
            let text = console.event(&event);
            if !silent {
                print(&text);
            }
        };
        let result = tokio::select! {
            result = run_one(lab, case, arguments, quiet, &mut emit) => result,
            () = interrupt.recv() => {
                interrupted = true;
                let result = ScenarioResult::error(&case.name, "interrupted");
                emit(RunEvent::ScenarioFinished(result.clone()));
                result
            }
        };
        results.push(result);
        if interrupted {
            break;
        }
    }
    if interrupted && lab.is_none() && !arguments.keep {
        // The one that was interrupted; `down` of a lab that never came is nothing.
        if let Some(case) = cases.get(results.len() - 1) {
            let _ = down(&case.topology.topology.name).await;
        }
    }
    if !silent {
        print(&console.finish(started.elapsed()));
    }
    if let Some(path) = &arguments.junit {
        let report = junit(&results).map_err(|error| Failure::environment(format!("write JUnit: {error}")))?;
        write(path, &report)?;
    }
    let report = || json(&results).map_err(|error| Failure::environment(format!("write JSON: {error}")));
    match &arguments.json {
        Some(path) if path == Path::new("-") => print(&format!("{}\n", report()?)),
        Some(path) => write(path, &report()?)?,
        None if output == Output::Json => print(&format!("{}\n", report()?)),
        None => {}
    }
    Ok(match (interrupted, exit_code(&results)) {
        (true, _) => ExitCode::Other(130),
        (false, 0) => ExitCode::Done,
        (false, 1) => ExitCode::Failed,
        (false, 3) => ExitCode::Environment,
        (false, _) => ExitCode::NoneRan,
    })
}

/// Reads every file before the first lab is built: an invalid one is refused with all the others' faults.
fn read_all(files: &[PathBuf]) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    let mut faults = Vec::new();
    for path in expand(files)? {
        match file::read_scenario(&path) {
            Ok((scenario, topology_path, topology)) => {
                let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                let name = scenario.name.clone().or(stem).unwrap_or_default();
                cases.push(Case { name, scenario, topology_path, topology });
            }
            Err(error) => faults.push(Failure::from(error)),
        }
    }
    match faults.pop() {
        None => Ok(cases),
        Some(last) => {
            for fault in &faults {
                fault.print();
                eprintln!();
            }
            Err(last)
        }
    }
}

/// Files as they are, folders as the `.toml` files in them, by name.
fn expand(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in files {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).map_err(|error| Failure::invalid(format!("read {}: {error}", path.display())))?;
        let inside: BTreeSet<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        found.extend(inside);
    }
    Ok(found)
}

/// Up, steps, down; or the steps alone on the lab that `--lab` names.
async fn run_one(
    lab: Option<&LabName>,
    case: &Case,
    arguments: &TestArguments,
    quiet: bool,
    emit: &mut (dyn FnMut(RunEvent) + Send),
) -> ScenarioResult {
    let end = |result: ScenarioResult, emit: &mut (dyn FnMut(RunEvent) + Send)| {
        emit(RunEvent::ScenarioFinished(result.clone()));
        result
    };
    let reason = match (case.scenario.provider, tunnel::provider()) {
        (Some(Provider::Kernel), tunnel::Provider::User) => {
            Some("it asks for the kernel's tunl0, and ipip is not loaded here: `modprobe ipip`")
        }
        (Some(Provider::User), tunnel::Provider::Kernel) => {
            Some("it asks for tunl0 in user space, and this kernel's ipip is loaded: `modprobe -r ipip`")
        }
        _ if case.scenario.masquerade && !host::can_masquerade() => {
            Some("it needs nftables NAT for natOutgoing, which this kernel does not have: `modprobe nft_masq`")
        }
        _ => None,
    };
    if let Some(reason) = reason {
        return end(ScenarioResult::not_run(&case.name, reason), emit);
    }
    let name = match lab {
        Some(lab) => match existing(lab).map(|lab| StateDir::of(&lab).state()) {
            Ok(Some(LabState::Up)) => lab.clone(),
            Ok(_) => return end(ScenarioResult::error(&case.name, format!("lab `{lab}` is broken")), emit),
            Err(failure) => return end(ScenarioResult::error(&case.name, failure.message()), emit),
        },
        None => {
            let progress = Progress::new(quiet);
            let options = UpOptions {
                text: &case.topology.text,
                file: &case.topology_path,
                stem: &case.topology.stem,
                timeout: arguments.timeout,
            };
            let missing = up(&case.topology.plan, &options, &mut |event| progress.show(event)).await;
            progress.clear();
            let name = case.topology.topology.name.clone();
            match missing {
                Ok(missing) if missing.is_empty() => name,
                Ok(missing) => {
                    let mut result =
                        ScenarioResult::failed(&case.name, format!("the lab did not converge: {}", missing.join("; ")));
                    if !arguments.keep
                        && let Err(error) = down(&name).await
                    {
                        result = ScenarioResult::error(&case.name, chain(&error));
                    }
                    return end(result, emit);
                }
                Err(error @ UpError::Interrupted { .. }) => {
                    return end(ScenarioResult::error(&case.name, error.to_string()), emit);
                }
                Err(error) => return end(ScenarioResult::error(&case.name, chain(&error)), emit),
            }
        }
    };
    let result = match LiveLab::open(&StateDir::of(&name), &arguments.artefacts) {
        Ok(live) => runner::run(&case.name, &case.scenario, &live, emit).await,
        Err(error) => end(ScenarioResult::error(&case.name, chain(&error)), emit),
    };
    if lab.is_none()
        && !arguments.keep
        && let Err(error) = down(&name).await
    {
        return end(ScenarioResult::error(&case.name, chain(&error)), emit);
    }
    result
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::environment(format!("write {}: {error}", path.display())))
}
