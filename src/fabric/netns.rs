//! Entering a network namespace: the only file that calls `setns`.
//!
//! A socket belongs to the namespace in which it was opened, whoever uses it later. So one long-lived thread enters a
//! namespace, runs a short closure there (open a netlink or TCP socket, write a sysctl), and goes back; nothing else in the
//! process ever leaves the host's namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::net::NetnsName;

/// Where `ip netns` keeps its names.
pub const NETNS_DIR: &str = "/run/netns";

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
    /// There is no such name, or no permission.
    pub fn open(name: &NetnsName) -> io::Result<Self> {
        let file = File::open(path(name))?;
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

type Job = Box<dyn FnOnce(&OwnedFd) + Send>;

/// The queue of the one namespace thread, started at first use.
fn thread_queue() -> &'static mpsc::Sender<Job> {
    static QUEUE: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let host: OwnedFd =
                    File::open("/proc/thread-self/ns/net").expect("a thread's own namespace can be opened").into();
                for job in jobs {
                    job(&host);
                }
            })
            .expect("a thread can be started");
        queue
    })
}
