//! Creating, entering and naming network namespaces: the only file that calls `setns` and `unshare`, besides `lab exec`,
//! which becomes the command, and `spawn`'s children before they become theirs.
//!
//! A socket belongs to the namespace in which it was opened, whoever uses it later. So one long-lived thread enters a
//! namespace, runs a short closure there (open a netlink or TCP socket, write a sysctl), and goes back; bulk work gets
//! a few short-lived threads that never go back. Nothing else in the process ever leaves the host's namespace.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::fstatfs;

use crate::net::NetnsName;

/// Where `ip netns` keeps its names.
pub const NETNS_DIR: &str = "/run/netns";

/// The namespace of the calling thread; not `/proc/self`, which is the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// A handle on one namespace: it stays valid, and keeps the namespace alive, whatever becomes of the name.
#[derive(Clone, Debug)]
pub struct Netns {
    name: NetnsName,
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// Opens the namespace that `ip netns` lists as `name`.
    ///
    /// # Errors
    /// There is no such name, or no permission, or it is no namespace (`InvalidData`).
    pub fn open(name: &NetnsName) -> io::Result<Self> {
        let file = File::open(path(name))?;
        if !is_namespace(&file)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a namespace"));
        }
        Ok(Self { name: name.clone(), fd: Arc::new(file.into()) })
    }

    /// The name under which it was opened.
    pub fn name(&self) -> &NetnsName {
        &self.name
    }

    /// The namespace's descriptor, for `IFLA_NET_NS_FD` and the like.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Runs `work` inside the namespace and returns what it returns. Keep it short: all namespaces share one thread, and
    /// never call it from within `work`.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (reply, result) = mpsc::sync_channel(1);
        let fd = Arc::clone(&self.fd);
        let job = Box::new(move |host: &OwnedFd| {
            let outcome = match setns(fd.as_fd(), CloneFlags::CLONE_NEWNET) {
                Err(errno) => Err(io::Error::from(errno)),
                Ok(()) => {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                    // A thread that cannot go home would run the next job in a stranger's namespace.
                    setns(host.as_fd(), CloneFlags::CLONE_NEWNET).expect("the host's namespace can be re-entered");
                    outcome.map_err(|_| io::Error::other("the work inside the namespace panicked"))
                }
            };
            // The job must not keep the namespace alive after the caller has the result.
            drop(fd);
            // The caller may have gone (its task was cancelled): then nobody wants the result.
            let _ = reply.send(outcome);
        });
        thread_queue().send(job).map_err(|_| io::Error::other("the namespace thread has ended"))?;
        result.recv().map_err(|_| io::Error::other("the namespace thread has ended"))?
    }
}

/// The file that stands for `name`.
pub fn path(name: &NetnsName) -> PathBuf {
    PathBuf::from(NETNS_DIR).join(name.as_str())
}

/// The names under [`NETNS_DIR`], in order; those that [`NetnsName`] refuses are not ours and left out.
///
/// # Errors
/// The directory exists and cannot be read.
pub(super) fn names() -> io::Result<Vec<NetnsName>> {
    let entries = match fs::read_dir(NETNS_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<NetnsName> =
        entries.filter_map(|entry| NetnsName::new(entry.ok()?.file_name().to_str()?).ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes [`NETNS_DIR`] as `ip netns add` does: a directory that is a shared mount, so that names mounted in it show in
/// every mount namespace, and vanish from every one.
///
/// # Errors
/// No permission, in short.
pub(super) fn prepare_directory() -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(NETNS_DIR) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Two first users at once would stack one mount on the other; iproute2 takes the same lock.
    let _lock = Flock::lock(File::open(NETNS_DIR)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let none = None::<&str>;
    let share = || mount(Some(""), NETNS_DIR, Some("none"), MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        Err(Errno::EINVAL) => {
            mount(Some(NETNS_DIR), NETNS_DIR, Some("none"), MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
            Ok(share()?)
        }
        outcome => Ok(outcome?),
    }
}

/// Makes a namespace, runs `prepare` inside it, and only then gives it its name. The calling thread stays inside: it must
/// be one of [`in_parallel`].
///
/// # Errors
/// The name is taken (`AlreadyExists`), or the kernel refuses; then there is no such namespace.
pub(super) fn create(name: &NetnsName, prepare: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    prepare()?;
    let path = path(name);
    // `ip netns add` makes the file with mode 0; O_EXCL decides who is first.
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o000).open(&path)?;
    mount(Some(OWN), &path, Some("none"), MsFlags::MS_BIND, None::<&str>).map_err(|errno| {
        let _ = fs::remove_file(&path);
        io::Error::from(errno)
    })
}

/// Removes a name. The namespace itself goes when nothing holds it any more.
///
/// # Errors
/// The name exists and cannot be removed.
pub(super) fn remove(name: &NetnsName) -> io::Result<()> {
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a plain file, its creator died before the mount.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether `name` is an empty file, not a namespace.
pub(super) fn is_empty_file(name: &NetnsName) -> bool {
    let look = || {
        let file = File::open(path(name))?;
        let metadata = file.metadata()?;
        Ok::<_, io::Error>(metadata.is_file() && metadata.len() == 0 && !is_namespace(&file)?)
    };
    look().unwrap_or(false)
}

fn is_namespace(file: &File) -> io::Result<bool> {
    Ok(fstatfs(file)?.filesystem_type().0 == libc::NSFS_MAGIC)
}

/// Runs `work` in a namespace that is new, empty and nameless, on a thread of its own.
///
/// # Errors
/// No permission, or no memory.
pub(super) fn in_new<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns-new".into()).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            work()
        })?;
        thread.join().map_err(|_| io::Error::other("the work inside the new namespace panicked"))?
    })
}

/// A handle on the calling thread's namespace.
///
/// # Errors
/// There are no descriptors left.
pub(super) fn own() -> io::Result<OwnedFd> {
    File::open(OWN).map(OwnedFd::from)
}

/// Moves the calling thread, which must be one of [`in_parallel`], into `netns` for good.
///
/// # Errors
/// The namespace cannot be entered.
pub(super) fn enter(netns: &Netns) -> io::Result<()> {
    Ok(setns(netns.fd().as_fd(), CloneFlags::CLONE_NEWNET)?)
}

/// Calls `work` for every item on as many threads as there are processors, and returns the results in the items' order.
/// The threads end with the call, so `work` may leave them in whatever namespace it likes.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8).min(items.len());
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match items.get(index) {
                Some(item) => done.push((index, work(item))),
                None => return done,
            }
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

type Job = Box<dyn FnOnce(&OwnedFd) + Send>;

/// The queue of the one namespace thread, started at first use.
fn thread_queue() -> &'static mpsc::Sender<Job> {
    static QUEUE: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let host: OwnedFd = own().expect("a thread's own namespace can be opened");
                for job in jobs {
                    job(&host);
                }
            })
            .expect("a thread can be started");
        queue
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_work_returns_its_results_in_order() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
        assert_eq!(in_parallel(&items, |item| item * 2), doubled);
        assert_eq!(in_parallel(&[] as &[u32], |item| item * 2), Vec::<u32>::new());
    }
}
