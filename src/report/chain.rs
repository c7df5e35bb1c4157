//! Errors in words.

use std::error::Error;

/// An error with its causes, on one line: `open /run/x: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn every_cause_is_told_in_order() {
        let error = Link("start lab", Some(Box::new(Link("open lock", Some(Box::new(Link("no space", None)))))));
        assert_eq!(chain(&error), "start lab: open lock: no space");
        assert_eq!(chain(&Link("alone", None)), "alone");
    }
}
