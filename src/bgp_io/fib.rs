//! Writes a speaker's routes into its namespace's kernel table, and keeps account of what the kernel acknowledged.
//!
//! What waits for the kernel is bounded twice: a destination whose route changes again before its turn takes no second place, and once
//! [`LIMIT`] changes wait no connection is read before the kernel has caught up. TCP then holds the peers back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::bgp::{Event, FibChange};
use crate::fabric::routes::RouteWriter;

use super::driver::Shared;

/// How many changes go to the kernel in one turn.
const TURN: usize = 1024;
/// How many changes may wait before the peers do. What one read brings comes on top.
const LIMIT: usize = 16 * TURN;

/// What waits, what is under way and what failed.
#[derive(Debug, Default)]
pub(super) struct Fib {
    state: Mutex<State>,
    /// Wakes the writer.
    queued: Notify,
    /// Wakes the readers.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last word about each destination that waits.
    waiting: FxHashMap<IpNet, FibChange>,
    /// In the order in which they began to wait.
    order: VecDeque<IpNet>,
    under_way: usize,
    failed: BTreeMap<IpNet, String>,
}

impl Fib {
    /// `changes` are to be made, in this order.
    pub(super) fn queue(&self, changes: Vec<FibChange>) {
        let mut state = self.lock();
        for change in changes {
            let (FibChange::Replace(route) | FibChange::Remove(route)) = &change;
            let dst = route.dst;
            if state.waiting.insert(dst, change).is_none() {
                state.order.push_back(dst);
            }
        }
        self.queued.notify_one();
    }

    /// Returns once so little waits that more may come.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().order.len() < LIMIT {
                return;
            }
            room.await;
        }
    }

    /// Nothing is on its way.
    pub(super) fn settled(&self) -> bool {
        let state = self.lock();
        state.order.is_empty() && state.under_way == 0
    }

    /// Destinations that the kernel refused, with its reason.
    pub(super) fn failed(&self) -> BTreeMap<IpNet, String> {
        self.lock().failed.clone()
    }

    /// The next changes for the kernel, as soon as there are any; they are under way then.
    async fn turn(&self) -> Vec<FibChange> {
        loop {
            let turn = self.lock().turn();
            if !turn.is_empty() {
                self.room.notify_waiters();
                return turn;
            }
            self.queued.notified().await;
        }
    }

    fn done(&self, changes: &[FibChange], results: Vec<Result<(), String>>) {
        let mut state = self.lock();
        for (change, result) in changes.iter().zip(results) {
            let (FibChange::Replace(route) | FibChange::Remove(route)) = change;
            match result {
                Ok(()) => drop(state.failed.remove(&route.dst)),
                Err(error) => drop(state.failed.insert(route.dst, error)),
            }
        }
        state.under_way = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding this")
    }
}

impl State {
    fn turn(&mut self) -> Vec<FibChange> {
        let count = self.order.len().min(TURN);
        let Self { waiting, order, .. } = self;
        let turn: Vec<FibChange> = order.drain(..count).filter_map(|dst| waiting.remove(&dst)).collect();
        if order.is_empty() {
            // Both keep their buffers; an idle speaker should not.
            (self.waiting, self.order) = (FxHashMap::default(), VecDeque::new());
        }
        self.under_way = turn.len();
        turn
    }
}

/// Makes the changes, in batches, until the driver ends.
pub(super) async fn write(shared: Arc<Shared>, writer: RouteWriter) {
    loop {
        let batch = shared.fib.turn().await;
        let results = writer.apply(batch.clone()).await;
        let results: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect();
        for (change, _) in batch.iter().zip(&results).filter(|(_, result)| result.is_err()) {
            if let FibChange::Replace(route) = change {
                shared.handle(Event::FibFailed { dst: route.dst });
            }
        }
        shared.fib.done(&batch, results);
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

    #[tokio::test]
    async fn it_is_settled_once_every_change_was_answered() {
        let fib = Fib::default();
        assert!(fib.settled());
        fib.queue(vec![change("10.0.0.0/26")]);
        assert!(!fib.settled());
        let turn = fib.turn().await;
        assert!(!fib.settled(), "under way");
        fib.queue(vec![change("10.0.1.0/26")]);
        fib.done(&turn, vec![Ok(())]);
        assert!(!fib.settled());
        let turn = fib.turn().await;
        fib.done(&turn, vec![Ok(())]);
        assert!(fib.settled());
    }

    #[tokio::test]
    async fn the_last_word_about_a_destination_takes_the_place_of_the_first() {
        let fib = Fib::default();
        let (first, second) = ("10.0.0.0/26", "10.0.1.0/26");
        fib.queue(vec![change(first), change(second)]);
        // Another metric is another route to the kernel, but not to the speaker.
        let other = FibChange::Replace(Route { metric: 7, ..Route::blackhole(first.parse::<IpNet>().unwrap()) });
        fib.queue(vec![FibChange::Remove(Route::blackhole(first.parse::<IpNet>().unwrap())), other.clone()]);
        assert_eq!(fib.turn().await, [other, change(second)]);
    }

    #[tokio::test]
    async fn whoever_brings_routes_waits_while_the_kernel_is_behind() {
        let fib = Fib::default();
        let routes = |count: usize| (0..count as u32).map(|n| IpNet::new([10, 0, (n >> 8) as u8, n as u8].into(), 32));
        let changes = |count| routes(count).map(|dst| FibChange::Replace(Route::blackhole(dst.unwrap()))).collect();
        fib.queue(changes(LIMIT));
        for _ in 0..3 {
            // However often the same routes change.
            fib.queue(changes(LIMIT));
        }
        let waits = async || {
            tokio::select! {
                biased;
                () = fib.room() => false,
                () = std::future::ready(()) => true,
            }
        };
        assert!(waits().await);
        let (turn, ()) = tokio::join!(fib.turn(), fib.room());
        fib.done(&turn, vec![Ok(()); turn.len()]);
        assert!(!waits().await);
        for _ in 1..LIMIT / TURN {
            fib.turn().await;
        }
        fib.done(&[], Vec::new());
        assert!(fib.settled(), "four times the routes took one place each");
    }

    #[tokio::test]
    async fn a_refusal_stands_until_a_later_change_of_the_prefix_succeeds() {
        let fib = Fib::default();
        let both = [change("10.0.0.0/26"), change("10.0.1.0/26")];
        fib.done(&both, vec![Err("no".into()), Ok(())]);
        assert_eq!(fib.failed(), [("10.0.0.0/26".parse().unwrap(), "no".to_owned())].into());
        fib.done(&both[..1], vec![Ok(())]);
        assert_eq!((fib.failed(), fib.settled()), (BTreeMap::new(), true));
    }
}
