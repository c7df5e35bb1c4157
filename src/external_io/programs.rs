//! Where the daemons' programs are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::net::ExternalSpeaker;

/// Besides `PATH`: where distributions put daemons, FRR's in particular.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/lib/frr", "/usr/libexec/frr"];

/// A program that the host lacks.
#[derive(Debug, thiserror::Error)]
#[error("{speaker} needs the program `{program}`, which this host does not have: `apt-get install {}`", speaker.package())]
pub struct Missing {
    /// Whose program.
    pub speaker: ExternalSpeaker,
    /// Which.
    pub program: &'static str,
}

/// The programs of `speaker`, in the order of [`ExternalSpeaker::programs`].
///
/// # Errors
/// The first that is missing.
pub fn find(speaker: ExternalSpeaker) -> Result<Vec<PathBuf>, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).collect();
    let programs = speaker.programs().iter();
    programs.map(|program| find_in(&folders, program).ok_or(Missing { speaker, program })).collect()
}

fn find_in(folders: &[PathBuf], program: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_the_package_that_brings_it() {
        let missing = Missing { speaker: ExternalSpeaker::Frr, program: "zebra" };
        let told = "FRR needs the program `zebra`, which this host does not have: `apt-get install frr`";
        assert_eq!(missing.to_string(), told);
    }

    #[test]
    fn only_what_can_be_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_path_buf()];
        std::fs::write(folder.path().join("bird"), "").unwrap();
        assert_eq!(find_in(&folders, "bird"), None);
        std::fs::set_permissions(folder.path().join("bird"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in(&folders, "bird"), Some(folder.path().join("bird")));
    }
}
