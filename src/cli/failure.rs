//! What is told to the user when a verb cannot do its work.

use super::exit_code::ExitCode;
use crate::control::{ClientError, DownError, StateError, UpError};
use crate::report::chain;

/// A verb's failure: the exit code and the words for it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    message: String,
    /// A rendered diagnostic stands by itself, without `error:`.
    rendered: bool,
}

impl Failure {
    /// Exit 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: ExitCode::Failed, message: message.into(), rendered: false }
    }

    /// Exit 2.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: ExitCode::Invalid, message: message.into(), rendered: false }
    }

    /// Exit 2, with diagnostics that are rendered already.
    pub(crate) fn diagnostics(rendered: String) -> Self {
        Self { code: ExitCode::Invalid, message: rendered, rendered: true }
    }

    /// Exit 3.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self { code: ExitCode::Environment, message: message.into(), rendered: false }
    }

    /// Exit 4.
    pub(crate) fn none_ran(message: impl Into<String>) -> Self {
        Self { code: ExitCode::NoneRan, message: message.into(), rendered: false }
    }

    /// Exit 3: not root. `arguments` are typed again behind `sudo`.
    pub(crate) fn not_root() -> Self {
        let typed = std::env::args().skip(1).map(|word| shell_word(&word)).collect::<Vec<_>>().join(" ");
        let program = std::env::args().next().unwrap_or_else(|| "lab".into());
        Self::environment(format!("this needs root: sudo {} {typed}", shell_word(&program)))
    }

    /// What is said of it.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints it to standard error.
    pub(crate) fn print(&self) {
        use std::io::Write as _;
        let label = if self.rendered { "" } else { "error: " };
        let end = if self.rendered { "" } else { "\n" };
        // A reader that went away is no reason to panic: the exit code says it too.
        let _ = write!(std::io::stderr(), "{label}{}{end}", self.message);
    }
}

/// A word as a shell takes it.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

impl From<UpError> for Failure {
    fn from(error: UpError) -> Self {
        let code = match error {
            UpError::Interrupted { .. } => ExitCode::Other(130),
            _ => ExitCode::Environment,
        };
        Self { code, message: chain(&error), rendered: false }
    }
}

impl From<DownError> for Failure {
    fn from(error: DownError) -> Self {
        Self::environment(chain(&error))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::environment(chain(&error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(reason) => Self::invalid(reason),
            error => Self::environment(chain(&error)),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::environment(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_take_it_apart() {
        let words = ["node1:eth0", "", "a b", "it's", "--timeout=5s", "$(reboot)"].map(shell_word);
        assert_eq!(words, ["node1:eth0", "''", "'a b'", r"'it'\''s'", "--timeout=5s", "'$(reboot)'"]);
    }

    #[test]
    fn an_interrupt_ends_with_130_and_a_refusal_with_2() {
        let lab = crate::net::LabName::new("demo").unwrap();
        assert_eq!(Failure::from(UpError::Interrupted { lab }).code, ExitCode::Other(130));
        assert_eq!(Failure::from(UpError::Failed("no nft".into())).code, ExitCode::Environment);
        assert_eq!(Failure::from(ClientError::Refused("no".into())).code, ExitCode::Invalid);
    }
}
