//! The command line, as it is typed: what `lab` writes, and how it ends. No root, no lab.
//!
//! A case is a file in `tests/cli/<ending>/`, and the folder says how every command in it must end: `ok` with 0, `invalid`
//! with 2, `environment` with 3, `none-ran` with 4; commands in `environment` are not run by root.
//!
//! - `x.console` is a transcript: `$ lab …`, what that writes to standard output, then after a line `[stderr]` what it writes
//!   to standard error. Lines before the first `$` are remarks. Commands run in the case's folder, by no shell: words are
//!   separated by blanks, `'…'` is one word.
//! - `x.toml` without a transcript is one for `$ lab check 'x.toml'`.
//! - `tests/golden/x.txt` and `x.json` are what `lab plan topologies/x.toml` prints, plain and with `-o json`.
//!
//! In what is expected, `[..]` stands for anything within a line, a line `...` for any number of lines.
//!
//! `SNAPSHOTS=overwrite cargo test --test cli` writes all of them anew; read the diff before you commit it. A new case is an
//! `x.toml`, or an `x.console` with only its `$` lines, and that command.

#![expect(clippy::disallowed_methods, reason = "runs the program and reads files")]

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Failed, Trial};
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::data::DataFormat;
use snapbox::{Assert, Data, Redactions};
use tempfile::TempDir;

const ENDINGS: [(&str, i32); 4] = [("ok", 0), ("invalid", 2), ("environment", 3), ("none-ran", 4)];

static ROOT: LazyLock<&Path> = LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")));

fn main() -> ExitCode {
    let public = nix::unistd::geteuid().is_root().then(|| public_place().expect("a public place can be made"));
    let mut trials = Vec::new();
    for (folder, status) in ENDINGS {
        let folder_path = ROOT.join("tests/cli").join(folder);
        for path in stems(&folder_path) {
            let name = format!("{folder}::{}", path.file_name().unwrap_or_default().to_string_lossy());
            let public = public.as_ref().filter(|_| folder == "environment").map(|place| place.path().to_owned());
            trials.push(Trial::test(name, move || transcript(&path, status, public.as_deref())));
        }
    }
    for path in files(&ROOT.join("tests/golden")) {
        let name = format!("golden::{}", path.file_name().unwrap_or_default().to_string_lossy());
        trials.push(Trial::test(name, move || golden(&path)));
    }
    trials.push(Trial::test("a_table_on_a_terminal_that_tells_no_columns_is_as_wide_as_its_text", no_columns));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A new pseudo-terminal has no columns, as a serial console has none.
fn no_columns() -> Result<(), Failed> {
    let pty = nix::pty::openpty(None, None)?;
    // The program's is the only other end that is left: when it ends, so does reading.
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab")).arg("doctor").stdout(pty.slave).spawn()?;
    let mut written = Vec::new();
    let _ = fs::File::from(pty.master).read_to_end(&mut written);
    child.wait()?;
    let written = String::from_utf8(written)?;
    match written.contains("network namespaces") {
        true => Ok(()),
        false => Err(written.into()),
    }
}

/// Compares, or rewrites, the transcript `stem`.console.
fn transcript(stem: &Path, status: i32, public: Option<&Path>) -> Result<(), Failed> {
    let file = stem.with_extension("console");
    let folder = stem.parent().ok_or("a case is in a folder")?;
    let expected = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(_) => format!("$ lab check '{}'\n", stem.with_extension("toml").file_name().unwrap_or_default().display()),
    };
    let mut commands = expected.split_inclusive('\n').filter(|line| line.starts_with("$ ")).peekable();
    if commands.peek().is_none() {
        return Err(format!("{} has no command", file.display()).into());
    }
    let remarks = expected.split_inclusive('\n').take_while(|line| !line.starts_with("$ "));
    let mut actual: String = remarks.collect();
    for line in commands {
        let words = words(line.trim_end().trim_start_matches("$ "));
        let (program, arguments) = words.split_first().ok_or("an empty command")?;
        if program != "lab" {
            return Err(format!("`{program}` is not `lab`").into());
        }
        let output = lab(folder, public, arguments)?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        if output.status.code() != Some(status) {
            let ending = output.status;
            return Err(format!("`{}` ends with {ending}, not with {status}\n{stdout}{stderr}", line.trim_end()).into());
        }
        actual += line;
        actual += &stdout;
        if !stderr.is_empty() {
            actual += "[stderr]\n";
            actual += &stderr;
        }
        if !actual.ends_with('\n') {
            actual += "\n[no newline at the end]\n";
        }
    }
    compare(actual, &file);
    Ok(())
}

/// Compares, or rewrites, what `lab plan` prints of a topology.
fn golden(file: &Path) -> Result<(), Failed> {
    let stem = file.file_stem().ok_or("a file has a name")?.to_string_lossy();
    let json = file.extension().is_some_and(|extension| extension == "json");
    let arguments = ["plan".to_owned(), format!("topologies/{stem}.toml")].into_iter();
    let arguments: Vec<String> = arguments.chain(json.then(|| "--output=json".to_owned())).collect();
    let output = lab(&ROOT, None, &arguments)?;
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr)?.into());
    }
    compare(String::from_utf8(output.stdout)?, file);
    Ok(())
}

fn compare(actual: String, expected: &Path) {
    // Text, even where it is JSON: that the same topology gives the same bytes is what is promised.
    let expected = Data::read_from(expected, Some(DataFormat::Text));
    let mut redactions = Redactions::new();
    redactions.insert("[LAB]", env!("CARGO_BIN_EXE_lab")).expect("the placeholder is a placeholder");
    let assert = Assert::new().action_env(DEFAULT_ACTION_ENV).normalize_paths(false).redact_with(redactions);
    assert.eq(Data::text(actual), expected);
}

/// Runs `lab` in `folder`, or as nobody in the public place, without a terminal and with an empty environment.
fn lab(folder: &Path, public: Option<&Path>, arguments: &[String]) -> Result<Output, Failed> {
    let mut command = match public {
        Some(place) => {
            let mut command = Command::new(place.join("lab"));
            command.current_dir(place.join("case")).arg0(env!("CARGO_BIN_EXE_lab")).uid(NOBODY).gid(NOBODY);
            command
        }
        None => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
            command.current_dir(folder);
            command
        }
    };
    Ok(command.args(arguments).env_clear().output()?)
}

const NOBODY: u32 = 65534;

/// Program and cases of `environment` where everybody may read them: a clone may lie in root's home. Made before the first
/// case runs, for a program that another thread's child still has open for writing cannot be started.
fn public_place() -> io::Result<TempDir> {
    let place = tempfile::tempdir()?;
    let readable = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    readable(place.path())?;
    fs::copy(env!("CARGO_BIN_EXE_lab"), place.path().join("lab"))?;
    readable(&place.path().join("lab"))?;
    let cases = place.path().join("case");
    fs::create_dir(&cases)?;
    readable(&cases)?;
    for file in files(&ROOT.join("tests/cli/environment")) {
        let copy = cases.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &copy)?;
        readable(&copy)?;
    }
    Ok(place)
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    words
}

/// The cases of a folder, without their extensions.
fn stems(folder: &Path) -> Vec<PathBuf> {
    let case = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml" || extension == "console");
    let mut stems: Vec<PathBuf> = files(folder).into_iter().filter(case).map(|path| path.with_extension("")).collect();
    stems.dedup();
    stems
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}
