//! Checks a TOML document against the JSON schema of `raw`: keys, types, ranges and choices, everywhere at once.
//!
//! serde stops at the first fault. So this takes out of the document whatever serde would refuse, with a diagnostic for each,
//! and the rest is read and resolved as if the faulty parts had not been written. It remembers where something was taken out,
//! so that nothing is reported as missing that is only misspelt.

use std::collections::HashSet;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::Faults;
use super::model::Span;
use super::spelling::closest;

/// Where something was taken out.
#[derive(Debug, Default)]
pub(super) struct Holes {
    tables: HashSet<usize>,
    lost: HashSet<&'static str>,
}

impl Holes {
    /// Whether the table that stands at `span` has lost something.
    pub(super) fn in_table(&self, span: &Span) -> bool {
        self.tables.contains(&span.start)
    }

    /// Whether the top-level `key`, or a whole entry of it, is gone.
    pub(super) fn lost(&self, key: &str) -> bool {
        self.lost.contains(key)
    }
}

/// Takes everything out of `document` that `schema` does not allow, and says so.
pub(super) fn check(document: &mut Spanned<DeTable<'_>>, schema: &'static Value, faults: &mut Faults<'_>) -> Holes {
    let top = schema["properties"].as_object().into_iter().flatten();
    let scalars_at_the_top = top
        .filter(|(_, schema)| !matches!(types(schema)[..], [ARRAY | TABLE]))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut checker = Checker { faults, holes: Holes::default(), top: None, scalars_at_the_top };
    checker.table(document.get_mut(), 0..0, schema, &Place { path: String::new(), name: "the top level".to_owned() });
    checker.holes
}

/// Keys that Calico or a later version of the file format has, and this one does not read: by table, then key.
const NOT_YET: [(&str, &[&str]); 5] = [
    ("", &["resources"]),
    ("BGPPeer", &["localWorkloadSelector"]),
    ("BGPFilter", &["exportV6", "importV6"]),
    (
        "BGPConfiguration",
        &[
            "serviceClusterIPs",
            "serviceExternalIPs",
            "serviceLoadBalancerIPs",
            "ignoredInterfaces",
            "logSeverityScreen",
            "programClusterRoutes",
        ],
    ),
    ("IPPool", &["namespaceSelector", "allowedUses", "assignmentMode"]),
];

struct Checker<'a, 'f> {
    faults: &'a mut Faults<'f>,
    holes: Holes,
    /// The top-level key that is being looked at.
    top: Option<&'static str>,
    /// Top-level keys that are no tables: written below a table they belong to it, and are unknown there.
    scalars_at_the_top: Vec<&'static str>,
}

/// A table or value, for people.
struct Place {
    /// Keys from the top, with dots; empty at the top.
    path: String,
    /// As it is written: `[[node]]`, `labels`, `the top level`.
    name: String,
}

impl Checker<'_, '_> {
    /// Returns whether `table` can be read: it has all that it must have.
    fn table(&mut self, table: &mut DeTable<'_>, span: Span, schema: &'static Value, place: &Place) -> bool {
        let known = schema["properties"].as_object();
        let names = move || known.into_iter().flat_map(|known| known.keys().map(String::as_str));
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let present: HashSet<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
        let absent: Vec<&str> = names().filter(|name| !present.contains(*name)).collect();
        let mut guessed = HashSet::new();
        let mut whole = true;

        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref().as_ref();
            let entry = known.and_then(|known| known.get_key_value(name));
            let schema = match entry {
                Some((_, schema)) => schema,
                None if schema["additionalProperties"].is_object() => &schema["additionalProperties"],
                None => {
                    // A key that is there already is a worse guess than one that is not.
                    let guess = closest(name, absent.iter().copied()).or_else(|| closest(name, names()));
                    self.unknown_key(&key, names(), guess, place);
                    guessed.extend(guess);
                    if place.path.is_empty() {
                        self.holes.lost.extend(guess);
                    }
                    whole = false;
                    continue;
                }
            };
            if place.path.is_empty() {
                self.top = entry.map(|(name, _)| name.as_str());
            }
            let path = if place.path.is_empty() { name.to_owned() } else { format!("{}.{name}", place.path) };
            let (kept, intact) = self.value(&mut value, Some(key.span()), name, schema, path);
            whole &= intact && kept;
            if kept {
                table.insert(key, value);
            } else if place.path.is_empty() {
                self.holes.lost.extend(self.top);
            }
        }

        let mut readable = true;
        for name in required {
            let there = table.keys().any(|key| key.get_ref() == name);
            readable &= there;
            if !there && !present.contains(name) && !guessed.contains(name) {
                let value = example(&schema["properties"][name]).unwrap_or_else(|| "…".to_owned());
                let help = format!("write `{name} = {value}`");
                let label = format!("has no `{name}`");
                self.faults.add("missing-key", span.clone(), format!("{} needs `{name}`", place.name), label, help);
            }
        }
        if !whole || !readable {
            self.holes.tables.insert(span.start);
        }
        readable
    }

    /// Returns whether `value` can stay, and whether nothing below it was taken out. `key` is where its key stands; an element
    /// of an array has none, and `name` is the array's.
    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        key: Option<Span>,
        name: &str,
        schema: &'static Value,
        path: String,
    ) -> (bool, bool) {
        let span = value.span();
        let found = type_of(value.get_ref());
        if !types(schema).contains(&found) {
            self.wrong_type(value.get_ref(), span, key, name, schema);
            return (false, false);
        }
        match value.get_mut() {
            DeValue::Table(table) => {
                let before = self.faults.len();
                let name = if path == name { format!("`[{name}]`") } else { format!("`{name}`") };
                let kept = self.table(table, span, schema, &Place { path, name });
                (kept, before == self.faults.len())
            }
            DeValue::Array(array) => {
                let before = self.faults.len();
                let items = &schema["items"];
                let mut kept = Vec::with_capacity(array.len());
                for mut element in std::mem::replace(array, DeArray::new()) {
                    let stays = match element.get_ref() {
                        DeValue::Table(_) if is_table(items) => {
                            let span = element.span();
                            let DeValue::Table(table) = element.get_mut() else { continue };
                            let name = if path == name { format!("a `[[{name}]]`") } else { format!("`{name}`") };
                            self.table(table, span, items, &Place { path: path.clone(), name })
                        }
                        _ => self.value(&mut element, None, name, items, path.clone()).0,
                    };
                    if stays {
                        kept.push(element);
                    } else if path == name {
                        self.holes.lost.extend(self.top);
                    }
                }
                kept.into_iter().for_each(|element| array.push(element));
                (true, before == self.faults.len())
            }
            DeValue::String(text) => {
                let intact = self.choice(text, span, name, schema);
                (intact, intact)
            }
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
                let intact = self.range(number, span, name, schema);
                (intact, intact)
            }
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (true, true),
        }
    }

    fn unknown_key<'k>(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        known: impl Iterator<Item = &'k str>,
        guess: Option<&str>,
        place: &Place,
    ) {
        let name = key.get_ref();
        let later = NOT_YET.iter().any(|(table, keys)| *table == place.path && keys.contains(&name.as_ref()));
        let known = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let misplaced = !place.path.is_empty() && self.scalars_at_the_top.contains(&name.as_ref());
        let help = match guess {
            _ if misplaced => {
                format!("write `{name}` above the first `[…]` of the file: below {} it belongs to that", place.name)
            }
            _ if later => format!("remove it; {} takes {known}", place.name),
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("{} takes {known}", place.name),
        };
        let (code, what, label) = match later {
            true => ("not-built-yet", "this version cannot build", "not supported yet"),
            false => ("unknown-key", "unknown key", "no such key"),
        };
        let message = match place.path.as_str() {
            "" => format!("{what} `{name}`"),
            _ => format!("{what} `{name}` in {}", place.name.trim_start_matches("a ")),
        };
        self.faults.add(code, key.span(), message, label, help);
    }

    fn wrong_type(&mut self, value: &DeValue<'_>, span: Span, key: Option<Span>, name: &str, schema: &'static Value) {
        let wanted = types(schema);
        let written = self.faults.written(&span);
        let at_top = self.top == Some(name);
        let subject = if key.is_some() { format!("`{name}`") } else { format!("an element of `{name}`") };
        let takes: Vec<_> = wanted.iter().map(|name| with_article(name)).collect();
        let message = match &wanted[..] {
            [TABLE] if at_top => format!("`{name}` is one table, not {}", described(value)),
            _ => format!("{subject} takes {}, not {}", takes.join(" or "), described(value)),
        };
        let write = |value: &str| match key.is_some() {
            true => format!("write `{name} = {value}`"),
            false => format!("write `{value}`"),
        };
        let help = match (&wanted[..], value) {
            ([ARRAY], DeValue::Table(_)) if is_table(&schema["items"]) => {
                format!("write `[[{name}]]`, with two brackets, once for each")
            }
            ([ARRAY], _) if is_table(&schema["items"]) => format!("write a table `[[{name}]]` for each"),
            ([ARRAY], DeValue::String(_)) => write(&format!("[{written}]")),
            ([TABLE], _) if at_top && key.is_some() => format!("write `[{name}]`, with one bracket, once"),
            ([TABLE], _) if at_top => format!("write a table `[[{name}]]` for each"),
            (wanted, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_))
                if wanted.contains(&STRING) =>
            {
                write(&format!("\"{written}\""))
            }
            ([INTEGER], DeValue::String(text)) if text.parse::<i64>().is_ok() => write(text),
            ([BOOLEAN], DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => write(text),
            _ => match example(schema) {
                Some(example) => format!("{}, say", write(&example)),
                None => format!("write {}", takes.join(" or ")),
            },
        };
        // A table's own span may be its header or its whole text; its key is what to change.
        let span = key.filter(|_| matches!(value, DeValue::Table(_))).unwrap_or(span);
        self.faults.add("wrong-type", span, message, format!("this is {}", described(value)), help);
    }

    fn choice(&mut self, text: &str, span: Span, name: &str, schema: &'static Value) -> bool {
        let choices: Vec<&str> = match (&schema["enum"], &schema["oneOf"]) {
            (Value::Array(names), _) => names.iter().filter_map(Value::as_str).collect(),
            (_, Value::Array(variants)) => variants.iter().filter_map(|variant| variant["const"].as_str()).collect(),
            _ => return true,
        };
        if choices.contains(&text) {
            return true;
        }
        let known = choices.iter().map(|choice| format!("`\"{choice}\"`")).collect::<Vec<_>>().join(", ");
        let help = match closest(text, choices.iter().copied()) {
            Some(guess) => format!("did you mean `\"{guess}\"`? `{name}` takes {known}"),
            None => format!("`{name}` takes {known}"),
        };
        self.faults.add("unknown-value", span, format!("`{name}` cannot be `{text}`"), "no such choice", help);
        false
    }

    /// `number` is `None` where it does not fit 64 bits.
    fn range(&mut self, number: Option<i64>, span: Span, name: &str, schema: &'static Value) -> bool {
        let (low, high) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        let fits =
            number.is_some_and(|number| low.is_none_or(|low| low <= number) && high.is_none_or(|high| number <= high));
        if !fits {
            let (low, high) = (low.unwrap_or(i64::MIN), high.unwrap_or(i64::MAX));
            let written = self.faults.written(&span);
            let help = format!("write a number from {low} to {high}");
            self.faults.add("out-of-range", span, format!("`{name}` cannot be {written}"), "out of range", help);
        }
        fits
    }
}

const STRING: &str = "string";
const INTEGER: &str = "integer";
const BOOLEAN: &str = "boolean";
const ARRAY: &str = "array";
const TABLE: &str = "object";

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => STRING,
        DeValue::Integer(_) => INTEGER,
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => BOOLEAN,
        DeValue::Datetime(_) => "date-time",
        DeValue::Array(_) => ARRAY,
        DeValue::Table(_) => TABLE,
    }
}

/// The JSON types that a schema allows; those of a choice of strings are implied.
fn types(schema: &'static Value) -> Vec<&'static str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![STRING],
    }
}

fn is_table(schema: &Value) -> bool {
    schema["type"] == TABLE
}

fn described(value: &DeValue<'_>) -> &'static str {
    with_article(type_of(value))
}

fn with_article(name: &str) -> &'static str {
    match name {
        INTEGER => "an integer",
        "number" => "a floating-point number",
        BOOLEAN => "a boolean",
        "date-time" => "a date",
        ARRAY => "an array",
        TABLE => "a table",
        _ => "a string",
    }
}

/// The schema's first example, as TOML.
fn example(schema: &Value) -> Option<String> {
    fn toml(value: &Value) -> String {
        match value {
            Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
            Value::Object(map) => {
                let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
                format!("{{ {} }}", entries.join(", "))
            }
            scalar => scalar.to_string(),
        }
    }
    Some(&schema["examples"][0]).filter(|example| !example.is_null()).map(toml)
}
