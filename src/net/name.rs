//! Names with the limits of what bears them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that its bearer cannot have, with the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {what}: {rule}")]
pub struct InvalidName {
    /// The name as given.
    pub name: String,
    /// What it was to be, with its article: `a lab name`.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.into()
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// A lab's name: 1 to 32 of `a-z`, `0-9` and `-`; it prefixes every namespace.
    LabName
}

impl LabName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let valid =
            (1..=32).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        match valid {
            true => Ok(Self(name.into())),
            false => {
                Err(InvalidName { name: name.into(), what: "a lab name", rule: "it takes 1 to 32 of a-z, 0-9 and `-`" })
            }
        }
    }

    /// The namespace of `who` (a node, a pod, `fabric`, `gateway`) in this lab: `<lab>-<who>`.
    ///
    /// # Errors
    /// The name that results is longer than a file name may be.
    pub fn netns(&self, who: &str) -> Result<NetnsName, InvalidName> {
        NetnsName::new(&format!("{self}-{who}"))
    }
}

name! {
    /// A network namespace's name, as `ip netns` lists it: a file name under `/run/netns`, at most 255 bytes.
    NetnsName
}

impl NetnsName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let valid = (1..=255).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
            && !name.starts_with('.');
        match valid {
            true => Ok(Self(name.into())),
            false => Err(InvalidName {
                name: name.into(),
                what: "a namespace name",
                rule: "it takes 1 to 255 of a-z, A-Z, 0-9, `-`, `.` and `_`, and does not begin with a dot",
            }),
        }
    }
}

name! {
    /// A network interface's name: 1 to 15 bytes without white space or `/` (IFNAMSIZ − 1).
    IfName
}

impl IfName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let valid = (1..=15).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
            && name != "."
            && name != "..";
        match valid {
            true => Ok(Self(name.into())),
            false => Err(InvalidName {
                name: name.into(),
                what: "an interface name",
                rule: "it takes 1 to 15 visible ASCII characters, none of them `/` or `:`",
            }),
        }
    }

    /// The loopback interface, `lo`.
    pub fn lo() -> Self {
        Self("lo".into())
    }

    /// `eth<index>`: a node's interface towards its segment, and with 0 every pod's only one.
    pub fn eth(index: usize) -> Self {
        Self(format!("eth{index}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_what_their_bearer_allows() {
        assert!(LabName::new("two-racks").is_ok());
        assert!(LabName::new("Two").is_err());
        assert!(LabName::new("").is_err());
        assert!(LabName::new(&"x".repeat(33)).is_err());
        assert!(IfName::new("cali9c3ed6d06f3").is_ok());
        assert!(IfName::new("cali9c3ed6d06f3x").is_err());
        assert!(NetnsName::new("a/b").is_err());
    }
}
