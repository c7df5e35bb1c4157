//! What README.md says of files and verbs is so.

#![expect(clippy::disallowed_methods, reason = "runs the program and reads files")]

use std::path::Path;
use std::process::Command;

use lab::{plan, scenario, topology};

const README: &str = include_str!("../README.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block)).collect()
}

/// Whether `lab` has this verb.
fn is_verb(words: &[&str]) -> bool {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(words).arg("--help").output().expect("`lab` runs");
    let usage = format!("Usage: lab {}", words.join(" "));
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&usage)
}

#[test]
fn the_topology_can_be_built_but_for_keys_that_exclude_each_other() {
    let examples: Vec<_> = blocks("toml").into_iter().filter(|block| block.contains("[[node]]")).collect();
    let [example] = examples[..] else { panic!("one example of a topology, not {}", examples.len()) };
    let codes = |text: &str| match topology::parse(text, "readme").and_then(|topology| plan::build(&topology)) {
        Ok(_) => vec![],
        Err(faults) => faults.into_iter().map(|fault| fault.code).collect(),
    };
    // The example shows every key: `mode` beside the pools, which it says excludes them.
    assert_eq!(codes(example), ["mode-with-pools"]);
    let without = |key: &str, text: &str| -> String {
        text.split_inclusive('\n').filter(|line| !line.starts_with(key)).collect()
    };
    let text = without("mode", example);
    assert_eq!(codes(&text), [""; 0]);
    let topology = topology::parse(&text, "readme").unwrap();
    assert_eq!((topology.name.as_str(), topology.nodes.len(), topology.pods.len()), ("demo", 41, 3));
}

#[test]
fn every_key_of_a_topology_is_in_the_readme() {
    let schema = topology::schema();
    let example = blocks("toml").into_iter().find(|block| block.contains("[[node]]")).unwrap();
    let keys = |schema: &serde_json::Value| -> Vec<String> {
        schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let mut missing = Vec::new();
    for key in keys(&schema) {
        let property = &schema["properties"][&key];
        let inner = [keys(property), keys(&property["items"])].concat();
        missing.extend(inner.into_iter().chain([key]).filter(|key| !README.contains(key.as_str())));
    }
    assert_eq!(missing, Vec::<String>::new(), "{example}");
}

#[test]
fn the_scenario_is_one_of_the_topology_that_it_names() {
    let examples: Vec<_> = blocks("toml").into_iter().filter(|block| block.contains("[[step]]")).collect();
    let [example] = examples[..] else { panic!("one example of a scenario, not {}", examples.len()) };
    let scenario = scenario::parse(example).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(scenario.topology.value, "../topologies/calico-bgp-fullmesh.toml");
    let topology = include_str!("../topologies/calico-bgp-fullmesh.toml");
    let topology = topology::parse(topology, "calico-bgp-fullmesh").unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(scenario::check(&scenario, &topology), []);
}

#[test]
fn the_steps_that_are_shown_alone_are_steps_of_the_ipip_cluster() {
    let text = include_str!("../topologies/calico-ipip.toml");
    let topology = topology::parse(text, "calico-ipip").unwrap_or_else(|faults| panic!("{faults:#?}"));
    let alone = |block: &&str| !block.contains("[[step]]") && !block.contains("[[node]]");
    let steps: Vec<_> = blocks("toml").into_iter().filter(alone).collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        let text = format!("topology = \"calico-ipip.toml\"\n[[step]]\n{step}");
        let scenario = scenario::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
        assert_eq!(scenario::check(&scenario, &topology), [], "{step}");
    }
}

#[test]
fn the_scenarios_that_come_with_the_lab_are_about_their_topologies() {
    let read = |folder: &str, name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).expect("scenarios/ is readable").flatten();
    let mut seen = 0;
    for file in files {
        let name = file.file_name().into_string().expect("names are text");
        let scenario =
            scenario::parse(&read("scenarios", &name)).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        // Most have a topology of their own, called like them.
        let file = scenario.topology.value.strip_prefix("../topologies/").expect("topologies stand beside scenarios");
        let topology = topology::parse(&read("topologies", file), file.trim_end_matches(".toml"))
            .unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        assert_eq!(scenario::check(&scenario, &topology), [], "{name}");
        seen += 1;
    }
    assert!(seen >= 13, "{seen} scenarios");
}

#[test]
fn every_verb_of_the_readme_exists() {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `lab "));
    let mut seen = 0;
    for row in rows {
        let cell = row.split_once(" | ").expect("a row has two cells").0;
        for command in cell.split("`lab ").map(|command| command.trim_end_matches(['`', ',', ' '])) {
            // `down\|up` are two verbs, capitals stand for something.
            let lower = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || "-\\|".contains(c));
            let words: Vec<Vec<&str>> =
                command.split(' ').take_while(lower).map(|word| word.split("\\|").collect()).collect();
            let (first, rest) = words.split_first().unwrap_or_else(|| panic!("`{command}` is a verb"));
            match (first[0], rest.first()) {
                ("link" | "peer" | "calico", Some(second)) => {
                    second.iter().for_each(|second| assert!(is_verb(&[first[0], second]), "lab {} {second}", first[0]));
                }
                ("calicoctl", _) => assert!(is_verb(&["calicoctl", "node", "status"])),
                (verb, _) => assert!(is_verb(&[verb]), "lab {verb}"),
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "the table of verbs was not found");
}

#[test]
fn every_verb_that_exists_is_in_the_readme() {
    let help = Command::new(env!("CARGO_BIN_EXE_lab")).arg("--help").output().expect("`lab` runs");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let (_, commands) = help.split_once("Commands:\n").expect("help lists the verbs");
    let verbs = commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let verbs: Vec<&str> =
        verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 20, "{verbs:?}");
    for verb in verbs {
        assert!(README.contains(&format!("`lab {verb}")), "lab {verb}");
    }
}

#[test]
fn each_shell_gets_completions_of_the_verbs() {
    for (shell, sign) in [
        ("bash", "complete -F _lab"),
        ("zsh", "#compdef lab\n"),
        ("fish", "complete -c lab -n \"__fish_lab_needs_command\" -f -a \"check\""),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(["completions", shell]).output().expect("`lab` runs");
        let script = String::from_utf8(output.stdout).expect("a script is text");
        assert!(output.status.success() && script.contains(sign), "{shell}: {script}");
        for verb in ["up", "down", "calicoctl", "vtep-mac", "completions"] {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}
