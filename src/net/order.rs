//! Orders of an administrator.

/// What an administrator can do to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// ManualStop: close it and do not dial until enabled.
    Disable,
    /// ManualStart.
    Enable,
    /// Close it and dial again at once.
    Restart,
}
