//! Removing what is in the kernel of a lab, off the runtime's threads.

use crate::fabric::{self, FabricError, NetlinkKernel};
use crate::net::{LabName, NetnsName};

/// Removes every namespace of `lab`, and those of `written` that were left half-made. Returns when nothing is left.
///
/// # Errors
/// All that is left, and why, on one line.
pub(super) async fn remove_namespaces(lab: &LabName, written: Vec<NetnsName>) -> Result<(), String> {
    let lab = lab.clone();
    let removal = tokio::task::spawn_blocking(move || remove_namespaces_blocking(&lab, &written));
    removal.await.map_err(|error| error.to_string())?
}

/// [`remove_namespaces`] on the calling thread.
///
/// # Errors
/// As there.
pub(super) fn remove_namespaces_blocking(lab: &LabName, written: &[NetnsName]) -> Result<(), String> {
    match fabric::remove_lab(&NetlinkKernel, lab, written).as_slice() {
        [] => Ok(()),
        left => Err(left.iter().map(FabricError::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// Every lab of which there is a namespace, with its namespaces; nothing where they cannot be read.
pub fn marked() -> Vec<(LabName, Vec<NetnsName>)> {
    fabric::list_labs(&NetlinkKernel).unwrap_or_default()
}
