//! `lab doctor`: what this host can do, what it lacks, and the remedy. Nothing of the host changes.

use serde::Serialize;

use super::{print, print_json, table};
use crate::cli::args::Output;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::external_io;
use crate::fabric::host::{self, Finding, Standing};
use crate::net::ExternalSpeaker;

#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    findings: &'a [Finding],
}

/// Whether a daemon is installed that a topology may ask for.
fn daemon(speaker: ExternalSpeaker) -> Finding {
    let what = match speaker {
        ExternalSpeaker::Bird => "BIRD 2",
        ExternalSpeaker::Frr => "FRR",
        ExternalSpeaker::GoBgp => "GoBGP",
        ExternalSpeaker::ExaBgp => "ExaBGP",
    };
    match external_io::find(speaker) {
        Ok(programs) => {
            let found = programs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            Finding { what, standing: Standing::Good, found, remedy: String::new() }
        }
        Err(missing) => {
            let remedy =
                format!("apt-get install {}; only `speaker = \"{}\"` needs it", speaker.package(), speaker.key());
            Finding { what, standing: Standing::Limited, found: format!("no {}", missing.program), remedy }
        }
    }
}

/// Exit 0 if labs can be built here, 3 if not.
pub(crate) async fn doctor(output: Output) -> Result<ExitCode, Failure> {
    let mut findings = tokio::task::spawn_blocking(host::examine)
        .await
        .map_err(|error| Failure::environment(format!("examine the host: {error}")))?;
    findings.extend(ExternalSpeaker::ALL.map(daemon));
    let ready = findings.iter().all(|finding| finding.standing != Standing::Missing);
    if output == Output::Json {
        print_json(&Report { ready, findings: &findings })?;
    } else {
        let mut table = table(["WHAT", "STANDING", "FOUND", "REMEDY"]);
        for finding in &findings {
            let standing = match finding.standing {
                Standing::Good => "ok",
                Standing::Limited => "limited",
                Standing::Missing => "missing",
            };
            table.add_row([finding.what, standing, finding.found.as_str(), finding.remedy.as_str()]);
        }
        print(&format!("{table}\n{}\n", if ready { "labs can be built here" } else { "labs cannot be built here" }));
    }
    Ok(if ready { ExitCode::Done } else { ExitCode::Environment })
}
