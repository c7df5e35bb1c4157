//! Go's seeded `math/rand` and the uniform draw of `big.Int.Rand`: what Calico's IPAM picks a node's first block with.
//!
//! An additive lagged Fibonacci generator over 64-bit words (calico-behaviour 2.2). Nothing here is random: the same seed
//! gives the same numbers on every machine, which is the point.

use super::go_rand_table::COOKED;

/// Words of state, the long lag.
const LENGTH: usize = 607;
/// The short lag.
const TAP: usize = 273;

/// A generator in the state that Go's `rand.New(rand.NewSource(seed))` has.
pub(super) struct GoRand {
    state: Box<[u64; LENGTH]>,
    tap: usize,
    feed: usize,
}

impl GoRand {
    /// Seeds the generator.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = lehmer_words(seed, [40, 20, 0]);
        for (word, cooked) in state.iter_mut().zip(&COOKED) {
            *word ^= cooked;
        }
        Self { state, tap: 0, feed: LENGTH - TAP }
    }

    /// A uniform number below `bound`; 0 if `bound` is 0. Every 64-bit candidate costs two 32-bit outputs, as in Go's
    /// `nat.random`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let mask = u64::MAX >> bound.leading_zeros();
        loop {
            let low = u64::from(self.next_u32());
            let high = u64::from(self.next_u32());
            let candidate = (low | high << 32) & mask;
            if candidate < bound {
                return candidate;
            }
        }
    }

    /// Go's `Uint32`: the upper half of the 63-bit output.
    fn next_u32(&mut self) -> u32 {
        let output = self.step() & (u64::MAX >> 1);
        u32::try_from(output >> 31).expect("63 bits less 31 are 32 bits")
    }

    fn step(&mut self) -> u64 {
        self.tap = self.tap.checked_sub(1).unwrap_or(LENGTH - 1);
        self.feed = self.feed.checked_sub(1).unwrap_or(LENGTH - 1);
        let word = self.state[self.feed].wrapping_add(self.state[self.tap]);
        self.state[self.feed] = word;
        word
    }
}

/// The seeding procedure: 20 Lehmer steps discarded, then three steps per word, put together by `shifts`.
fn lehmer_words(seed: u32, shifts: [u32; 3]) -> Box<[u64; LENGTH]> {
    const MODULUS: u64 = (1 << 31) - 1;
    let mut x = match u64::from(seed) % MODULUS {
        0 => 89_482_311,
        x => x,
    };
    let mut next = || {
        x = 48_271 * x % MODULUS;
        x
    };
    for _ in 0..20 {
        next();
    }
    let mut words = Box::new([0; LENGTH]);
    for word in words.iter_mut() {
        for shift in shifts {
            *word ^= next() << shift;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Coefficients over ℤ/2⁶⁴, lowest degree first, of a polynomial modulo x⁶⁰⁷ − x³³⁴ − 1: what the sequence
    /// y[k] = y[k−607] + y[k−273] satisfies.
    type Polynomial = Vec<u64>;

    fn multiply(a: &Polynomial, b: &Polynomial) -> Polynomial {
        let mut product = vec![0_u64; 2 * LENGTH - 1];
        for (i, &x) in a.iter().enumerate() {
            for (slot, &y) in product[i..].iter_mut().zip(b) {
                *slot = slot.wrapping_add(x.wrapping_mul(y));
            }
        }
        for degree in (LENGTH..product.len()).rev() {
            let coefficient = product[degree];
            product[degree - TAP] = product[degree - TAP].wrapping_add(coefficient);
            product[degree - LENGTH] = product[degree - LENGTH].wrapping_add(coefficient);
        }
        product.truncate(LENGTH);
        product
    }

    /// x to the power of `exponent`.
    fn power_of_x(exponent: u64) -> Polynomial {
        let mut one = vec![0; LENGTH];
        one[0] = 1;
        let mut x = vec![0; LENGTH];
        x[1] = 1;
        (0..u64::BITS - exponent.leading_zeros()).rev().fold(one, |power, bit| {
            let square = multiply(&power, &power);
            if exponent >> bit & 1 == 1 { multiply(&square, &x) } else { square }
        })
    }

    #[test]
    fn the_table_is_the_generators_own_state_after_its_steps() {
        const STEPS: u64 = 7_800_000_000_000;
        let slot = |k: i64| usize::try_from((334 - k).rem_euclid(607)).unwrap();
        let initial = lehmer_words(1, [20, 10, 0]);
        // sequence[j] is y[j − 606]: the state before any step, and 606 steps more.
        let mut sequence: Vec<u64> = (0..607).map(|j| initial[slot(j - 606)]).collect();
        for j in LENGTH..2 * LENGTH {
            sequence.push(sequence[j - LENGTH].wrapping_add(sequence[j - TAP]));
        }
        let weights = power_of_x(STEPS);
        let mut table = [0; LENGTH];
        for j in 0..LENGTH {
            let terms = weights.iter().zip(&sequence[j..]);
            let word = terms.fold(0_u64, |sum, (w, y)| sum.wrapping_add(w.wrapping_mul(*y)));
            table[slot(STEPS as i64 - 606 + j as i64)] = word;
        }
        assert!(table == COOKED);
    }

    #[test]
    fn the_tables_check_values_hold() {
        let low = |i: usize| COOKED[i] & (u64::MAX >> 1);
        assert_eq!(
            [low(0), low(1), low(606)],
            [5_041_579_894_721_019_882, 4_646_389_086_726_545_243, 4_152_330_101_494_654_406]
        );
    }

    #[test]
    fn a_draw_stays_below_its_bound() {
        let mut rand = GoRand::new(7);
        for bound in [1, 2, 3, 1000, 1024, 1 << 20, u64::MAX] {
            assert!(rand.below(bound) < bound);
        }
        assert_eq!(rand.below(0), 0);
    }
}
