//! `lab up`.

#![expect(clippy::disallowed_methods, reason = "I/O edge: tells how long it took")]

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{file, print, print_json, status};
use crate::cli::args::Output;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::require_root;
use crate::control::{Client, StateDir, UpEvent, UpOptions, up as bring_up};

pub(crate) async fn up(path: &Path, timeout: Duration, output: Output, quiet: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let file = file::read_topology(path)?;
    require_root()?;
    let progress = Progress::new(quiet);
    let options = UpOptions { text: &file.text, file: path, stem: &file.stem, timeout };
    let missing = bring_up(&file.plan, &options, &mut |event| progress.show(event)).await;
    progress.clear();
    let missing = missing?;
    let lab = &file.plan.lab;
    if !quiet {
        let state = Client::new(&StateDir::of(lab)).status().await?;
        match output {
            Output::Json => print_json(&state)?,
            Output::Table => {
                print(&status::summary(&state));
                if missing.is_empty() {
                    let after = started.elapsed().as_secs_f64();
                    print(&format!("lab `{lab}` has converged, {after:.3} s after the start\n"));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::Done);
    }
    let missing = missing.iter().map(|fact| format!("\n  {fact}")).collect::<String>();
    Err(Failure::failed(format!(
        "lab `{lab}` has not converged within {}; it stays up, to be looked at. What does not hold:{missing}",
        crate::net::show_duration(timeout)
    )))
}

/// A bar on standard error, where that is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = match quiet || !std::io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(0),
        };
        let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {pos}/{len}").expect("the template is right");
        bar.set_style(style.progress_chars("=> "));
        Self(bar)
    }

    pub(crate) fn show(&self, event: &UpEvent) {
        let (message, done, total) = match event {
            UpEvent::Building { done, total } => ("building the fabric", *done, *total),
            UpEvent::Converging { established, awaited } => ("sessions established", *established, *awaited),
            _ => return,
        };
        self.0.set_message(message);
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
