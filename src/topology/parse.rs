//! Text → [`Topology`], through syntax, shape and meaning.

use toml::de::DeTable;

use super::error::{Diagnostic, Faults};
use super::model::{Span, Topology};
use super::{raw, resolve, shape};

/// Reads a topology file's `text`. `stem` (its file name without `.toml`) names the lab if the text does not.
///
/// # Errors
/// Every fault, in the order of their places; never an empty list. Where the text is not TOML, only what makes it so: what
/// else is wrong cannot be told from it.
pub fn parse(text: &str, stem: &str) -> Result<Topology, Vec<Diagnostic>> {
    let mut faults = Faults::new(text);
    let (mut document, errors) = DeTable::parse_recoverable(text);
    errors.iter().take(SYNTAX_FAULTS).for_each(|error| faults.push(syntax_fault(error, text)));
    if !faults.is_empty() {
        return Err(faults.into_sorted());
    }
    let holes = shape::check(&mut document, &raw::SCHEMA, &mut faults);
    let topology = match raw::read(document) {
        Ok(raw) => resolve::resolve(raw, &holes, stem, &mut faults),
        // What `shape` lets through, serde reads; should they ever differ, serde has the last word.
        Err(error) => {
            let span = error.span().unwrap_or_default();
            faults.add("invalid-value", span, error.message(), "cannot be read", "see `lab schema topology`");
            None
        }
    };
    match topology {
        Some(topology) if faults.is_empty() => Ok(topology),
        _ => Err(faults.into_sorted()),
    }
}

/// How many syntax faults of one file are told: a text that is no TOML at all has one in every line.
pub const SYNTAX_FAULTS: usize = 10;

/// What makes a text no TOML, with what to write; for every kind of file.
pub fn syntax_fault(error: &toml::de::Error, text: &str) -> Diagnostic {
    let span = error.span().unwrap_or_default();
    let message = error.message().lines().next().unwrap_or("wrong TOML");
    let fault = |span, message: String, help: String| Diagnostic {
        code: "syntax",
        span,
        message,
        label: "not TOML".to_owned(),
        help,
    };
    // `node1` begins like `nan`, and an address like a number: what the parser makes of them helps nobody.
    let unquoted = ["must be quoted", "invalid float", "invalid boolean", "invalid integer", "invalid date"];
    if unquoted.iter().any(|part| message.contains(part))
        && let Some(word) = bare_word(text, &span)
    {
        let written = &text[word.clone()];
        return fault(word, format!("`{written}` is a text without quotes"), format!("write `\"{written}\"`"));
    }
    let help = if message.contains("missing comma") {
        "write a comma between the two"
    } else if message.contains("duplicate key") {
        "keep one of the two; several tables of a kind have two brackets: `[[node]]`"
    } else if message.contains("string") {
        "close the string with the quote that opens it, on the same line"
    } else if message.contains("inline table") {
        "write `{ key = value, key = value }`, on one line"
    } else if message.contains("table") {
        "close as many brackets as are open: `[[node]]`, `[[step]]`, `[BGPConfiguration]`"
    } else if message.contains("array") {
        "close the list: `[\"10.0.1.11/24\", \"10.0.2.11/24\"]`"
    } else {
        "write `key = value`, one to a line"
    };
    fault(span, message.to_owned(), help.to_owned())
}

/// The whole word around `span`, up to white space and what TOML separates values with.
fn bare_word(text: &str, span: &Span) -> Option<Span> {
    let separator = |c: char| c.is_whitespace() || "=,[]{}#\"'".contains(c);
    let start = text.get(..span.start)?.rfind(separator).map_or(0, |at| at + 1);
    let end = text.get(span.start..)?.find(separator).map_or(text.len(), |at| span.start + at);
    (start < end && text.is_char_boundary(start)).then_some(start..end)
}
