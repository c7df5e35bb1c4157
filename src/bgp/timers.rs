//! The timers of RFC 4271 §8.1.3 and §10 as a table of deadlines, and the jitter on them.
//!
//! Nothing here reads a clock: a timer is a point in time that its owner compares with `now`.

use std::time::{Duration, Instant};

/// A timer of a peer or of one of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Of a peer: until the next dial, and how long a dial may take.
    ConnectRetry,
    /// Of a peer: the wait after an error, during which nothing is dialled or accepted.
    IdleHold,
    /// Of a connection: how long the other end may stay silent.
    Hold,
    /// Of a connection: until we must break our own silence.
    Keepalive,
}

impl Timer {
    const COUNT: usize = 4;
}

/// One deadline for each [`Timer`]; a timer that does not run has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TimerTable {
    deadlines: [Option<Instant>; Timer::COUNT],
}

impl TimerTable {
    /// Starts `timer`, or starts it anew.
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    /// Stops `timer`.
    pub(super) fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// When `timer` expires, if it runs.
    pub(super) fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    /// Stops `timer` and says so, if it has expired by `now`.
    pub(super) fn expire(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.deadline(timer).is_some_and(|deadline| deadline <= now);
        if due {
            self.stop(timer);
        }
        due
    }

    /// The first deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }
}

/// The source of jitter: SplitMix64, so that a seed gives the same run again.
#[derive(Clone, Debug)]
pub(super) struct Jitter {
    state: u64,
}

impl Jitter {
    /// A source that always yields the same for the same `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `interval` times a random factor between 0.75 and 1.0 (RFC 4271 §10).
    pub(super) fn apply(&mut self, interval: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 32 bits are a fraction of a quarter.
        interval.mul_f64(0.75 + 0.25 * ((mixed >> 32) as f64 / f64::from(u32::MAX)))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_timer_expires_once_and_not_before_its_deadline() {
        let start = Instant::now();
        let mut timers = TimerTable::default();
        timers.set(Timer::Hold, start + Duration::from_secs(3));
        assert!(!timers.expire(Timer::Hold, start + Duration::from_secs(2)));
        assert!(timers.expire(Timer::Hold, start + Duration::from_secs(3)));
        assert!(!timers.expire(Timer::Hold, start + Duration::from_secs(9)));
    }

    #[test]
    fn the_next_deadline_is_the_earliest_of_those_that_run() {
        let start = Instant::now();
        let mut timers = TimerTable::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Hold, start + Duration::from_secs(9));
        timers.set(Timer::Keepalive, start + Duration::from_secs(3));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(3)));
        timers.stop(Timer::Keepalive);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(9)));
    }

    #[test]
    fn jitter_stays_between_three_quarters_and_the_whole_and_spreads() {
        let mut jitter = Jitter::new(7);
        let drawn: Vec<Duration> = (0..1000).map(|_| jitter.apply(Duration::from_secs(100))).collect();
        assert!(drawn.iter().all(|d| (75..=100).contains(&d.as_secs()) && *d <= Duration::from_secs(100)));
        assert!(drawn.iter().any(|d| d.as_secs() < 78) && drawn.iter().any(|d| d.as_secs() > 97));
    }
}
