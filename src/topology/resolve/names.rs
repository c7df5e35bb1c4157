//! The name space of a lab: nodes, pods and routers, with the two namespaces that every lab may have.

use std::collections::HashMap;

use crate::net::LabName;
use crate::topology::error::Faults;
use crate::topology::model::Span;

/// What the lab itself calls namespaces.
const RESERVED: [&str; 2] = ["fabric", "gateway"];

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Longest file name, hence longest namespace.
const MAX_NETNS: usize = 255;

/// The names that are taken.
pub(super) struct Names {
    lab: Option<LabName>,
    taken: HashMap<String, (&'static str, Span)>,
}

impl Names {
    /// None yet. `lab` is `None` where the lab's own name is at fault.
    pub(super) fn new(lab: Option<LabName>) -> Self {
        Self { lab, taken: HashMap::new() }
    }

    /// Takes `name` for `kind` (`node`, `pod`), which stands at `span`; returns whether it is valid and was free.
    pub(super) fn claim(&mut self, kind: &'static str, name: &str, span: &Span, faults: &mut Faults<'_>) -> bool {
        let prefix = self.lab.as_ref().map_or(0, |lab| lab.as_str().len() + 1);
        let longest = MAX_NAME.min(MAX_NETNS - prefix);
        if name.len() > longest {
            let message = format!("the {kind}'s name is too long: {} characters", name.len());
            let help = match prefix {
                0 => format!("shorten it to {longest} characters"),
                _ => format!(
                    "shorten it to {longest} characters: its namespace is `<lab>-<name>`, of at most {MAX_NETNS}"
                ),
            };
            faults.add("name-too-long", span.clone(), message, format!("more than {longest} characters"), help);
            return false;
        }
        if !is_dns_name(name) {
            let suggestion = like_dns(name);
            let rule = "a name is 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
            let help = match is_dns_name(&suggestion) {
                true => format!("write `{suggestion}`: {rule}"),
                false => rule.to_owned(),
            };
            faults.add("invalid-name", span.clone(), format!("`{name}` is no name for a {kind}"), "not a name", help);
            return false;
        }
        if RESERVED.contains(&name) {
            let message = format!("`{name}` is the name of a namespace that the lab itself makes");
            let help = format!("give the {kind} another name, `{name}1` say");
            faults.add("reserved-name", span.clone(), message, "reserved", help);
            return false;
        }
        if let Some((other, at)) = self.taken.get(name) {
            let message = format!("`{name}` is already the name of a {other} (line {})", faults.line(at));
            let help = format!("give the {kind} another name; nodes, pods and routers share one name space");
            faults.add("duplicate-name", span.clone(), message, "taken", help);
            return false;
        }
        self.taken.insert(name.to_owned(), (kind, span.clone()));
        true
    }
}

/// Whether `name` is a DNS subdomain as Kubernetes has it (RFC 1123), its length aside.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.split('.').all(|label| {
        let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// `text` made like a DNS subdomain as far as that goes: lower case, `-` for what cannot be in one.
pub(super) fn like_dns(text: &str) -> String {
    let replaced: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-' | '.') => c,
            _ => '-',
        })
        .collect();
    replaced.trim_matches(['-', '.']).to_owned()
}
