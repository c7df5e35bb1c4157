//! Writes a speaker's routes into its namespace's kernel table, and keeps account of what the kernel acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use tokio::sync::mpsc;

use crate::bgp::{Event, FibChange};
use crate::fabric::routes::RouteWriter;

use super::driver::Shared;

/// How many changes go to the kernel in one turn.
const TURN: usize = 1024;

/// What is under way and what failed.
#[derive(Debug, Default)]
pub(super) struct Fib {
    pending: AtomicUsize,
    failed: Mutex<BTreeMap<IpNet, String>>,
}

impl Fib {
    /// `count` changes are on their way.
    pub(super) fn queued(&self, count: usize) {
        self.pending.fetch_add(count, Ordering::SeqCst);
    }

    /// Nothing is on its way.
    pub(super) fn settled(&self) -> bool {
        self.pending.load(Ordering::SeqCst) == 0
    }

    /// Destinations that the kernel refused, with its reason.
    pub(super) fn failed(&self) -> BTreeMap<IpNet, String> {
        self.failed.lock().expect("nobody panics while holding this").clone()
    }

    fn done(&self, changes: &[FibChange], results: Vec<Result<(), String>>) {
        let mut failed = self.failed.lock().expect("nobody panics while holding this");
        for (change, result) in changes.iter().zip(results) {
            let (FibChange::Replace(route) | FibChange::Remove(route)) = change;
            match result {
                Ok(()) => drop(failed.remove(&route.dst)),
                Err(error) => drop(failed.insert(route.dst, error)),
            }
        }
        self.pending.fetch_sub(changes.len(), Ordering::SeqCst);
    }
}

/// Takes changes in order, in batches, until the driver ends.
pub(super) async fn write(shared: Arc<Shared>, writer: RouteWriter, mut changes: mpsc::UnboundedReceiver<FibChange>) {
    let mut batch = Vec::new();
    while changes.recv_many(&mut batch, TURN).await > 0 {
        let results = writer.apply(batch.clone()).await;
        let results: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect();
        for (change, _) in batch.iter().zip(&results).filter(|(_, result)| result.is_err()) {
            if let FibChange::Replace(route) = change {
                shared.handle(Event::FibFailed { dst: route.dst });
            }
        }
        shared.fib.done(&batch, results);
        batch.clear();
        shared.note_change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Route;

    fn change(dst: &str) -> FibChange {
        FibChange::Replace(Route::blackhole(dst.parse::<IpNet>().unwrap()))
    }

    #[test]
    fn it_is_settled_once_every_change_was_answered() {
        let fib = Fib::default();
        assert!(fib.settled());
        fib.queued(2);
        fib.done(&[change("10.0.0.0/26")], vec![Ok(())]);
        assert!(!fib.settled());
        fib.done(&[change("10.0.1.0/26")], vec![Ok(())]);
        assert!(fib.settled());
    }

    #[test]
    fn a_refusal_stands_until_a_later_change_of_the_prefix_succeeds() {
        let fib = Fib::default();
        fib.queued(3);
        let both = [change("10.0.0.0/26"), change("10.0.1.0/26")];
        fib.done(&both, vec![Err("no".into()), Ok(())]);
        assert_eq!(fib.failed(), [("10.0.0.0/26".parse().unwrap(), "no".to_owned())].into());
        fib.done(&both[..1], vec![Ok(())]);
        assert_eq!((fib.failed(), fib.settled()), (BTreeMap::new(), true));
    }
}
