//! A round of UPDATEs: what some prefixes come to for a peer that gets the selected path only, and for every other one that is told things
//! alike.
//!
//! Peers of one form (a peer group) that keep up are to be told the same prefixes one after the other. The first of them has the
//! UPDATEs worked out and encoded; for the others they are copied.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;

use super::Speaker;
use super::announcements::Announcements;
use crate::bgp::config::SpeakerConfig;
use crate::bgp::event::PeerId;
use crate::bgp::policy::{AttributeKey, ExportPeer};
use crate::bgp::reach::Reach;
use crate::bgp::rib::{EntryId, PathSource};
use crate::bgp::wire::{Context, Nlri};

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
        let several = self.up.iter().map(Vec::len).sum::<usize>() - self.all_paths > 1;
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
        let mut announcements = Announcements::default();
        let (mut from, mut refused) = (Vec::new(), Vec::new());
        for &id in &batch {
            match self.selected_for(id, target, &mut from) {
                Some((prefix, source, key)) => {
                    announcements.push(&key, id, Nlri::from(prefix), || self.exported_attributes(source, &key, target))
                }
                None => refused.push(id),
            }
        }
        let encoded = announcements.encode(context);
        refused.extend(encoded.refused.into_iter().map(|(id, _)| id));
        Round {
            peer: target.id,
            local: target.local,
            context: *context,
            batch,
            from,
            announced: encoded.announced,
            refused,
            announcements: encoded.bytes.freeze(),
            messages: encoded.messages,
        }
    }

    /// The selected path of an entry, if the peer is to be told of it. Whom it came from is noted in `seen`.
    fn selected_for(
        &self,
        id: EntryId,
        target: &ExportPeer<'_>,
        seen: &mut Vec<PeerId>,
    ) -> Option<(IpNet, &PathSource, AttributeKey)> {
        let entry = self.rib.get(id)?;
        let source = &entry.best()?.source;
        if let PathSource::Bgp(from, _) = source
            && !seen.contains(from)
        {
            seen.push(*from);
        }
        let prefix = self.rib.prefix(id);
        Some((prefix, source, self.exported(prefix, source, target)?))
    }
}
