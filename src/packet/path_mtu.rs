//! The search for the largest IP packet that passes a path: which length to try next. Its user sends, and says what came of it.
//!
//! As RFC 8899 §5.3 has it, lengths are tried, and what is told of an MTU is only ever a hint: the answer is a length that
//! passed while one byte more did not.

/// The shortest length that is tried, in bytes: what every path must carry (RFC 791 §3.2).
pub const SMALLEST: u16 = 68;

/// A search under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The largest length that passed.
    passed: Option<u16>,
    /// The smallest length that did not.
    stopped: Option<u16>,
    /// The MTU that was told of last.
    hint: Option<u16>,
}

impl Search {
    /// The length in bytes to try next, IP header included; `None` when the search is over.
    pub fn next_length(&self) -> Option<u16> {
        match (self.passed, self.stopped) {
            (None, None) => Some(SMALLEST),
            // Not even the shortest.
            (None, Some(_)) => None,
            (Some(u16::MAX), None) => None,
            (Some(_), None) => Some(u16::MAX),
            (Some(passed), Some(stopped)) if stopped - passed <= 1 => None,
            (Some(passed), Some(stopped)) => Some(match self.hint {
                Some(hint) if passed < hint && hint < stopped => hint,
                // The hint was right so far: then one byte more does not pass.
                Some(hint) if hint == passed => passed + 1,
                _ => passed + (stopped - passed) / 2,
            }),
        }
    }

    /// A packet of `length` bytes passed.
    pub fn passed(&mut self, length: u16) {
        self.passed = self.passed.max(Some(length));
    }

    /// A packet of `length` bytes did not pass; whoever stopped it may have told its MTU.
    pub fn stopped(&mut self, length: u16, mtu: Option<u16>) {
        self.stopped = Some(self.stopped.map_or(length, |stopped| stopped.min(length)));
        self.hint = mtu;
    }

    /// The largest length that passed so far.
    pub fn largest(&self) -> Option<u16> {
        self.passed
    }

    /// The smallest length that did not pass so far.
    pub fn smallest_stopped(&self) -> Option<u16> {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths tried, and the answer, on a path that carries up to `mtu` bytes and tells `told` where it stops a packet.
    fn search(mtu: u16, told: impl Fn(u16) -> Option<u16>) -> (Vec<u16>, Option<u16>) {
        let (mut search, mut tried) = (Search::default(), Vec::new());
        while let Some(length) = search.next_length() {
            assert!(tried.len() < 20, "{tried:?}");
            tried.push(length);
            if length <= mtu {
                search.passed(length);
            } else {
                search.stopped(length, told(length));
            }
        }
        (tried, search.largest())
    }

    #[test]
    fn an_mtu_that_is_told_is_tried_and_then_one_byte_more() {
        assert_eq!(search(1480, |_| Some(1480)), (vec![68, 65_535, 1480, 1481], Some(1480)));
    }

    #[test]
    fn the_sender_tells_first_and_then_the_way() {
        let told = |length| Some(if length > 1500 { 1500 } else { 1380 });
        assert_eq!(search(1380, told), (vec![68, 65_535, 1500, 1380, 1381], Some(1380)));
    }

    #[test]
    fn silence_is_halved_until_one_byte_decides() {
        for mtu in [68, 69, 576, 1400, 1499, 9000, 65_534] {
            assert_eq!(search(mtu, |_| None).1, Some(mtu));
        }
    }

    #[test]
    fn an_mtu_that_is_told_wrongly_misleads_nobody() {
        for told in [0, 67, 1000, 1399, 1401, 2000, u16::MAX] {
            assert_eq!(search(1400, |_| Some(told)).1, Some(1400), "{told}");
        }
    }

    #[test]
    fn a_path_that_carries_nothing_and_one_that_carries_all_have_no_next_length() {
        assert_eq!(search(67, |_| None), (vec![68], None));
        assert_eq!(search(u16::MAX, |_| None), (vec![68, 65_535], Some(u16::MAX)));
    }
}
