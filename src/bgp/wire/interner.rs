//! One allocation per distinct attribute set of a speaker, found by value or, faster, by the bytes it came in.

use std::sync::{Arc, Weak};

use hashbrown::{HashMap, HashSet};

use super::types::{Attributes, Context};

/// The attribute sets of one speaker. What nobody else holds goes at a sweep; sweeps are rare enough to cost O(1) per entry made.
///
/// The hashes are keyed at random, so that a peer cannot choose colliding attributes.
#[derive(Debug, Default)]
pub struct Interner {
    sets: HashSet<Arc<Attributes>>,
    /// The attribute field of an UPDATE, without MP_REACH_NLRI and without faults, to what it means; by [`block_class`].
    blocks: [HashMap<Box<[u8]>, Weak<Attributes>>; 4],
    /// How many entries to reach before the next sweep.
    sweep_at: usize,
}

impl Interner {
    const SWEEP_MIN: usize = 64;

    /// An empty one; it allocates with the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shared allocation that equals `attributes`.
    pub fn intern(&mut self, attributes: Attributes) -> Arc<Attributes> {
        if let Some(known) = self.sets.get(&attributes) {
            return Arc::clone(known);
        }
        self.sweep_if_due();
        let shared = Arc::new(attributes);
        self.sets.insert(Arc::clone(&shared));
        shared
    }

    /// How many sets there are, those nobody holds any more included until the next sweep.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there is no set.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// What the attribute field `block` meant the last time.
    pub(super) fn find_block(&self, block: &[u8], context: &Context) -> Option<Arc<Attributes>> {
        self.blocks[block_class(context)].get(block).and_then(Weak::upgrade)
    }

    /// Remembers that `block` means `attributes`.
    pub(super) fn remember_block(&mut self, block: &[u8], context: &Context, attributes: &Arc<Attributes>) {
        self.sweep_if_due();
        self.blocks[block_class(context)].insert(block.into(), Arc::downgrade(attributes));
    }

    fn sweep_if_due(&mut self) {
        let blocks = |all: &Self| all.blocks.iter().map(HashMap::len).sum::<usize>();
        if self.sets.len() + blocks(self) < self.sweep_at.max(Self::SWEEP_MIN) {
            return;
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        for map in &mut self.blocks {
            map.retain(|_, set| set.strong_count() > 0);
            // One set has endless spellings; a peer that sends them all must not be remembered for it.
            if map.len() > 2 * self.sets.len() + Self::SWEEP_MIN {
                map.clear();
            }
        }
        self.sweep_at = 2 * (self.sets.len() + blocks(self));
    }
}

/// The same bytes mean something else to a two-octet peer, and to an external one.
fn block_class(context: &Context) -> usize {
    usize::from(context.four_octet_as) + 2 * usize::from(context.external)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(med: u32) -> Attributes {
        Attributes { med: Some(med), ..Attributes::local([10, 0, 0, 1].into()) }
    }

    #[test]
    fn equal_sets_share_one_allocation() {
        let mut interner = Interner::new();
        let (first, second) = (interner.intern(attributes(1)), interner.intern(attributes(1)));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn a_block_is_found_only_in_the_same_class_of_context() {
        let mut interner = Interner::new();
        let set = interner.intern(attributes(1));
        let internal = Context::default();
        interner.remember_block(b"block", &internal, &set);
        assert_eq!(interner.find_block(b"block", &internal), Some(set));
        assert_eq!(interner.find_block(b"block", &Context { external: true, ..internal }), None);
        assert_eq!(interner.find_block(b"block", &Context { four_octet_as: true, ..internal }), None);
    }

    #[test]
    fn sets_that_nobody_holds_do_not_pile_up() {
        let mut interner = Interner::new();
        let held: Vec<_> = (0..100).map(|med| interner.intern(attributes(med))).collect();
        for med in 100..100_000 {
            interner.intern(attributes(med));
        }
        assert!(interner.len() <= 2 * held.len() + Interner::SWEEP_MIN, "{} sets", interner.len());
        for (med, set) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(set, &interner.intern(attributes(med as u32))));
        }
    }

    #[test]
    fn spellings_of_one_held_set_do_not_pile_up() {
        let mut interner = Interner::new();
        let set = interner.intern(attributes(1));
        for spelling in 0..100_000_u32 {
            interner.remember_block(&spelling.to_be_bytes(), &Context::default(), &set);
        }
        assert!(interner.blocks[0].len() <= 4 * Interner::SWEEP_MIN, "{} blocks", interner.blocks[0].len());
    }
}
