//! A round of UPDATEs: what some prefixes come to for a peer, and for every other one that is told things alike.
//!
//! Peers of one form (a peer group) that keep up are to be told the same prefixes one after the other. The first of them has the
//! UPDATEs worked out and encoded; for the others they are copied.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::Speaker;
use crate::bgp::config::SpeakerConfig;
use crate::bgp::event::PeerId;
use crate::bgp::policy::{self, AttributeKey, ExportPeer, ExportRoute, Reach};
use crate::bgp::rib::EntryId;
use crate::bgp::wire::{self, Attributes, Context, Nlri};

/// How many rounds are kept: peers may be this far apart and still be served together.
const KEPT: usize = 16;
/// Rounds of fewer prefixes are not worth the memory.
const KEPT_FROM: usize = 16;

/// What a round comes to.
#[derive(Debug)]
pub(super) struct Round {
    /// Whom it was worked out for.
    peer: PeerId,
    local: IpAddr,
    context: Context,
    /// Every prefix, in order.
    batch: Vec<EntryId>,
    /// Peers that some of the prefixes came from. To them it means something else: nothing goes back.
    from: Vec<PeerId>,
    /// Prefixes to be announced.
    pub(super) announced: Vec<EntryId>,
    /// Prefixes that the peer is not to have.
    pub(super) refused: Vec<EntryId>,
    /// The announcements.
    pub(super) announcements: Bytes,
    /// How many UPDATEs these are.
    pub(super) messages: u64,
}

impl Round {
    /// Whether `batch` comes to the same for `target`.
    fn serves(&self, config: &SpeakerConfig, target: &ExportPeer<'_>, context: &Context, batch: &[EntryId]) -> bool {
        let peer = ExportPeer { id: self.peer, config: &config.peers[self.peer.0 as usize], local: self.local };
        self.context == *context
            && !self.from.contains(&target.id)
            && Reach::of(peer.config) == Reach::of(target.config)
            && peer.is_told_as(target)
            && self.batch == batch
    }
}

impl Speaker {
    /// What `batch` comes to for `target`, from an earlier round if it can be.
    pub(super) fn round(&mut self, target: &ExportPeer<'_>, context: &Context, batch: Vec<EntryId>) -> Arc<Round> {
        let mut known = self.rounds.iter().rev();
        if let Some(round) = known.find(|round| round.serves(&self.config, target, context, &batch)) {
            return Arc::clone(round);
        }
        let round = Arc::new(self.work_out(target, context, batch));
        let several = self.up.iter().map(Vec::len).sum::<usize>() > 1;
        if several && round.batch.len() >= KEPT_FROM && !round.from.contains(&target.id) {
            if self.rounds.len() == KEPT {
                self.rounds.pop_front();
            }
            self.rounds.push_back(Arc::clone(&round));
        }
        round
    }

    /// Works out what each entry means for the peer now, and packs what shares its attributes.
    fn work_out(&self, target: &ExportPeer<'_>, context: &Context, batch: Vec<EntryId>) -> Round {
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of: HashMap<AttributeKey, usize, FxBuildHasher> = HashMap::default();
        let mut last: Option<(AttributeKey, usize)> = None;
        let (mut from, mut refused) = (Vec::new(), Vec::new());
        for &id in &batch {
            let Some((key, nlri)) = self.exported(id, target, &mut from) else {
                refused.push(id);
                continue;
            };
            // What came together mostly stands together.
            let index = match &last {
                Some((same, index)) if *same == key => *index,
                _ => *group_of.entry_ref(&key).or_insert(groups.len()),
            };
            if index == groups.len()
                && let Some(source) = self.selected(id)
            {
                let attributes =
                    policy::exported_attributes(&self.config, source, self.source_peer(source), key.changes(), target);
                groups.push(Group { attributes, entries: Vec::new(), nlri: Vec::new() });
            }
            groups[index].entries.push(id);
            groups[index].nlri.push(nlri);
            last = Some((key, index));
        }
        let (mut out, mut announced, mut messages) = (BytesMut::new(), Vec::with_capacity(batch.len()), 0);
        for Group { attributes, entries, nlri } in groups {
            let mut done = 0;
            while done < nlri.len() {
                match wire::encode_announcement(&attributes, &nlri[done..], context, &mut out) {
                    Ok(taken) if taken > 0 => {
                        messages += 1;
                        announced.extend_from_slice(&entries[done..done + taken]);
                        done += taken;
                    }
                    // Attributes that fit into no message: such a route cannot be passed on, and what the peer has of it is out of date.
                    Ok(_) | Err(_) => {
                        refused.extend_from_slice(&entries[done..]);
                        done = nlri.len();
                    }
                }
            }
        }
        Round {
            peer: target.id,
            local: target.local,
            context: *context,
            batch,
            from,
            announced,
            refused,
            announcements: out.freeze(),
            messages,
        }
    }

    /// What the peer is to be told of an entry, if anything. Whom the entry came from is noted in `seen`.
    fn exported(&self, id: EntryId, target: &ExportPeer<'_>, seen: &mut Vec<PeerId>) -> Option<(AttributeKey, Nlri)> {
        let entry = self.rib.get(id)?;
        let source = &entry.best()?.source;
        let from = self.source_peer(source);
        if let Some(from) = from
            && !seen.contains(&from.id)
        {
            seen.push(from.id);
        }
        let prefix = self.rib.prefix(id);
        let route = ExportRoute { prefix, source, from, dev: self.next_hops.device(source) };
        let changes = policy::export(&self.config.policy, &route, target)?;
        Some((AttributeKey::of(source, changes), Nlri::from(prefix)))
    }
}

/// Prefixes that go out with the same attributes.
struct Group {
    attributes: Attributes,
    entries: Vec<EntryId>,
    nlri: Vec<Nlri>,
}
