//! A set of entry numbers, one bit each.

use super::EntryId;

/// A set of [`EntryId`]s. As long as it is new, it owns no memory.
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

    /// Whether there is none.
    pub(in crate::bgp) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, ascending.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| members(index, word))
    }

    /// Takes out `most` and up to 63 more, or all that there are, ascending from `cursor` and round again. `cursor` is left behind the
    /// last one.
    pub(in crate::bgp) fn take(&mut self, cursor: &mut Cursor, most: usize) -> Vec<EntryId> {
        let mut taken = Vec::with_capacity(most.min(self.len) + 63);
        while taken.len() < most && self.len > 0 {
            if cursor.0 >= self.words.len() {
                cursor.0 = 0;
            }
            let word = std::mem::take(&mut self.words[cursor.0]);
            self.len -= word.count_ones() as usize;
            taken.extend(members(cursor.0, word));
            cursor.0 += 1;
        }
        taken
    }
}

/// A place in a set: a group of 64 numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::bgp) struct Cursor(usize);

impl Cursor {
    /// The place of `id`.
    pub(in crate::bgp) fn of(id: EntryId) -> Self {
        Self(position(id).0)
    }
}

/// The members that one word stands for.
fn members(index: usize, word: u64) -> impl Iterator<Item = EntryId> {
    let next = |rest: u64| (rest != 0).then_some(rest);
    std::iter::successors(next(word), move |rest| next(rest & (rest - 1)))
        .map(move |rest| EntryId((index * 64) as u32 + rest.trailing_zeros()))
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

    #[test]
    fn taking_out_goes_round_so_that_everything_has_its_turn() {
        let mut set = IdSet::default();
        let mut take = |put: &[u32], cursor: &mut Cursor, most| {
            for id in put {
                set.insert(EntryId(*id));
            }
            let taken = set.take(cursor, most);
            taken.into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        let mut cursor = Cursor::of(EntryId(70));
        assert_eq!(take(&[3, 70, 71, 200], &mut cursor, 1), [70, 71]);
        assert_eq!(take(&[70], &mut cursor, 1), [200]);
        assert_eq!(take(&[], &mut cursor, 9), [3, 70]);
        assert!(take(&[], &mut cursor, 9).is_empty());
    }
}
