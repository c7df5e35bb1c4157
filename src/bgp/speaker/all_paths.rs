//! A round of UPDATEs for a peer that gets every path (RFC 7911, BIRD's `add paths tx`).

use bytes::BytesMut;

use super::Speaker;
use super::announcements::{Announcements, Encoded};
use super::transmit::encode_withdrawals;
use crate::bgp::policy::ExportPeer;
use crate::bgp::rib::{EntryId, PathId, Said};
use crate::bgp::wire::{Context, Nlri};

/// One path that is to be announced.
type Planned = (EntryId, PathId, Said);

impl Speaker {
    /// Brings the peer up to date about every path of each entry.
    pub(super) fn transmit_all_paths(
        &mut self,
        target: &ExportPeer<'_>,
        context: &Context,
        batch: &[EntryId],
        out: &mut BytesMut,
    ) {
        let (mut withdrawn, mut announcements) = (Vec::new(), Announcements::default());
        for &id in batch {
            self.plan_all_paths(id, target, &mut withdrawn, &mut announcements);
        }
        let Encoded { announced, refused, bytes, messages } = announcements.encode(context);
        let peer = &mut self.peers[target.id.0 as usize];
        for ((id, path, _), nlri) in refused {
            if peer.adj_rib_out.withdraw_path(id, path) {
                withdrawn.push(nlri);
            }
        }
        for (id, path, said) in announced {
            peer.adj_rib_out.announce_path(id, path, said);
        }
        peer.counts.updates_sent += encode_withdrawals(&withdrawn, context, out) + messages;
        out.extend_from_slice(&bytes);
        for &id in batch {
            if !self.peers[target.id.0 as usize].adj_rib_out.has_sent(id) {
                self.rib.release(id);
            }
        }
    }

    /// Every path that has a way to its next hop and that policy passes, the best first; whatever else the peer has goes.
    fn plan_all_paths(
        &mut self,
        id: EntryId,
        target: &ExportPeer<'_>,
        withdrawn: &mut Vec<Nlri>,
        announcements: &mut Announcements<Planned>,
    ) {
        let Some(entry) = self.rib.get(id) else { return };
        let prefix = self.rib.prefix(id);
        // 0 says to some that there is no identifier.
        let nlri = |path: PathId| Nlri { prefix, path_id: Some(u32::from(path.0) + 1) };
        let told = &self.peers[target.id.0 as usize].adj_rib_out;
        let mut gone = told.sent_paths(id);
        for path in entry.paths.iter().filter(|path| self.next_hops.is_usable(&path.source)) {
            let Some(key) = self.exported(prefix, &path.source, target) else { continue };
            gone.retain(|sent| *sent != path.id);
            if !told.has_said(id, path.id, &key) {
                let said = Said { key: key.clone(), source: path.source.clone() };
                announcements.push(&key, (id, path.id, said), nlri(path.id), || {
                    self.exported_attributes(&path.source, &key, target)
                });
            }
        }
        for path in gone {
            withdrawn.push(nlri(path));
            self.peers[target.id.0 as usize].adj_rib_out.withdraw_path(id, path);
        }
    }
}
