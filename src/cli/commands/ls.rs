//! `lab ls`: every lab that exists.

use serde::Serialize;

use super::{print, print_json, table};
use crate::cli::args::Output;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::require_root;
use crate::control::{LabState, StateDir, labs, marked as marked_namespaces};
use crate::net::LabName;

#[derive(Serialize)]
struct Row {
    lab: LabName,
    state: LabState,
    namespaces: usize,
    nodes: Option<usize>,
    pods: Option<usize>,
    pid: Option<i32>,
}

pub(crate) fn ls(output: Output) -> Result<ExitCode, Failure> {
    // Without it every lab would look broken: its lock cannot be seen.
    require_root()?;
    let marked = marked_namespaces();
    let rows: Vec<Row> = labs()
        .into_iter()
        .map(|(lab, state)| {
            let dir = StateDir::of(&lab);
            let topology = dir.plan().ok().map(|(topology, _)| topology);
            Row {
                namespaces: marked.iter().find(|(name, _)| *name == lab).map_or(0, |(_, names)| names.len()),
                nodes: topology.as_ref().map(|topology| topology.nodes.len()),
                pods: topology.as_ref().map(|topology| topology.pods.len()),
                pid: dir.pid().filter(|_| state == LabState::Up),
                lab,
                state,
            }
        })
        .collect();
    if output == Output::Json {
        print_json(&rows)?;
        return Ok(ExitCode::Done);
    }
    let mut table = table(["LAB", "STATE", "NODES", "PODS", "NAMESPACES", "DAEMON"]);
    let count = |count: Option<usize>| count.map_or_else(|| "?".into(), |count| count.to_string());
    for row in &rows {
        let state = match row.state {
            LabState::Up => "up",
            LabState::Broken => "broken",
        };
        table.add_row([
            row.lab.to_string(),
            state.into(),
            count(row.nodes),
            count(row.pods),
            row.namespaces.to_string(),
            row.pid.map_or_else(|| "gone".into(), |pid| pid.to_string()),
        ]);
    }
    print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}
