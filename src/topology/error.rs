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

/// The faults found so far in one text.
#[derive(Debug)]
pub struct Faults<'a> {
    text: &'a str,
    /// Bytes at which lines start, from the second line on.
    lines: Vec<usize>,
    list: Vec<Diagnostic>,
}

impl<'a> Faults<'a> {
    /// None yet, in `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, lines: text.match_indices('\n').map(|(newline, _)| newline + 1).collect(), list: Vec::new() }
    }

    /// Adds one.
    pub fn add(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.list.push(Diagnostic { code, span, message: message.into(), label: label.into(), help: help.into() });
    }

    /// Adds one that is made already.
    pub fn push(&mut self, fault: Diagnostic) {
        self.list.push(fault);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The text at a span, as it is written.
    pub fn written(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The line on which a span starts, from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        self.lines.partition_point(|start| *start <= span.start) + 1
    }

    /// All of them by place; one of each code per place, so that a `count` of a thousand does not fail a thousand times.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let Self { text: _, lines: _, mut list } = self;
        list.sort_by(|a, b| (a.span.start, a.span.end, a.code).cmp(&(b.span.start, b.span.end, b.code)));
        list.dedup_by(|later, kept| later.code == kept.code && later.span == kept.span);
        list
    }
}
