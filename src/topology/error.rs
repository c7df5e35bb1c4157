//! What is wrong with a file, where, and what to write instead.

use std::ops::Range;

use serde::Serialize;

/// One fault of a topology or scenario file. Rendered by `report::diagnostic`; collected, never returned alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable code in kebab case: `unknown-key`, `duplicate-name`, `pool-too-small`.
    pub code: &'static str,
    /// Bytes of the file that are at fault; empty at 0 if it is the file as a whole.
    pub span: Range<usize>,
    /// What is wrong, a lower-case fragment with the offending text: `two nodes are called `a``.
    pub message: String,
    /// What stands at the span, a few words.
    pub label: String,
    /// What to write instead.
    pub help: String,
}
