//! The layer map of ARCHITECTURE.md, checked: who may use whom, and that pure code knows no root, no clock and no runtime.

#![expect(clippy::disallowed_methods, reason = "reads the sources")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/` with those that it may use besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("net", &[]),
    ("bgp", &["net"]),
    ("external", &["net", "bgp"]),
    ("packet", &["net"]),
    ("topology", &["net"]),
    ("calico", &["net", "topology"]),
    ("plan", &["net", "topology", "calico", "bgp", "external"]),
    ("scenario", &["net", "topology", "packet", "bgp", "plan"]),
    ("report", &["net", "topology", "calico", "plan", "bgp", "packet", "scenario"]),
    // The I/O edge.
    ("fabric", &["net", "plan", "bgp"]),
    ("bgp_io", &["net", "bgp", "fabric"]),
    ("external_io", &["net", "bgp", "external", "fabric"]),
    ("capture", &["net", "packet", "fabric"]),
    ("probe", &["net", "packet", "fabric"]),
    ("tunnel", &["net", "packet", "fabric"]),
    (
        "control",
        &[
            "net",
            "topology",
            "calico",
            "plan",
            "bgp",
            "external",
            "report",
            "scenario",
            "fabric",
            "bgp_io",
            "external_io",
            "probe",
            "tunnel",
        ],
    ),
    (
        "runner",
        &["net", "topology", "plan", "bgp", "packet", "scenario", "report", "fabric", "capture", "probe", "control"],
    ),
    (
        "cli",
        &[
            "net",
            "topology",
            "calico",
            "plan",
            "bgp",
            "external",
            "packet",
            "scenario",
            "report",
            "fabric",
            "bgp_io",
            "external_io",
            "capture",
            "probe",
            "tunnel",
            "control",
            "runner",
        ],
    ),
];

/// Modules below the edge.
const PURE: &[&str] = &["net", "bgp", "external", "packet", "topology", "calico", "plan", "scenario", "report"];

/// What only the edge may touch.
const EDGE_ONLY: &[&str] = &[
    "tokio::",
    "rtnetlink::",
    "nix::",
    "socket2::",
    "libc::",
    "std::fs",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "println!",
    "eprintln!",
];

#[test]
fn every_module_uses_only_those_below_it() {
    let mut violations = Vec::new();
    for (module, allowed) in LAYERS {
        for_each_line(module, |place, line| {
            for used in line.split("crate::").skip(1).map(first_word) {
                let known = LAYERS.iter().any(|(name, _)| *name == used);
                if known && used != *module && !allowed.contains(&used) {
                    violations.push(format!("{place}: `{module}` uses `{used}`: {}", line.trim()));
                }
            }
        });
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn pure_modules_touch_nothing_of_the_world() {
    let mut violations = Vec::new();
    for module in PURE {
        for_each_line(module, |place, line| {
            for forbidden in EDGE_ONLY.iter().filter(|forbidden| line.contains(**forbidden)) {
                violations.push(format!("{place}: `{module}` is pure and says `{forbidden}`: {}", line.trim()));
            }
        });
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_folder_of_src_is_on_the_map() {
    let folders = fs::read_dir(source()).expect("src/ is readable").flatten().filter(|entry| entry.path().is_dir());
    let mut unknown: Vec<_> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !LAYERS.iter().any(|(module, _)| module == name))
        .collect();
    unknown.sort();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_cited_section_of_calicos_behaviour_is_in_docs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/calico-behaviour.md");
    let text = fs::read_to_string(docs).expect("the document is there");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let sections: Vec<&str> =
        headings.filter_map(|line| Some(line.split_whitespace().nth(1)?.trim_end_matches('.'))).collect();
    let mut missing = Vec::new();
    for file in sources(&source()) {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        for cited in text.split("calico-behaviour ").skip(1) {
            let end = cited.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(cited.len());
            let cited = cited[..end].trim_end_matches('.');
            if !cited.is_empty() && !sections.contains(&cited) {
                missing.push(format!("{}: calico-behaviour {cited}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// Calls `look` with `file:line` and text of each line of code of `module`; comments and what follows `mod tests` are left out.
fn for_each_line(module: &str, mut look: impl FnMut(String, &str)) {
    for file in sources(&source().join(module)) {
        let in_tests = file.components().any(|part| part.as_os_str() == "tests");
        if in_tests || file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests")) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file is readable");
        for (index, line) in text.lines().enumerate() {
            if line.starts_with("mod tests") {
                break;
            }
            if !line.trim_start().starts_with("//") {
                look(format!("{}:{}", file.display(), index + 1), line);
            }
        }
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of src/ is readable").flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(sources(&path)),
            path if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            _ => {}
        }
    }
    files.sort();
    files
}
