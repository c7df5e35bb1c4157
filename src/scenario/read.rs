//! TOML to typed values, by hand: every fault of a file at once, each with its place.
//!
//! serde stops at its first error. Here a table is walked key by key: what does not fit is noted in the list of faults and
//! reading goes on. One declaration (`table!`, `words!`) makes the type, its reader and its JSON schema, so the three
//! cannot disagree.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::model::{IpProtocol, Place};
use super::suggest;
use crate::bgp::view::State;
use crate::net::{IfName, MacAddr, RouteProtocol, parse_duration};
use crate::topology::Diagnostic;
use crate::topology::spelling::closest;

/// A value and the bytes of the file that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Range<usize>,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value that TOML can hold.
pub(super) trait Read: Sized {
    /// Whether it is a list.
    const LIST: bool = false;
    /// What can be written, where its form says more than the key it stands at.
    const EXAMPLE: Option<&'static str> = None;

    /// Reads it, or notes what is wrong and returns `None`.
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self>;
}

/// What can be written for a key that must be there.
fn example(key: &str, list: bool) -> &'static str {
    match (key, list) {
        ("from", _) => "\"node1-pod1\"",
        ("to", _) => "\"node1-pod2\"",
        ("on", true) => "[\"node1:eth0\"]",
        ("on", false) => "\"node1\"",
        ("during", _) => "{ ping = { from = \"node1-pod1\", to = \"node1-pod2\" } }",
        ("largest", _) => "1480",
        ("name", _) => "\"eth0\"",
        ("command", _) => "[\"ip\", \"route\"]",
        _ => "…",
    }
}

/// A key's value in a table: `At<T>` must be there, `Option<At<T>>` may be.
pub(super) trait Field: Sized {
    /// Reads the value of `key`; `None` if it is at fault.
    fn field(table: &Keys<'_, '_>, key: &'static str, faults: &mut Vec<Diagnostic>) -> Option<Self>;
}

impl<T: Read> Field for At<T> {
    fn field(table: &Keys<'_, '_>, key: &'static str, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let Some(value) = table.keys.get(key) else {
            faults.push(Diagnostic {
                code: "missing-key",
                span: table.span.clone(),
                message: format!("`{key}` is missing"),
                label: format!("this needs `{key}`"),
                help: format!("write `{key} = {}`, say", T::EXAMPLE.unwrap_or_else(|| example(key, T::LIST))),
            });
            return None;
        };
        let before = faults.len();
        let read = T::read(value, faults);
        if let (None, "command", DeValue::String(line)) = (&read, key, value.get_ref()) {
            // There is no shell to split it.
            let words: Vec<String> = line.split_whitespace().map(|word| format!("\"{word}\"")).collect();
            faults[before..].iter_mut().for_each(|fault| fault.help = format!("write `[{}]`", words.join(", ")));
        }
        Some(Self { value: read?, span: value.span() })
    }
}

impl<T: Read> Field for Option<At<T>> {
    fn field(table: &Keys<'_, '_>, key: &'static str, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match table.keys.get(key) {
            None => Some(None),
            // As if it were not there: the fault is noted, and the rest of the file is worth reading.
            Some(_) => Some(At::field(table, key, faults)),
        }
    }
}

/// A table that is being read.
pub(super) struct Keys<'a, 'i> {
    keys: &'a DeTable<'i>,
    span: Range<usize>,
}

impl<'a, 'i> Keys<'a, 'i> {
    pub(super) fn of_document(document: &'a Spanned<DeTable<'i>>) -> Self {
        // The document's own span is the whole file, which would underline all of it.
        Self { keys: document.get_ref(), span: 0..0 }
    }

    pub(super) fn open(value: &'a Spanned<DeValue<'i>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(keys) => Some(Self { keys, span: value.span() }),
            _ => wrong_type("a table `{ … }`", value, faults),
        }
    }

    /// Notes every key that is none of `known`.
    pub(super) fn refuse_unknown(&self, known: &[&'static str], faults: &mut Vec<Diagnostic>) {
        for key in self.keys.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let help = match name {
                    "sleep" => "assertions are tried until they hold: give the step `within = \"10s\"`, say".into(),
                    // Only a packet on its way is described without being counted.
                    "min" | "max" if known.contains(&"encap") => {
                        "one packet is followed here: count others with `expect = { on = \"node1:eth0\", max = 0 }`"
                            .into()
                    }
                    _ => suggest::help(name, known.iter().copied()),
                };
                // What seems to be missing is there, misspelt.
                if let Some(meant) = closest(name, known.iter().copied()) {
                    let missing = format!("`{meant}` is missing");
                    faults.retain(|fault| fault.span != self.span || fault.message != missing);
                }
                faults.push(Diagnostic {
                    code: "unknown-key",
                    span: key.span(),
                    message: format!("there is no key `{name}` here"),
                    label: "unknown key".into(),
                    help,
                });
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (At<String>, &'a Spanned<DeValue<'i>>)> {
        self.keys.iter().map(|(key, value)| (At { value: key.get_ref().to_string(), span: key.span() }, value))
    }
}

/// The key that a field's identifier stands for: `r#do` is `do`.
pub(super) fn key_of(identifier: &'static str) -> &'static str {
    identifier.strip_prefix("r#").unwrap_or(identifier)
}

/// Notes that `value` is not `wanted` (with its article) and returns `None`.
pub(super) fn wrong_type<T>(wanted: &str, value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<T> {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    faults.push(Diagnostic {
        code: "wrong-type",
        span: value.span(),
        message: format!("this is {found}, and {wanted} belongs here"),
        label: found.into(),
        help: match (wanted, value.get_ref()) {
            ("a string", DeValue::Integer(number)) => format!("write `\"{}\"`", number.as_str()),
            ("a string", DeValue::Float(number)) => format!("write `\"{}\"`", number.as_str()),
            ("a string", DeValue::Boolean(word)) => format!("write `\"{word}\"`"),
            ("a whole number", DeValue::String(text)) if text.parse::<u64>().is_ok() => format!("write `{text}`"),
            (TRUE_OR_FALSE, DeValue::String(text)) if matches!(&**text, "true" | "false") => format!("write `{text}`"),
            (A_LIST, DeValue::String(text)) => format!("write `[\"{text}\"]`"),
            ("`[[step]]`", _) => "write `[[step]]`, with two brackets, once for each step".into(),
            _ => format!("write {wanted}"),
        },
    });
    None
}

const A_LIST: &str = "a list `[ … ]`";
const TRUE_OR_FALSE: &str = "true or false";

impl Read for String {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => wrong_type("a string", value, faults),
        }
    }
}

impl Read for bool {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => wrong_type(TRUE_OR_FALSE, value, faults),
        }
    }
}

macro_rules! read_number {
    ($($type:ty),*) => {$(
        impl Read for $type {
            fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
                let DeValue::Integer(number) = value.get_ref() else {
                    return wrong_type("a whole number", value, faults);
                };
                let parsed = Self::from_str_radix(number.as_str(), number.radix()).ok();
                if parsed.is_none() {
                    faults.push(Diagnostic {
                        code: "out-of-range",
                        span: value.span(),
                        message: format!("{number} is out of range"),
                        label: "out of range".into(),
                        help: format!("write a whole number from 0 to {}", Self::MAX),
                    });
                }
                parsed
            }
        }
    )*};
}

read_number!(u8, u16, u32);

impl<T: Read> Read for Vec<At<T>> {
    const LIST: bool = true;

    /// Without the elements at fault: the others are worth reading.
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let DeValue::Array(elements) = value.get_ref() else { return wrong_type(A_LIST, value, faults) };
        let read = elements
            .iter()
            .filter_map(|element| Some(At { value: T::read(element, faults)?, span: element.span() }))
            .collect();
        Some(read)
    }
}

/// A value that is written as a string and has a form of its own.
pub(super) trait FromText: Sized {
    /// What it is, with its article and an example: "a duration such as `2s`".
    const WHAT: &'static str;
    /// Whether a bare whole number will do as well.
    const BARE_NUMBER: bool = false;
    /// As [`Read::EXAMPLE`].
    const EXAMPLE: Option<&'static str> = None;

    /// Reads it.
    fn from_text(text: &str) -> Option<Self>;
}

/// A [`FromText`] value in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<T>(pub(super) T);

impl<T: FromText> Read for Text<T> {
    const EXAMPLE: Option<&'static str> = T::EXAMPLE;

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if T::BARE_NUMBER => number.to_string(),
            _ => return wrong_type(T::WHAT, value, faults),
        };
        let parsed = T::from_text(&text).map(Self);
        if parsed.is_none() {
            faults.push(Diagnostic {
                code: "invalid-value",
                span: value.span(),
                message: format!("`{text}` is not {}", T::WHAT),
                label: "invalid".into(),
                help: format!("write {}", T::WHAT),
            });
        }
        parsed
    }
}

impl<T: FromText> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::WHAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match T::BARE_NUMBER {
            true => json_schema!({ "type": ["string", "integer"], "description": T::WHAT }),
            false => json_schema!({ "type": "string", "description": T::WHAT }),
        }
    }
}

impl FromText for Duration {
    const WHAT: &'static str = "a duration such as `500ms`, `2s` or `1m`";

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text).ok()
    }
}

impl FromText for Place {
    const WHAT: &'static str = "an interface such as `node1:eth0`";
    const EXAMPLE: Option<&'static str> = Some("\"node1:eth0\"");

    fn from_text(text: &str) -> Option<Self> {
        let (namespace, interface) = text.split_once(':')?;
        if namespace.is_empty() {
            return None;
        }
        Some(Self { namespace: namespace.into(), interface: IfName::new(interface).ok()? })
    }
}

impl FromText for RouteProtocol {
    const WHAT: &'static str = "a route protocol such as `bird`, `kernel` or `80`";
    const BARE_NUMBER: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for IpProtocol {
    const WHAT: &'static str = "an IP protocol such as `icmp`, `tcp`, `udp` or `89`";
    const BARE_NUMBER: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        match Self::NAMES.iter().find(|(_, name)| *name == text) {
            Some((number, _)) => Some(Self(*number)),
            None => text.parse().ok().map(Self),
        }
    }
}

impl FromText for IpNet {
    const WHAT: &'static str = "an address with its prefix length, such as `10.244.101.128/32`";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for MacAddr {
    const WHAT: &'static str = "a MAC address such as `ee:ee:ee:ee:ee:ee`";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for IfName {
    const WHAT: &'static str = "an interface name such as `eth0`, of at most 15 characters";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl FromText for State {
    const WHAT: &'static str =
        "a session state: `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm` or `Established`";

    fn from_text(text: &str) -> Option<Self> {
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established]
            .into_iter()
            .find(|state| state.to_string() == text)
    }
}

/// Declares a table: the struct, its reader and its schema.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: $type,)*
            /// There are faults in it: what it seems to lack may be among them.
            #[schemars(skip)]
            #[allow(dead_code, reason = "only some tables can lack something that none of their keys requires")]
            pub(super) unsound: bool,
        }

        impl $name {
            pub(super) fn read_keys(
                table: &$crate::scenario::read::Keys<'_, '_>,
                faults: &mut Vec<$crate::topology::Diagnostic>,
            ) -> Option<Self> {
                use $crate::scenario::read::{Field, key_of};
                let before = faults.len();
                $(let $field = <$type as Field>::field(table, key_of(stringify!($field)), faults);)*
                table.refuse_unknown(&[$(key_of(stringify!($field))),*], faults);
                let unsound = faults.len() > before;
                Some(Self { $($field: $field?,)* unsound })
            }
        }

        impl $crate::scenario::read::Read for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                faults: &mut Vec<$crate::topology::Diagnostic>,
            ) -> Option<Self> {
                let table = $crate::scenario::read::Keys::open(value, faults)?;
                Self::read_keys(&table, faults)
            }
        }
    };
}

/// Declares a choice of words: the enum, its text, its reader and its schema.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The word as files and outputs spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::scenario::read::Read for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                faults: &mut Vec<$crate::topology::Diagnostic>,
            ) -> Option<Self> {
                let text = String::read(value, faults)?;
                let found = [$(Self::$variant),*].into_iter().find(|word| word.as_str() == text);
                if found.is_none() {
                    faults.push($crate::topology::Diagnostic {
                        code: "unknown-word",
                        span: value.span(),
                        message: format!("`{text}` is not known here"),
                        label: "unknown".into(),
                        help: $crate::scenario::suggest::help(&text, [$($text),*]),
                    });
                }
                found
            }
        }
    };
}

pub(super) use {table, words};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_namespace_and_an_interface() {
        let place = Place { namespace: "node1".into(), interface: IfName::eth(0) };
        assert_eq!(Place::from_text("node1:eth0"), Some(place));
        for wrong in ["node1", ":eth0", "node1:", "node1:an-interface-too-long"] {
            assert_eq!(Place::from_text(wrong), None, "{wrong}");
        }
    }
}
