//! `/run/lab/<lab>/`: what is known of a lab without asking its daemon.
//!
//! The directory exists from before the first namespace until after the last one. A lab is alive while somebody holds the lock on
//! `lock`; the daemon does for all its life, so that a crash of any kind releases it.

#![expect(clippy::disallowed_methods, reason = "I/O edge: reads the lab's own files")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sweep;
use crate::net::{LabName, NetnsName};
use crate::plan::Plan;
use crate::topology::{self, Topology};

/// Where the state of every lab is.
const STATE_ROOT: &str = "/run/lab";

/// One lab's directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    lab: LabName,
    root: PathBuf,
    path: PathBuf,
}

/// A state directory that cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct StateError {
    /// What was attempted.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

/// Whether a lab lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabState {
    /// Its daemon runs.
    Up,
    /// Something of it is left, and no daemon.
    Broken,
}

/// What is remembered of how the lab was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The topology file, absolute.
    pub(crate) file: PathBuf,
    /// Its stem, the lab's name where the file has none.
    pub(crate) stem: String,
    /// Every namespace of the plan.
    pub(crate) namespaces: Vec<NetnsName>,
}

impl StateDir {
    /// The directory of `lab`, whether or not it exists.
    pub fn of(lab: &LabName) -> Self {
        Self::under(Path::new(STATE_ROOT), lab)
    }

    fn under(root: &Path, lab: &LabName) -> Self {
        Self { lab: lab.clone(), root: root.into(), path: root.join(lab.as_str()) }
    }

    /// Whose it is.
    pub fn lab(&self) -> &LabName {
        &self.lab
    }

    /// Makes the directory, mode 0700; the lab's name is taken from then on.
    ///
    /// # Errors
    /// `AlreadyExists` where the lab exists; no permission; no space.
    pub(crate) fn create(&self) -> Result<(), StateError> {
        loop {
            if let Err(source) = DirBuilder::new().mode(0o755).recursive(true).create(&self.root) {
                return Err(StateError { action: "create directory", path: self.root.clone(), source });
            }
            match DirBuilder::new().mode(0o700).create(&self.path) {
                // The last other lab went in between and took the root with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // Fails while another lab is in it, as it must.
                    let _ = fs::remove_dir(&self.root);
                    return Err(self.error("create directory", "")(error));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Removes the directory and all in it; nothing there is no error. The root goes too once no lab is left.
    pub(crate) fn remove(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error("remove directory", "")(error)),
            _ => {
                // Fails while another lab is in it: then it stays.
                let _ = fs::remove_dir(&self.root);
                Ok(())
            }
        }
    }

    /// Whether the directory exists.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Takes the lab's lock, for the maker of the directory to hand to its daemon. Only a reader of [`Self::state`] can hold it
    /// at that time, and for no longer than it takes to look.
    pub(crate) fn lock(&self) -> Result<File, StateError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.entry("lock"))
            .map_err(self.error("open", "lock"))?;
        // The lock belongs to the open file: it goes to the daemon with it, and our closing it does not release it there.
        file.lock().map_err(self.error("lock", "lock"))?;
        Ok(file)
    }

    /// Whether somebody holds the lab's lock.
    fn locked(&self) -> bool {
        let Ok(file) = File::open(self.entry("lock")) else { return false };
        // Shared, so that two who look at once do not take each other for the daemon.
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Whether the lab lives; `None` where nothing in `/run/lab` speaks of it.
    pub fn state(&self) -> Option<LabState> {
        match (self.exists(), self.locked()) {
            (false, _) => None,
            (true, true) => Some(LabState::Up),
            (true, false) => Some(LabState::Broken),
        }
    }

    /// Remembers the topology's text and where it came from.
    pub(crate) fn save(&self, text: &str, origin: &Origin) -> Result<(), StateError> {
        let json = serde_json::to_vec(origin).map_err(|error| self.error("write", "origin.json")(error.into()))?;
        self.write("topology.toml", text.as_bytes())?;
        self.write("origin.json", &json)
    }

    /// Remembers the daemon's process.
    pub(crate) fn save_pid(&self, pid: u32) -> Result<(), StateError> {
        self.write("daemon.pid", pid.to_string().as_bytes())
    }

    /// The daemon's process, as last remembered.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.entry("daemon.pid")).ok()?.trim().parse().ok()
    }

    /// How the lab was made; `None` where that was never written whole.
    pub(crate) fn origin(&self) -> Option<Origin> {
        serde_json::from_slice(&fs::read(self.entry("origin.json")).ok()?).ok()
    }

    /// The topology file that the lab was made from, absolute; it may have changed or gone since.
    pub fn file(&self) -> Option<PathBuf> {
        self.origin().map(|origin| origin.file)
    }

    /// The topology that the lab was made from, and its plan, whatever became of the file since.
    ///
    /// # Errors
    /// The state is not there, or is not whole.
    pub fn plan(&self) -> Result<(Topology, Plan), StateError> {
        let text = fs::read_to_string(self.entry("topology.toml")).map_err(self.error("read", "topology.toml"))?;
        let broken = || self.error("understand", "topology.toml")(io::ErrorKind::InvalidData.into());
        let origin = self.origin().ok_or_else(broken)?;
        let topology = topology::parse(&text, &origin.stem).map_err(|_| broken())?;
        let plan = crate::plan::build(&topology).map_err(|_| broken())?;
        Ok((topology, plan))
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.entry("control.sock")
    }

    /// The daemon's log, opened to append.
    pub(crate) fn log(&self) -> Result<File, StateError> {
        let open = OpenOptions::new().create(true).append(true).mode(0o600).open(self.log_path());
        open.map_err(self.error("open", "daemon.log"))
    }

    /// Where the daemon's log is.
    pub fn log_path(&self) -> PathBuf {
        self.entry("daemon.log")
    }

    /// Where the daemon that speaks BGP for `name` has its files and sockets.
    pub fn speaker(&self, name: &str) -> PathBuf {
        self.entry("speakers").join(name)
    }

    fn entry(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        let write = || {
            let path = self.entry(name);
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
            file.write_all(bytes)
        };
        write().map_err(self.error("write", name))
    }

    fn error(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> StateError {
        let path = if name.is_empty() { self.path.clone() } else { self.entry(name) };
        move |source| StateError { action, path, source }
    }
}

/// Every lab that exists, by name: those with a state directory, and those of which only marked namespaces are left.
pub fn labs() -> Vec<(LabName, LabState)> {
    let mut labs = std::collections::BTreeMap::new();
    for entry in fs::read_dir(STATE_ROOT).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|name| LabName::new(name).ok()) else { continue };
        if let Some(state) = StateDir::of(&name).state() {
            labs.insert(name, state);
        }
    }
    for (name, _) in sweep::marked() {
        labs.entry(name).or_insert(LabState::Broken);
    }
    labs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &tempfile::TempDir) -> StateDir {
        StateDir::under(&root.path().join("lab"), &LabName::new("demo").unwrap())
    }

    fn origin() -> Origin {
        let namespaces = vec![NetnsName::new("demo-node1").unwrap()];
        Origin { file: "/tmp/demo.toml".into(), stem: "demo".into(), namespaces }
    }

    #[test]
    fn a_lab_is_up_exactly_while_its_lock_is_open_somewhere() {
        let root = tempfile::tempdir().unwrap();
        let state = state(&root);
        assert_eq!(state.state(), None);
        state.create().unwrap();
        assert_eq!(state.state(), Some(LabState::Broken));
        let lock = state.lock().unwrap();
        let inherited = lock.try_clone().unwrap();
        drop(lock);
        assert_eq!(state.state(), Some(LabState::Up));
        drop(inherited);
        assert_eq!(state.state(), Some(LabState::Broken));
    }

    #[test]
    fn whoever_looks_at_a_broken_lab_is_not_taken_for_its_daemon() {
        let root = tempfile::tempdir().unwrap();
        let state = state(&root);
        state.create().unwrap();
        drop(state.lock().unwrap());
        let looking = File::open(state.entry("lock")).unwrap();
        looking.try_lock_shared().unwrap();
        assert_eq!(state.state(), Some(LabState::Broken));
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_after_removal() {
        let root = tempfile::tempdir().unwrap();
        let state = state(&root);
        state.create().unwrap();
        let error = state.create().unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(error.to_string(), format!("create directory {}", state.path.display()));
        state.remove().unwrap();
        assert!(!state.root.exists(), "the root goes with the last lab");
        state.remove().unwrap();
        state.create().unwrap();
    }

    #[test]
    fn the_root_stays_while_another_lab_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let one = state(&root);
        let other = StateDir::under(&one.root, &LabName::new("demo-2").unwrap());
        one.create().unwrap();
        other.create().unwrap();
        one.remove().unwrap();
        assert_eq!((one.state(), other.state()), (None, Some(LabState::Broken)));
    }

    #[test]
    fn what_was_saved_is_read_back_and_what_was_cut_short_is_not() {
        let root = tempfile::tempdir().unwrap();
        let state = state(&root);
        state.create().unwrap();
        assert_eq!((state.pid(), state.file()), (None, None));
        let text = "mode = \"BGP\"\n[[node]]\nname = \"node1\"\naddress = \"10.0.1.11/24\"\n";
        state.save(text, &origin()).unwrap();
        state.save_pid(4711).unwrap();
        assert_eq!((state.pid(), state.file()), (Some(4711), Some("/tmp/demo.toml".into())));
        let (topology, plan) = state.plan().unwrap();
        assert_eq!((topology.name.as_str(), plan.speakers.len()), ("demo", 1));
        fs::write(state.entry("origin.json"), "{\"file\":").unwrap();
        assert!(state.origin().is_none());
        assert!(state.plan().unwrap_err().to_string().starts_with("understand "));
    }

    #[test]
    fn nobody_but_root_can_look_into_a_labs_directory() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let state = state(&root);
        state.create().unwrap();
        state.save("", &origin()).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.path.clone()), mode(state.entry("origin.json"))), (0o700, 0o600));
    }
}
