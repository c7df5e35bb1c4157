//! The Internet checksum (RFC 1071).
//!
//! Sums 32 bits at a time in the machine's own byte order, which the ones' complement sum does not mind.

/// A sum in the making. Everything added but the last must have an even length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        // A packet has at most 2^14 words: the sum cannot overflow.
        let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        Self(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number of 16 bits.
    pub(super) fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(word.to_be_bytes())))
    }

    /// The folded sum, not complemented: what a device that fills in checksums wants to find in their place.
    pub(super) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be_bytes((sum as u16).to_ne_bytes())
    }

    /// The checksum; 0 if what was added contains its own and is right.
    pub(super) fn checksum(self) -> u16 {
        !self.folded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).folded(), 0xddf2);
        assert_eq!(Sum::default().bytes(&bytes[..2]).word(0xf203).bytes(&bytes[4..]).folded(), 0xddf2);
        assert_eq!(Sum::default().bytes(&[0x12, 0x34, 0x56]).folded(), 0x1234 + 0x5600);
    }
}
