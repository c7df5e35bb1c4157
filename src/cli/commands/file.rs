//! Verbs on files alone: check, plan, schema, completions. None needs root.

use std::io::{ErrorKind, IsTerminal as _};
use std::path::Path;

use clap::CommandFactory as _;
use serde_json::json;
use toml::de::DeTable;

use super::{print, print_json};
use crate::cli::args::{Arguments, Output, Schema};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::control::LabStatus;
use crate::plan::{self, Plan};
use crate::report::{diagnostic, plan as plan_text};
use crate::scenario::{self, Scenario};
use crate::topology::{self, Diagnostic, Topology};

/// A topology file that was read and understood.
pub(crate) struct TopologyFile {
    pub(crate) text: String,
    pub(crate) stem: String,
    pub(crate) topology: Topology,
    pub(crate) plan: Plan,
}

/// A file that is wrong: its name, its text, and every fault.
pub(crate) struct Faulty {
    name: String,
    text: String,
    faults: Vec<Diagnostic>,
}

impl Faulty {
    fn new(path: &Path, text: &str, faults: Vec<Diagnostic>) -> Self {
        Self { name: path.display().to_string(), text: text.into(), faults }
    }

    /// Whether both are faults of one file, by whatever path it was reached.
    fn is_same_file(&self, other: &Self) -> bool {
        let real = |name: &str| std::fs::canonicalize(name).unwrap_or_else(|_| name.into());
        self.text == other.text && real(&self.name) == real(&other.name)
    }

    fn render(&self) -> String {
        let color =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        diagnostic::render(&self.name, &self.text, &self.faults, color)
    }
}

/// Why a file cannot be used.
pub(crate) enum FileError {
    Unreadable(String),
    Faulty(Faulty),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Unreadable(reason) => Self::invalid(reason),
            FileError::Faulty(faulty) => Self::diagnostics(faulty.render()),
        }
    }
}

/// Reads a topology and plans it.
pub(crate) fn read_topology(path: &Path) -> Result<TopologyFile, FileError> {
    let text = read(path)?;
    if kind(&text) == Some(Kind::Scenario) {
        return Err(FileError::Unreadable(format!(
            "{} is a scenario, and this takes a topology: `lab test {0}` runs it",
            path.display()
        )));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let faulty = |faults| FileError::Faulty(Faulty::new(path, &text, faults));
    let topology = topology::parse(&text, &stem).map_err(faulty)?;
    let plan = plan::build(&topology).map_err(faulty)?;
    Ok(TopologyFile { stem, topology, plan, text })
}

/// Reads a scenario and the topology that it names.
pub(crate) fn read_scenario(path: &Path) -> Result<(Scenario, std::path::PathBuf, TopologyFile), FileError> {
    let text = read(path)?;
    if kind(&text) == Some(Kind::Topology) {
        return Err(FileError::Unreadable(format!(
            "{} is a topology, and this takes a scenario: `lab up {0}` builds it",
            path.display()
        )));
    }
    let faulty = |faults| FileError::Faulty(Faulty::new(path, &text, faults));
    let scenario = scenario::parse(&text).map_err(faulty)?;
    let file = path.parent().unwrap_or_else(|| Path::new("")).join(&*scenario.topology);
    let topology = read_topology(&file).map_err(|error| match error {
        // Where the file is named is what to change.
        FileError::Unreadable(message) => faulty(vec![Diagnostic {
            code: "no-topology",
            span: scenario.topology.span.clone(),
            message,
            label: "the topology".into(),
            help: "write the path of a topology, relative to the folder of this file".into(),
        }]),
        error => error,
    })?;
    match scenario::check(&scenario, &topology.topology) {
        faults if faults.is_empty() => Ok((scenario, file, topology)),
        faults => Err(FileError::Faulty(Faulty::new(path, &text, faults))),
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Topology,
    Scenario,
}

/// What a file is by its top-level keys, before it is known to be right, or even TOML; `None` where they do not tell.
fn kind(text: &str) -> Option<Kind> {
    let (table, _) = DeTable::parse_recoverable(text);
    let has = |keys: &[&str]| keys.iter().any(|key| table.get_ref().contains_key(*key));
    match (
        has(&["step", "topology", "provider"]),
        has(&["node", "pod", "mode", "router", "segment", "IPPool", "BGPPeer"]),
    ) {
        (true, false) => Some(Kind::Scenario),
        (false, true) => Some(Kind::Topology),
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    let reason = match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
                let (line, column) = diagnostic::position(&text, valid);
                format!("it is no text in UTF-8, from line {line}, column {column} on")
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => "no such file".into(),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            format!("it is a directory: name the files, `{}` say", path.join("*.toml").display())
        }
        Err(error) => error.to_string(),
    };
    Err(FileError::Unreadable(format!("read {}: {reason}", path.display())))
}

/// `lab check`: every file, every fault, in the order of the files. A topology that several scenarios use is told of once.
pub(crate) fn check(files: &[std::path::PathBuf], output: Output, quiet: bool) -> Result<ExitCode, Failure> {
    let mut faulty: Vec<Faulty> = Vec::new();
    let mut unreadable = Vec::new();
    let mut said = false;
    for path in files {
        let is_scenario = read(path).is_ok_and(|text| kind(&text) == Some(Kind::Scenario));
        let checked = match is_scenario {
            true => read_scenario(path).map(|(scenario, ..)| format!("a scenario of {} steps", scenario.steps.len())),
            false => read_topology(path).map(|file| {
                format!(
                    "lab `{}`, {} nodes, {} pods",
                    file.topology.name,
                    file.topology.nodes.len(),
                    file.topology.pods.len()
                )
            }),
        };
        match checked {
            Ok(what) if output == Output::Table && !quiet => print(&format!("{}: ok: {what}\n", path.display())),
            Ok(_) => {}
            Err(error) => {
                match &error {
                    FileError::Faulty(found) if faulty.iter().any(|other| other.is_same_file(found)) => continue,
                    _ if output == Output::Json => {}
                    FileError::Faulty(found) => eprint!("{}{}", if said { "\n" } else { "" }, found.render()),
                    FileError::Unreadable(reason) => eprintln!("{}error: {reason}", if said { "\n" } else { "" }),
                }
                said = true;
                match error {
                    FileError::Unreadable(reason) => unreadable.push(reason),
                    FileError::Faulty(found) => faulty.push(found),
                }
            }
        }
    }
    if output == Output::Json {
        let of_file = |file: &Faulty| match diagnostic::to_json(&file.name, &file.text, &file.faults) {
            serde_json::Value::Array(faults) => faults,
            one => vec![one],
        };
        let faults: Vec<_> = faulty.iter().flat_map(of_file).collect();
        print_json(&json!({ "faults": faults, "unreadable": unreadable }))?;
    }
    Ok(if faulty.is_empty() && unreadable.is_empty() { ExitCode::Done } else { ExitCode::Invalid })
}

/// `lab plan`.
pub(crate) fn plan(path: &Path, output: Output) -> Result<ExitCode, Failure> {
    let file = read_topology(path)?;
    match output {
        Output::Table => print(&plan_text::text(&file.plan)),
        Output::Json => print_json(&file.plan)?,
    }
    Ok(ExitCode::Done)
}

/// `lab schema`.
pub(crate) fn schema(kind: Schema) -> Result<ExitCode, Failure> {
    match kind {
        Schema::Topology => print_json(&topology::schema())?,
        Schema::Scenario => print_json(&scenario::schema())?,
        Schema::Status => print_json(&schemars::schema_for!(LabStatus))?,
    }
    Ok(ExitCode::Done)
}

/// `lab completions`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lab", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::Done)
}
