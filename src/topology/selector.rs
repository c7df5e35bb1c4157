//! Calico's selector language (calico-behaviour 7.11): text → [`Selector`], which labels either match or do not.
//!
//! Knows nothing but text and labels; what a selector selects (nodes, pods, peers) is its user's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Longest label that a selector may name, in bytes (calico-behaviour 7.11).
const MAX_LABEL: usize = 512;

/// Deepest nesting of parentheses that is read; far above what people write, far below what a stack holds.
const MAX_DEPTH: usize = 100;

/// An expression over labels that parsed. Two that print alike are equal; [`fmt::Display`] is Calico's canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    root: Expr,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: expected {expected}, found {found}", .position + 1)]
pub struct SelectorError {
    /// Byte of the text at which reading stopped; its length where something is missing at the end.
    pub position: usize,
    /// What could have stood there.
    pub expected: String,
    /// What stands there: quoted text, or `the end`.
    pub found: String,
}

impl Selector {
    /// Reads `text`; blank text is `all()`.
    ///
    /// # Errors
    /// The first place at which the text departs from the grammar of calico-behaviour 7.11.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, position: 0 };
        parser.skip_blanks();
        if parser.rest().is_empty() {
            return Ok(Self::all());
        }
        let root = parser.any_of(0)?;
        match parser.rest() {
            "" => Ok(Self { root }),
            _ => Err(parser.expected("`&&`, `||` or the end")),
        }
    }

    /// Selects everything: `all()`.
    pub fn all() -> Self {
        Self { root: Expr::All }
    }

    /// Whether something with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.root.matches(labels)
    }

    /// Whether `global()` occurs in it, which an IPPool's nodeSelector may not use (calico-behaviour 7.10).
    pub fn uses_global(&self) -> bool {
        self.root.uses_global()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All,
    Global,
    Has(String),
    Test {
        label: String,
        op: Op,
        value: String,
    },
    In {
        label: String,
        negated: bool,
        values: BTreeSet<String>,
    },
    /// Never of another `Not`: repeated `!` cancel.
    Not(Box<Self>),
    /// Two or more.
    And(Vec<Self>),
    /// Two or more.
    Or(Vec<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

impl Expr {
    fn not(inner: Self) -> Self {
        match inner {
            Self::Not(inner) => *inner,
            inner => Self::Not(Box::new(inner)),
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.contains_key(label),
            Self::Test { label, op, value } => {
                let label = labels.get(label);
                match op {
                    Op::Equal => label == Some(value),
                    Op::NotEqual => label != Some(value),
                    Op::Contains => label.is_some_and(|label| label.contains(value)),
                    Op::StartsWith => label.is_some_and(|label| label.starts_with(value)),
                    Op::EndsWith => label.is_some_and(|label| label.ends_with(value)),
                }
            }
            Self::In { label, negated, values } => {
                labels.get(label).is_some_and(|value| values.contains(value)) != *negated
            }
            Self::Not(inner) => !inner.matches(labels),
            Self::And(all) => all.iter().all(|inner| inner.matches(labels)),
            Self::Or(any) => any.iter().any(|inner| inner.matches(labels)),
        }
    }

    fn uses_global(&self) -> bool {
        match self {
            Self::Global => true,
            Self::All | Self::Has(_) | Self::Test { .. } | Self::In { .. } => false,
            Self::Not(inner) => inner.uses_global(),
            Self::And(inner) | Self::Or(inner) => inner.iter().any(Self::uses_global),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(label) => write!(f, "has({label})"),
            Self::Test { label, op, value } => {
                let op = match op {
                    Op::Equal => "==",
                    Op::NotEqual => "!=",
                    Op::Contains => "contains",
                    Op::StartsWith => "starts with",
                    Op::EndsWith => "ends with",
                };
                write!(f, "{label} {op} {}", Quoted(value))
            }
            Self::In { label, negated, values } => {
                write!(f, "{label} {} {{", if *negated { "not in" } else { "in" })?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { ", " }, Quoted(value))?;
                }
                f.write_str("}")
            }
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(all) => write_joined(f, all, " && "),
            Self::Or(any) => write_joined(f, any, " || "),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], separator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (index, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if index == 0 { "" } else { separator })?;
    }
    f.write_str(")")
}

/// A string in the quotes that it does not hold; it cannot hold both, for there are no escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

/// Recursive descent; each method leaves the position after the blanks that follow what it read.
struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    /// `expr`: one or more `and`, joined by `||`.
    fn any_of(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let mut parts = vec![self.all_of(depth)?];
        while self.eat("||") {
            parts.push(self.all_of(depth)?);
        }
        Ok(one_or(parts, Expr::Or))
    }

    /// `and`: one or more `unary`, joined by `&&`.
    fn all_of(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let mut parts = vec![self.unary(depth)?];
        while self.eat("&&") {
            parts.push(self.unary(depth)?);
        }
        Ok(one_or(parts, Expr::And))
    }

    fn unary(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let mut negated = false;
        while self.eat("!") {
            negated = !negated;
        }
        let primary = self.primary(depth)?;
        Ok(if negated { Expr::not(primary) } else { primary })
    }

    fn primary(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        if depth == MAX_DEPTH {
            return Err(self.expected(&format!("at most {MAX_DEPTH} nested parentheses")));
        }
        if self.eat("(") {
            let inner = self.any_of(depth + 1)?;
            self.require(")", "`&&`, `||` or `)`")?;
            return Ok(inner);
        }
        // Only without a blank before the parenthesis; `all ()` is a label, and then an error.
        for (word, expr) in [("all(", Expr::All), ("global(", Expr::Global)] {
            if self.eat(word) {
                self.require(")", "`)`")?;
                return Ok(expr);
            }
        }
        if self.eat("has(") {
            let label = self.label("a label")?;
            self.require(")", "`)`")?;
            return Ok(Expr::Has(label));
        }
        let label = self.label("a label, `has(…)`, `all()`, `!` or `(`")?;
        self.operation(label)
    }

    fn operation(&mut self, label: String) -> Result<Expr, SelectorError> {
        let tests: [(&[&str], Op); 5] = [
            (&["=="], Op::Equal),
            (&["!="], Op::NotEqual),
            (&["contains"], Op::Contains),
            (&["starts", "with"], Op::StartsWith),
            (&["ends", "with"], Op::EndsWith),
        ];
        for (words, op) in tests {
            if self.eat_words(words) {
                let value = self.string("a quoted string")?;
                return Ok(Expr::Test { label, op, value });
            }
        }
        for (words, negated) in [(["in"].as_slice(), false), (["not", "in"].as_slice(), true)] {
            if self.eat_words(words) {
                let values = self.set()?;
                return Ok(Expr::In { label, negated, values });
            }
        }
        Err(self.expected("`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`"))
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        self.require("{", "`{`")?;
        let mut values = BTreeSet::new();
        loop {
            if self.eat("}") {
                return Ok(values);
            }
            values.insert(self.string("a quoted string or `}`")?);
            if !self.eat(",") {
                self.require("}", "`,` or `}`")?;
                return Ok(values);
            }
        }
    }

    fn label(&mut self, what: &str) -> Result<String, SelectorError> {
        let rest = self.rest();
        let length = rest.find(|c| !is_label_char(c)).unwrap_or(rest.len());
        match length {
            0 => Err(self.expected(what)),
            1..=MAX_LABEL => {
                self.advance(length);
                Ok(rest[..length].to_owned())
            }
            _ => Err(self.expected(&format!("a label of at most {MAX_LABEL} characters"))),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, SelectorError> {
        let rest = self.rest();
        let quote = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err(self.expected(what)),
        };
        let Some(length) = rest[1..].find(quote) else {
            self.position = self.text.len();
            return Err(self.expected(&format!("a closing `{quote}`")));
        };
        self.advance(length + 2);
        Ok(rest[1..=length].to_owned())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn advance(&mut self, bytes: usize) {
        self.position += bytes;
        self.skip_blanks();
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    /// Eats all of `words`, blanks between them or not, or nothing. No word may end inside a longer one.
    fn eat_words(&mut self, words: &[&str]) -> bool {
        let before = self.position;
        let all = words.iter().all(|word| self.eat(word));
        let last = words.last().is_some_and(|word| word.ends_with(is_label_char));
        let read = self.text[before..self.position].trim_end_matches([' ', '\t']).len();
        let inside_a_word = last && self.text[before + read..].starts_with(is_label_char);
        if !all || inside_a_word {
            self.position = before;
            return false;
        }
        true
    }

    fn require(&mut self, token: &str, what: &str) -> Result<(), SelectorError> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn expected(&self, what: &str) -> SelectorError {
        const SHOWN: usize = 20;
        let rest = self.rest();
        let word = rest.find(|c| !is_label_char(c)).filter(|length| *length > 0);
        let found = match (rest.chars().next(), word) {
            (None, _) => "the end".to_owned(),
            (Some(first), None) if !is_label_char(first) => format!("`{first}`"),
            (Some(_), word) => {
                format!("`{}`", rest[..word.unwrap_or(rest.len())].chars().take(SHOWN).collect::<String>())
            }
        };
        SelectorError { position: self.position, expected: what.to_owned(), found }
    }
}

fn one_or(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Selector::parse(selector).unwrap().matches(&labels)
    }

    fn error(selector: &str) -> (usize, String, String) {
        let SelectorError { position, expected, found } = Selector::parse(selector).unwrap_err();
        (position, expected, found)
    }

    #[test]
    fn every_operator_matches_as_calico_says() {
        let labels = [("rack", "rack1"), ("projectcalico.org/role_x-y", "a 'b'"), ("empty", "")];
        for (selector, expected) in [
            ("", true),
            (" \t ", true),
            ("all()", true),
            ("all( )", true),
            ("global()", true),
            ("!all()", false),
            ("has(rack)", true),
            ("has( rack )", true),
            ("has(none)", false),
            ("!has(none)", true),
            ("rack == 'rack1'", true),
            ("rack==\"rack1\"", true),
            ("rack == 'rack2'", false),
            ("empty == ''", true),
            ("rack != 'rack2'", true),
            ("rack != 'rack1'", false),
            ("rack contains 'ack'", true),
            ("rack contains 'xyz'", false),
            ("rack starts with 'rac'", true),
            ("rack startswith 'rac'", true),
            ("rack starts \t with 'ack'", false),
            ("rack ends with '1'", true),
            ("rack endswith'1'", true),
            ("rack ends with '2'", false),
            ("rack in {'rack1', \"rack2\"}", true),
            ("rack in{'rack2',}", false),
            ("rack in {}", false),
            ("rack not in {'rack1'}", false),
            ("rack notin {'rack2'}", true),
            ("rack not in {}", true),
            ("projectcalico.org/role_x-y == \"a 'b'\"", true),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn an_absent_label_satisfies_the_negative_operators_only() {
        for (selector, expected) in [
            ("a != 'b'", true),
            ("a not in {'b'}", true),
            ("!has(a)", true),
            ("a == ''", false),
            ("a in {''}", false),
            ("a contains ''", false),
            ("a starts with ''", false),
            ("a ends with ''", false),
        ] {
            assert_eq!(matches(selector, &[]), expected, "{selector}");
        }
    }

    #[test]
    fn not_binds_to_the_primary_and_and_binds_tighter_than_or() {
        let labels = [("a", "1"), ("b", "2")];
        for (selector, expected) in [
            ("!a == 'x'", true),
            ("!a == '1'", false),
            ("!!a == '1'", true),
            ("! ! !a == '1'", false),
            ("!(a == '1' && b == 'x')", true),
            ("a == '1' || a == 'x' && b == 'x'", true),
            ("(a == '1' || a == 'x') && b == 'x'", false),
            ("a == 'x' && b == 'x' || b == '2'", true),
            ("!has(a) || has(b)", true),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn words_of_the_grammar_are_labels_where_no_operator_can_stand() {
        assert!(matches("in == 'x'", &[("in", "x")]));
        assert!(matches("not != 'x'", &[]));
        assert!(matches("has == 'x'", &[("has", "x")]));
        assert!(matches("all == 'x' && contains contains 'y'", &[("all", "x"), ("contains", "xyz")]));
    }

    #[test]
    fn an_error_says_where_and_what_was_expected() {
        let operator = "`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`";
        let primary = "a label, `has(…)`, `all()`, `!` or `(`";
        for (selector, position, expected, found) in [
            ("a", 1, operator, "the end"),
            ("a = 'b'", 2, operator, "`=`"),
            ("a inb {}", 2, operator, "`inb`"),
            ("a like 'b'", 2, operator, "`like`"),
            ("all ()", 4, operator, "`(`"),
            ("a == b", 5, "a quoted string", "`b`"),
            ("a == 'b", 7, "a closing `'`", "the end"),
            ("a == 'b' c", 9, "`&&`, `||` or the end", "`c`"),
            ("a == 'b')", 8, "`&&`, `||` or the end", "`)`"),
            ("(a == 'b'", 9, "`&&`, `||` or `)`", "the end"),
            ("a == 'b' &&", 11, primary, "the end"),
            ("a == 'b' & c == 'd'", 9, "`&&`, `||` or the end", "`&`"),
            ("|| a == 'b'", 0, primary, "`|`"),
            ("== 'b'", 0, primary, "`=`"),
            ("has()", 4, "a label", "`)`"),
            ("has(a b)", 6, "`)`", "`b`"),
            ("all(a)", 4, "`)`", "`a`"),
            ("a in 'b'", 5, "`{`", "`'`"),
            ("a in {'b' 'c'}", 10, "`,` or `}`", "`'`"),
            ("a in {,}", 6, "a quoted string or `}`", "`,`"),
            ("a in {'b'", 9, "`,` or `}`", "the end"),
            ("é == 'b'", 0, primary, "`é`"),
            ("a ==\n'b'", 4, "a quoted string", "`\n`"),
        ] {
            assert_eq!(error(selector), (position, expected.to_owned(), found.to_owned()), "{selector}");
        }
        assert_eq!(
            Selector::parse("a = 'b'").unwrap_err().to_string(),
            format!("at character 3: expected {operator}, found `=`")
        );
    }

    #[test]
    fn labels_and_nesting_have_a_limit() {
        assert!(Selector::parse(&format!("has({})", "a".repeat(512))).is_ok());
        assert_eq!(error(&format!("has({})", "a".repeat(513))).1, "a label of at most 512 characters");
        let nested = |depth: usize| format!("{}all(){}", "(".repeat(depth), ")".repeat(depth));
        assert!(Selector::parse(&nested(99)).is_ok());
        assert_eq!(error(&nested(100_000)).1, "at most 100 nested parentheses");
    }

    #[test]
    fn the_canonical_form_is_calicos() {
        for (selector, expected) in [
            ("", "all()"),
            ("a=='b'&&!has( c )", "(a == \"b\" && !has(c))"),
            ("a == 'say \"b\"'", "a == 'say \"b\"'"),
            ("a notin {'z','b','z',}", "a not in {\"b\", \"z\"}"),
            ("a startswith 'b' || !!global()", "(a starts with \"b\" || global())"),
            ("!(!has(a))", "has(a)"),
        ] {
            assert_eq!(Selector::parse(selector).unwrap().to_string(), expected, "{selector}");
        }
    }

    fn selector_text() -> impl Strategy<Value = String> {
        let label = "[A-Za-z0-9_./-]{1,6}";
        let value = prop_oneof!["'[^']{0,6}'", "\"[^\"]{0,6}\""];
        let op = prop::sample::select(vec!["==", "!=", " contains", " starts with", " endswith"]);
        let leaf = prop_oneof![
            Just("all()".to_owned()),
            Just("global( )".to_owned()),
            label.prop_map(|label| format!("has({label})")),
            (label, op, value.clone()).prop_map(|(label, op, value)| format!("{label}{op} {value}")),
            (label, any::<bool>(), prop::collection::vec(value, 0..3)).prop_map(|(label, not, values)| {
                format!("{label} {} {{{}}}", if not { "not in" } else { "in" }, values.join(","))
            }),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| format!("!{inner}")),
                prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
                prop::collection::vec(inner, 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_inside_itself(text in "([ \t!&|(){},='\"]|all|has|in|not|with|[a-zé]){0,30}") {
            match Selector::parse(&text) {
                Ok(selector) => prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector)),
                Err(error) => prop_assert!(text.is_char_boundary(error.position)),
            }
        }

        #[test]
        fn what_a_selector_prints_reads_back_as_itself(text in selector_text()) {
            let selector = Selector::parse(&text).unwrap();
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
