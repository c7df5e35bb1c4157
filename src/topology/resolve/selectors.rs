//! Selectors of nodes: `nodeSelector`, `peerSelector`, and `nodes` of a router's peers.

use crate::topology::error::Faults;
use crate::topology::raw::At;
use crate::topology::selector::Selector;

/// The selector that stands at the key `key`.
pub(super) fn parse(text: &At<String>, key: &str, faults: &mut Faults<'_>) -> Option<Selector> {
    let whole = text.span();
    match Selector::parse(text) {
        Ok(selector) if selector.uses_global() => {
            let message = format!("`global()` selects no nodes, and cannot be in `{key}`");
            faults.add("invalid-selector", whole, message, "has `global()`", "write `all()` for every node");
            None
        }
        Ok(selector) => Some(selector),
        Err(error) => {
            // Where the string is written without escapes, its bytes are the selector's.
            let quoted = faults.written(&whole);
            let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            let span = match inner == text.as_str() {
                true => {
                    let start = whole.start + 1 + error.position;
                    let length = text[error.position..].chars().next().map_or(1, char::len_utf8);
                    start..start + length
                }
                false => whole,
            };
            let message = format!("`{}` is no selector: {error}", text.as_str());
            let help = format!("write {} here, as in `rack == 'rack1'`", error.expected);
            faults.add("invalid-selector", span, message, "not a selector", help);
            None
        }
    }
}
