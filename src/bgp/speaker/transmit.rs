//! What a connection has to send, encoded when it can be sent.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::Speaker;
use crate::bgp::event::{ConnectionId, PeerId};
use crate::bgp::policy::{self, AttributeKey, ExportPeer, ExportRoute};
use crate::bgp::rib::EntryId;
use crate::bgp::view::State;
use crate::bgp::wire::{self, Attributes, Context, Family, Nlri, RefreshKind};

/// Prefixes looked at for one round of UPDATEs: enough to fill messages, few enough not to exceed a driver's buffer by much.
const ROUND: usize = 2048;

impl Speaker {
    /// Appends what `connection` has to send, until about `limit` bytes are there: a round of UPDATEs that was begun is finished.
    /// Returns false when nothing is left to send, or the connection is no more.
    pub fn poll_transmit(&mut self, now: Instant, connection: ConnectionId, out: &mut BytesMut, limit: usize) -> bool {
        let Some(&id) = self.connections.get(&connection) else { return false };
        let start = out.len();
        let peer = &mut self.peers[id.0 as usize];
        let Some(session) = peer.transmit_control(connection, out) else { return false };
        let established = session.state == State::Established;
        let (context, local) = (session.context, session.local);
        if established && let Some(local) = local.or(peer.config().local) {
            let config = Arc::clone(&self.config);
            let target = ExportPeer { id, config: &config.peers[id.0 as usize], local };
            let before = self.peers[id.0 as usize].counts.updates_sent;
            while out.len() - start < limit && self.transmit_round(&target, &context, out) {}
            if self.peers[id.0 as usize].counts.updates_sent != before
                && let Some(session) = self.peers[id.0 as usize].session_mut(connection)
            {
                session.restart_keepalive(now, &mut self.jitter);
                self.reschedule(id);
            }
        }
        let more = self.wants_to_send(connection);
        if !more && let Some(session) = self.peers[id.0 as usize].session_mut(connection) {
            session.transmit_requested = false;
        }
        more
    }

    /// Whether [`Speaker::poll_transmit`] would yield anything.
    pub(super) fn wants_to_send(&mut self, connection: ConnectionId) -> bool {
        let Some(id) = self.connections.get(&connection) else { return false };
        let peer = &mut self.peers[id.0 as usize];
        let pending = peer.adj_rib_out.is_pending();
        peer.session_mut(connection)
            .is_some_and(|session| session.has_control() || (session.state == State::Established && pending))
    }

    /// One round: a marker, or the UPDATEs of up to [`ROUND`] prefixes. False once nothing waits.
    fn transmit_round(&mut self, target: &ExportPeer<'_>, context: &Context, out: &mut BytesMut) -> bool {
        let family = Family::Ipv4Unicast;
        let peer = &mut self.peers[target.id.0 as usize];
        if std::mem::take(&mut peer.adj_rib_out.refresh_begin_due) {
            wire::encode_route_refresh(family, RefreshKind::Begin, out);
        }
        let mut batch = Vec::new();
        while batch.len() < ROUND
            && let Some(id) = peer.adj_rib_out.dequeue()
        {
            batch.push(id);
        }
        if !batch.is_empty() {
            self.transmit_routes(target, context, &batch, out);
            return true;
        }
        let markers = &mut peer.adj_rib_out;
        if std::mem::take(&mut markers.end_of_rib_due) {
            wire::encode_end_of_rib(family, out);
            peer.counts.updates_sent += 1;
            if std::mem::take(&mut markers.refresh_waits) {
                self.peer_refresh(target.id, RefreshKind::Request);
                return true;
            }
        }
        if std::mem::take(&mut markers.refresh_end_due) {
            wire::encode_route_refresh(family, RefreshKind::End, out);
        }
        false
    }

    /// Works out what each entry means for the peer now, and packs what shares its attributes.
    fn transmit_routes(&mut self, target: &ExportPeer<'_>, context: &Context, batch: &[EntryId], out: &mut BytesMut) {
        let mut withdrawn: Vec<Nlri> = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of: HashMap<AttributeKey, usize, FxBuildHasher> = HashMap::default();
        for &id in batch {
            match self.exported(id, target) {
                Some((key, nlri)) => {
                    let index = *group_of.entry_ref(&key).or_insert(groups.len());
                    if index == groups.len()
                        && let Some(source) = self.rib.get(id).and_then(|entry| entry.selected.as_ref())
                    {
                        let (from, changes) = (self.source_peer(source), key.changes());
                        let attributes = policy::exported_attributes(&self.config, source, from, changes, target);
                        groups.push(Group { attributes, entries: Vec::new(), nlri: Vec::new() });
                    }
                    groups[index].entries.push(id);
                    groups[index].nlri.push(nlri);
                }
                None => self.unsend(id, target.id, &mut withdrawn),
            }
        }
        let mut announcements = BytesMut::new();
        let mut messages = 0;
        for Group { attributes, entries, nlri } in groups {
            let mut done = 0;
            while done < nlri.len() {
                match wire::encode_announcement(&attributes, &nlri[done..], context, &mut announcements) {
                    Ok(taken) if taken > 0 => {
                        messages += 1;
                        for &id in &entries[done..done + taken] {
                            self.peers[target.id.0 as usize].adj_rib_out.announce(id);
                        }
                        done += taken;
                    }
                    // Attributes that fit into no message: such a route cannot be passed on, and what the peer has of it is out of date.
                    Ok(_) | Err(_) => {
                        for &id in &entries[done..] {
                            self.unsend(id, target.id, &mut withdrawn);
                        }
                        done = nlri.len();
                    }
                }
            }
        }
        let mut rest = &withdrawn[..];
        while !rest.is_empty() {
            // At least one is taken, or none fits ever.
            let taken = wire::encode_withdrawal(rest, context, out).max(1);
            messages += 1;
            rest = &rest[taken.min(rest.len())..];
        }
        out.extend_from_slice(&announcements);
        self.peers[target.id.0 as usize].counts.updates_sent += messages;
    }

    /// The entry is not to be with the peer: withdraw it if it is, and let go of it.
    fn unsend(&mut self, id: EntryId, peer: PeerId, withdrawn: &mut Vec<Nlri>) {
        if self.peers[peer.0 as usize].adj_rib_out.withdraw(id)
            && let Some(entry) = self.rib.get(id)
        {
            withdrawn.push(entry.prefix.into());
        }
        self.rib.release(id);
    }

    /// What the peer is to be told of an entry, if anything.
    fn exported(&self, id: EntryId, target: &ExportPeer<'_>) -> Option<(AttributeKey, Nlri)> {
        let entry = self.rib.get(id)?;
        let source = entry.selected.as_ref()?;
        let from = self.source_peer(source);
        let route = ExportRoute { prefix: entry.prefix, source, from, dev: self.next_hops.device(source) };
        let changes = policy::export(&self.config.policy, &route, target)?;
        Some((AttributeKey::of(source, changes), Nlri::from(entry.prefix)))
    }
}

/// Prefixes that go out with the same attributes.
struct Group {
    attributes: Attributes,
    entries: Vec<EntryId>,
    nlri: Vec<Nlri>,
}
