//! `lab schema`: JSON that parses, says what the code reads, and accepts the files that come with the lab.

#![expect(clippy::disallowed_methods, reason = "runs the program and reads files")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn schema(kind: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(["schema", kind]).output().expect("`lab` runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a schema is JSON")
}

fn file(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let table: toml::Table = text.parse().expect("the file is TOML");
    serde_json::to_value(table).expect("TOML without dates is JSON")
}

/// What `schema` has against `value`: enough of JSON Schema for our own, and a panic at a word of it that is not known here.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(words) = schema.as_object() else { return found };
    let fails = |schema: &Value| !faults(root, schema, value, at).is_empty();
    for (word, said) in words {
        let wrong = match word.as_str() {
            "$ref" => {
                let path =
                    said.as_str().and_then(|path| path.strip_prefix('#')).expect("a reference into the document");
                found.extend(faults(root, root.pointer(path).expect("a reference that leads somewhere"), value, at));
                false
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().expect("a type is a word") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                !said.as_array().map_or_else(|| is(said), |kinds| kinds.iter().any(is))
            }
            "const" => said != value,
            "enum" => !said.as_array().is_some_and(|choices| choices.contains(value)),
            "anyOf" => said.as_array().is_some_and(|choices| choices.iter().all(fails)),
            "oneOf" => said.as_array().is_some_and(|choices| choices.iter().filter(|one| !fails(one)).count() != 1),
            "required" => {
                said.as_array().into_iter().flatten().filter_map(Value::as_str).any(|key| value.get(key).is_none())
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = said.get(key) {
                        found.extend(faults(root, schema, value, &format!("{at}/{key}")));
                    }
                }
                false
            }
            "additionalProperties" => {
                let known = |key: &str| schema["properties"].get(key).is_some();
                let others = value.as_object().into_iter().flatten().filter(|(key, _)| !known(key));
                let mut refused = false;
                for (key, value) in others {
                    refused |= *said == json!(false);
                    found.extend(faults(root, said, value, &format!("{at}/{key}")));
                }
                refused
            }
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, said, element, &format!("{at}/{index}")));
                }
                false
            }
            "minItems" => value.as_array().is_some_and(|list| (list.len() as u64) < said.as_u64().unwrap()),
            "minProperties" => value.as_object().is_some_and(|table| (table.len() as u64) < said.as_u64().unwrap()),
            "minimum" => value.as_i64().is_some_and(|number| number < said.as_i64().unwrap()),
            "maximum" => value.as_i64().is_some_and(|number| number > said.as_i64().unwrap()),
            // Patterns only narrow what `asNumber` may be as text.
            "pattern" | "$schema" | "$defs" | "title" | "description" | "examples" | "example" | "format"
            | "default" => false,
            other => panic!("the schema says `{other}`, which this test does not know"),
        };
        if wrong {
            found.push(format!("{at}: not as `{word}` says"));
        }
    }
    found
}

fn check(schema: &Value, value: &Value) -> Vec<String> {
    faults(schema, schema, value, "")
}

/// Every file of `folder` is as the schema of its kind says.
fn check_all(kind: &str, folder: &str) {
    let schema = schema(kind);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display())).flatten();
    let mut seen = 0;
    for name in names.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        assert_eq!(check(&schema, &file(&format!("{folder}/{name}"))), Vec::<String>::new(), "{name}");
        seen += 1;
    }
    assert!(seen >= 13, "{seen} files in {folder}");
}

#[test]
fn the_topologies_that_come_with_the_lab_are_as_the_schema_says() {
    check_all("topology", "topologies");
}

#[test]
fn the_scenarios_that_come_with_the_lab_are_as_the_schema_says() {
    check_all("scenario", "scenarios");
}

#[test]
fn the_schemas_refuse_what_the_program_refuses() {
    let topology = schema("topology");
    let node = json!({ "name": "node1", "address": "10.0.1.11/24" });
    assert_eq!(check(&topology, &json!({ "node": [node] })), Vec::<String>::new());
    for wrong in [
        json!({ "nodes": [node] }),
        json!({ "node": node }),
        json!({ "node": [{ "address": "10.0.1.11/24" }] }),
        json!({ "node": [{ "name": "node1", "count": 0 }] }),
        json!({ "mode": "ipip", "node": [node] }),
        json!({ "node": [node], "IPPool": [{ "cidr": "10.244.0.0/16", "blockSize": 33 }] }),
    ] {
        assert_ne!(check(&topology, &wrong), Vec::<String>::new(), "{wrong}");
    }
    let scenario = schema("scenario");
    let ping = json!({ "from": "a", "to": "b" });
    assert_eq!(check(&scenario, &json!({ "topology": "a.toml", "step": [{ "ping": ping }] })), Vec::<String>::new());
    for wrong in [
        json!({ "step": [{ "ping": ping }] }),
        json!({ "topology": "a.toml" }),
        json!({ "topology": "a.toml", "step": [] }),
        json!({ "topology": "a.toml", "step": [{ "sleep": "2s" }] }),
        json!({ "topology": "a.toml", "step": [{ "ping": { "from": "a" } }] }),
        json!({ "topology": "a.toml", "step": [{ "ping": ping, "expect": "maybe" }] }),
        json!({ "topology": "a.toml", "step": [{ "mtu": ping }] }),
        json!({ "topology": "a.toml", "step": [{ "mtu": { "from": "a", "to": "b", "largest": 1500, "beyond": "silent" } }] }),
        json!({ "topology": "a.toml", "step": [{ "mtu": { "from": "a", "to": "b", "largest": 1500, "beyond": { "by": "a" } } }] }),
        json!({ "topology": "a.toml", "step": [{ "capture": { "during": [], "path": [{ "on": "a:eth0" }] } }] }),
        json!({ "topology": "a.toml", "step": [{ "capture": { "during": { "ping": ping }, "path": [{ "ttl": 64 }] } }] }),
        json!({ "topology": "a.toml", "step": [{ "capture": { "during": { "ping": ping }, "expect": [{ "on": 1 }] } }] }),
    ] {
        assert_ne!(check(&scenario, &wrong), Vec::<String>::new(), "{wrong}");
    }
}

#[test]
fn every_key_of_the_status_is_described() {
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                    if property.get("description").is_none() {
                        found.push(format!("{at}/{key}"));
                    }
                }
                object.iter().for_each(|(key, value)| undescribed(value, &format!("{at}/{key}"), found));
            }
            Value::Array(values) => values.iter().for_each(|value| undescribed(value, at, found)),
            _ => {}
        }
    }
    let schema = schema("status");
    assert!(schema["properties"].as_object().is_some_and(|keys| !keys.is_empty()), "{schema}");
    let mut found = Vec::new();
    undescribed(&schema, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}
