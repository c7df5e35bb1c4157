//! What the tests that need a real kernel share.

/// Stops a test that cannot do its work: it must not pass silently.
///
/// # Panics
/// Not run as root.
pub(crate) fn require_root() {
    assert!(nix::unistd::Uid::effective().is_root(), "this test builds network namespaces: run it as root");
}
