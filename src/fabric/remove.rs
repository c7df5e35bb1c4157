//! Finds labs by the mark on their namespaces and removes them, with no memory of how they were built.
//!
//! The mark decides, never the name: `hyg-2-fabric` may belong to lab `hyg` or to lab `hyg-2`, and only its `lo` knows.

use std::collections::BTreeMap;

use super::apply::mark;
use super::error::FabricError;
use super::kernel::{Kernel, Mark};
use crate::net::{LabName, NetnsName};

/// Removes every namespace that bears the mark of `lab`, the processes inside included, and returns when nothing is left.
///
/// `written` are the names that were written down before they were created: one of them that is an empty file was left by a
/// creator that died half-way, and goes too. A namespace without a mark never does: ours bear it before their name. Blocks. Goes on after an error and returns all
/// of them; an empty list means that nothing of the lab is left.
///
/// Whatever holds one of the namespaces, in this process a [`Netns`](super::Netns) or a socket opened in it, must be
/// dropped before, or the wait ends only after ten seconds with [`FabricError::Held`].
pub fn remove_lab(kernel: &dyn Kernel, lab: &LabName, written: &[NetnsName]) -> Vec<FabricError> {
    let found = match kernel.namespaces() {
        Ok(found) => found,
        Err(error) => return vec![error],
    };
    let ours = Mark::Alias(mark(lab));
    let doomed: Vec<NetnsName> = found
        .into_iter()
        .filter(|found| match &found.mark {
            Mark::EmptyFile => written.contains(&found.name),
            mark => *mark == ours,
        })
        .map(|found| found.name)
        .collect();
    if doomed.is_empty() { Vec::new() } else { kernel.delete(&doomed) }
}

/// Every lab of which there is a namespace, in the order of the names, with its namespaces.
///
/// # Errors
/// `/run/netns` cannot be read.
pub fn list_labs(kernel: &dyn Kernel) -> Result<Vec<(LabName, Vec<NetnsName>)>, FabricError> {
    let mut labs: BTreeMap<LabName, Vec<NetnsName>> = BTreeMap::new();
    for found in kernel.namespaces()? {
        if let Mark::Alias(alias) = &found.mark
            && let Some(Ok(lab)) = alias.strip_prefix("lab=").map(LabName::new)
        {
            labs.entry(lab).or_default().push(found.name);
        }
    }
    Ok(labs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::fake::{FakeKernel, FakeNetns};

    fn netns(name: &str) -> NetnsName {
        NetnsName::new(name).unwrap()
    }

    fn marked(alias: &str) -> FakeNetns {
        FakeNetns { alias: Some(alias.into()), ..FakeNetns::default() }
    }

    fn lab(name: &str) -> LabName {
        LabName::new(name).unwrap()
    }

    fn two_labs() -> FakeKernel {
        let kernel = FakeKernel::default();
        kernel.insert(netns("hyg-fabric"), marked("lab=hyg"));
        kernel.insert(netns("hyg-2"), marked("lab=hyg"));
        kernel.insert(netns("hyg-2-fabric"), marked("lab=hyg-2"));
        kernel.insert(netns("hyg-stranger"), marked("mine"));
        kernel
    }

    fn names(kernel: &FakeKernel) -> Vec<String> {
        kernel.contents().into_keys().map(String::from).collect()
    }

    #[test]
    fn a_lab_whose_name_begins_with_another_labs_name_is_left_alone() {
        let kernel = two_labs();
        assert!(remove_lab(&kernel, &lab("hyg"), &[]).is_empty());
        assert_eq!(names(&kernel), ["hyg-2-fabric", "hyg-stranger"]);
    }

    #[test]
    fn labs_are_listed_by_their_marks_and_not_by_names() {
        let labs = list_labs(&two_labs()).unwrap();
        let expected =
            [(lab("hyg"), vec![netns("hyg-2"), netns("hyg-fabric")]), (lab("hyg-2"), vec![netns("hyg-2-fabric")])];
        assert_eq!(labs, expected);
    }

    #[test]
    fn a_written_name_goes_only_while_it_is_an_empty_file() {
        let kernel = FakeKernel::default();
        let empty_file = || FakeNetns { empty_file: true, ..FakeNetns::default() };
        kernel.insert(netns("hyg-a"), empty_file());
        kernel.insert(netns("hyg-b"), FakeNetns::default());
        kernel.insert(netns("hyg-c"), marked("mine"));
        kernel.insert(netns("hyg-d"), empty_file());
        let written = [netns("hyg-a"), netns("hyg-b"), netns("hyg-c")];
        assert!(remove_lab(&kernel, &lab("hyg"), &written).is_empty());
        assert_eq!(names(&kernel), ["hyg-b", "hyg-c", "hyg-d"]);
    }

    #[test]
    fn removal_goes_on_after_each_failure_and_a_second_run_finishes_it() {
        let kernel = two_labs();
        kernel.fail(&[1]);
        let errors = remove_lab(&kernel, &lab("hyg"), &[]);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), "remove namespace hyg-2: Cannot allocate memory (os error 12)");
        assert_eq!(names(&kernel), ["hyg-2", "hyg-2-fabric", "hyg-stranger"]);
        kernel.fail(&[]);
        assert!(remove_lab(&kernel, &lab("hyg"), &[]).is_empty());
        assert_eq!(names(&kernel), ["hyg-2-fabric", "hyg-stranger"]);
    }
}
