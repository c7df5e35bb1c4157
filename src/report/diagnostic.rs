//! Faults of a file as text in rustc's layout, and as JSON for editors and CI.
//!
//! Takes the file's text along with the faults; reads no file and writes to no terminal.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::topology::Diagnostic;

/// Draws every fault of the file `path` with content `text`: error, place, the line, what to write; in the order of their
/// places, a blank line between two. Ends with a newline unless there is no fault.
pub fn render(path: &str, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let reports: Vec<String> = in_order(diagnostics)
        .into_iter()
        .map(|diagnostic| {
            let span = within(text, diagnostic);
            // Only the lines at fault: a large file with many faults is not to be laid out once for each.
            let first = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
            let last = text[span.end..].find('\n').map_or(text.len(), |newline| span.end + newline);
            let annotation =
                AnnotationKind::Primary.span(span.start - first..span.end - first).label(&diagnostic.label);
            let snippet = Snippet::source(&text[first..last])
                .line_start(position(text, first).0)
                .path(path)
                .annotation(annotation);
            let group = Level::ERROR.primary_title(&diagnostic.message).id(diagnostic.code).element(snippet);
            let group = match diagnostic.help.as_str() {
                "" => group,
                help => group.element(Level::HELP.message(help)),
            };
            renderer.render(&[group]) + "\n"
        })
        .collect();
    reports.join("\n")
}

/// The same faults in the same order as an array of `{file, line, column, endLine, endColumn, code, message, help}`. Lines and
/// columns count from 1, columns in characters; the end is the place after the last character.
pub fn to_json(path: &str, text: &str, diagnostics: &[Diagnostic]) -> Value {
    in_order(diagnostics)
        .into_iter()
        .map(|diagnostic| {
            let span = within(text, diagnostic);
            let (line, column) = position(text, span.start);
            let (end_line, end_column) = position(text, span.end);
            let Diagnostic { code, span: _, message, label: _, help } = diagnostic;
            json!({
                "file": path, "line": line, "column": column, "endLine": end_line, "endColumn": end_column,
                "code": code, "message": message, "help": help,
            })
        })
        .collect()
}

/// Line and column of a byte of `text`, both from 1, the column in characters. A byte beyond the end is the end.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn in_order(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by(|a, b| {
        (a.span.start, a.span.end, a.code, &a.message).cmp(&(b.span.start, b.span.end, b.code, &b.message))
    });
    sorted
}

/// The fault's span, clipped to `text`: it may have been made for another text.
fn within(text: &str, diagnostic: &Diagnostic) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(diagnostic.span.start);
    let end = text.ceil_char_boundary(diagnostic.span.end.min(text.len()));
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"é\"\n\n[[node]]\nnme = \"a\"\n";

    fn fault(code: &'static str, span: std::ops::Range<usize>) -> Diagnostic {
        Diagnostic {
            code,
            span,
            message: "unknown key `nme`".to_owned(),
            label: "not a key of `[[node]]`".to_owned(),
            help: "did you mean `name`?".to_owned(),
        }
    }

    #[test]
    fn a_fault_is_drawn_with_its_line_and_what_to_write() {
        let start = TEXT.find("nme").unwrap();
        let drawn = render("lab.toml", TEXT, &[fault("unknown-key", start..start + 3)], false);
        let expected = "\
error[unknown-key]: unknown key `nme`
 --> lab.toml:4:1
  |
4 | nme = \"a\"
  | ^^^ not a key of `[[node]]`
  |
  = help: did you mean `name`?
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn colour_is_used_on_demand_only() {
        assert!(!render("lab.toml", TEXT, &[fault("unknown-key", 0..4)], false).contains('\u{1b}'));
        assert!(render("lab.toml", TEXT, &[fault("unknown-key", 0..4)], true).contains('\u{1b}'));
    }

    #[test]
    fn json_counts_characters_from_one_in_the_order_of_the_file() {
        let faults = [fault("b", 24..27), fault("a", 7..11)];
        let expected = json!([
            {"file": "f", "line": 1, "column": 8, "endLine": 1, "endColumn": 11, "code": "a",
             "message": "unknown key `nme`", "help": "did you mean `name`?"},
            {"file": "f", "line": 4, "column": 3, "endLine": 4, "endColumn": 6, "code": "b",
             "message": "unknown key `nme`", "help": "did you mean `name`?"},
        ]);
        assert_eq!(to_json("f", TEXT, &faults), expected);
    }

    #[test]
    fn a_span_that_does_not_fit_the_text_is_clipped() {
        for span in [0..0, 8..9, 9..900, 900..901, TEXT.len()..TEXT.len()] {
            assert!(render("f", TEXT, &[fault("a", span.clone())], false).starts_with("error[a]"), "{span:?}");
            assert!(render("f", "", &[fault("a", span)], false).starts_with("error[a]"));
        }
    }
}
