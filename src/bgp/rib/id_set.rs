//! A set of entry numbers, one bit each.

use super::EntryId;

/// A set of [`EntryId`]s. Empty, it owns no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::bgp) struct IdSet {
    words: Vec<u64>,
    len: usize,
}

impl IdSet {
    /// Adds `id`; false if it was there.
    pub(in crate::bgp) fn insert(&mut self, id: EntryId) -> bool {
        let (word, bit) = position(id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(new);
        new
    }

    /// Takes `id` out; false if it was not there.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId) -> bool {
        let (word, bit) = position(id);
        let Some(word) = self.words.get_mut(word) else { return false };
        let there = *word & bit != 0;
        *word &= !bit;
        self.len -= usize::from(there);
        there
    }

    /// Whether `id` is in it.
    pub(in crate::bgp) fn contains(&self, id: EntryId) -> bool {
        let (word, bit) = position(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub(in crate::bgp) fn len(&self) -> usize {
        self.len
    }

    /// All of them, ascending.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            std::iter::successors((word != 0).then_some(word), |rest| {
                let rest = rest & (rest - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |rest| EntryId((index * 64) as u32 + rest.trailing_zeros()))
        })
    }
}

fn position(id: EntryId) -> (usize, u64) {
    (id.0 as usize / 64, 1 << (id.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_and_lists_what_was_put_in_and_not_taken_out() {
        let mut set = IdSet::default();
        for id in [3, 64, 200, 63, 3] {
            set.insert(EntryId(id));
        }
        assert!(set.remove(EntryId(64)));
        assert!(!set.remove(EntryId(64)));
        assert!(!set.remove(EntryId(9000)));
        assert_eq!(set.iter().map(|id| id.0).collect::<Vec<_>>(), [3, 63, 200]);
        assert_eq!(set.len(), 3);
        assert!(set.contains(EntryId(200)) && !set.contains(EntryId(201)));
    }
}
