//! A secret that shows itself to nobody by accident.

use std::fmt;

use serde::{Serialize, Serializer};

/// A password, or the file that holds it. Prints and serialises as `•••`.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The text.
    Text(String),
    /// A file whose first line it is; relative to the topology file.
    File(String),
}

/// What is shown instead.
const HIDDEN: &str = "•••";

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let password = Password::Text("s3cret".into());
        assert_eq!(format!("{password:?}"), HIDDEN);
        assert_eq!(serde_json::to_string(&password).unwrap(), format!("\"{HIDDEN}\""));
    }
}
