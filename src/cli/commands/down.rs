//! `lab down`.

#![expect(clippy::disallowed_methods, reason = "I/O edge: reads topology files")]

use std::path::{Path, PathBuf};

use super::print;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{existing, require_root};
use crate::control::{StateDir, down as take_down, labs};
use crate::net::LabName;
use crate::topology;

pub(crate) async fn down(
    selected: Option<&LabName>,
    what: Option<&str>,
    all: bool,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let doomed = match (all, what) {
        (true, _) => labs().into_iter().map(|(lab, _)| lab).collect(),
        (false, Some(what)) => vec![existing(&named(what)?)?],
        (false, None) => match (selected, labs().as_slice()) {
            (Some(name), _) => vec![existing(name)?],
            (None, []) => return Err(Failure::environment("no lab exists")),
            (None, [(only, _)]) => vec![only.clone()],
            (None, several) => {
                let names = several.iter().map(|(lab, _)| lab.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Failure::invalid(format!("several labs exist, say which or `--all`: {names}")));
            }
        },
    };
    let mut failures = Vec::new();
    for lab in &doomed {
        match take_down(lab).await {
            Ok(()) if quiet => {}
            Ok(()) => print(&format!("lab `{lab}` is down\n")),
            Err(error) => failures.push(crate::report::chain(&error)),
        }
    }
    match failures.as_slice() {
        [] => Ok(ExitCode::Done),
        failures => Err(Failure::environment(failures.join("\nerror: "))),
    }
}

/// The lab that a word means: its name, or its topology file, whether or not that still exists.
fn named(what: &str) -> Result<LabName, Failure> {
    let path = Path::new(what);
    if !what.contains('/') && !what.ends_with(".toml") {
        return LabName::new(what).map_err(|error| Failure::invalid(error.to_string()));
    }
    let file = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let made_from_it = |lab: &LabName| StateDir::of(lab).file().is_some_and(|origin| origin == file);
    let made: Vec<LabName> = labs().into_iter().map(|(lab, _)| lab).filter(made_from_it).collect();
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parsed = std::fs::read_to_string(path).ok().and_then(|text| topology::parse(&text, stem).ok());
    match (parsed, made.as_slice()) {
        // The file's own word counts before what it said when the lab was made.
        (Some(topology), _) if StateDir::of(&topology.name).exists() => Ok(topology.name),
        (_, [lab]) => Ok(lab.clone()),
        (Some(topology), _) => Ok(topology.name),
        (None, []) => {
            Err(Failure::environment(format!("no lab was made from {what}; `lab ls` lists those that exist")))
        }
        (None, several) => {
            let names = several.iter().map(LabName::as_str).collect::<Vec<_>>().join(", ");
            Err(Failure::invalid(format!("several labs were made from {what}, say which: {names}")))
        }
    }
}
