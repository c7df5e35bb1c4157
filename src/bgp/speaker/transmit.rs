//! What a connection has to send, encoded when it can be sent.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ipnet::IpNet;

use super::Speaker;
use crate::bgp::event::{ConnectionId, PeerId};
use crate::bgp::policy::{self, AttributeKey, ExportPeer};
use crate::bgp::rib::{EntryId, PathSource};
use crate::bgp::view::State;
use crate::bgp::wire::{self, Attributes, Context, Nlri, RefreshKind};

/// Prefixes looked at for one round of UPDATEs, and at most a word of [`IdSet`](crate::bgp::rib::IdSet) more: enough to fill messages, few enough not to exceed a driver's buffer by much.
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

    /// One round: a marker, or the UPDATEs of about [`ROUND`] prefixes. False once nothing waits.
    fn transmit_round(&mut self, target: &ExportPeer<'_>, context: &Context, out: &mut BytesMut) -> bool {
        let family = self.config.family;
        let peer = &mut self.peers[target.id.0 as usize];
        if std::mem::take(&mut peer.adj_rib_out.refresh_begin_due) {
            wire::encode_route_refresh(family, RefreshKind::Begin, out);
        }
        let batch = peer.adj_rib_out.dequeue(ROUND);
        if !batch.is_empty() {
            match context.add_path_send(family) {
                true => self.transmit_all_paths(target, context, &batch, out),
                false => self.transmit_selected(target, context, batch, out),
            }
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

    /// Brings a peer that gets the selected path only up to date about each entry.
    fn transmit_selected(
        &mut self,
        target: &ExportPeer<'_>,
        context: &Context,
        batch: Vec<EntryId>,
        out: &mut BytesMut,
    ) {
        let round = self.round(target, context, batch);
        let mut withdrawn: Vec<Nlri> = Vec::new();
        for &id in &round.refused {
            self.unsend(id, target.id, &mut withdrawn);
        }
        let withdrawals = encode_withdrawals(&withdrawn, context, out);
        out.extend_from_slice(&round.announcements);
        let peer = &mut self.peers[target.id.0 as usize];
        for &id in &round.announced {
            peer.adj_rib_out.announce(id);
        }
        peer.counts.updates_sent += withdrawals + round.messages;
    }

    /// The entry is not to be with the peer: withdraw it if it is, and let go of it.
    fn unsend(&mut self, id: EntryId, peer: PeerId, withdrawn: &mut Vec<Nlri>) {
        if self.peers[peer.0 as usize].adj_rib_out.withdraw(id) {
            withdrawn.push(self.rib.prefix(id).into());
        }
        self.rib.release(id);
    }

    /// Whether the peer is to be told of a path, and what its attributes then depend on.
    pub(super) fn exported(&self, prefix: IpNet, source: &PathSource, target: &ExportPeer<'_>) -> Option<AttributeKey> {
        let changes = policy::export(&self.config.policy, &self.export_route(prefix, source), target)?;
        Some(AttributeKey::of(source, changes))
    }

    /// The attributes that a path is told with.
    pub(super) fn exported_attributes(
        &self,
        source: &PathSource,
        key: &AttributeKey,
        target: &ExportPeer<'_>,
    ) -> Attributes {
        policy::exported_attributes(&self.config, source, self.source_peer(source), key.changes(), target)
    }
}

/// Appends the UPDATEs that withdraw all of these; how many.
pub(super) fn encode_withdrawals(withdrawn: &[Nlri], context: &Context, out: &mut BytesMut) -> u64 {
    let mut messages = 0;
    let mut rest = withdrawn;
    while !rest.is_empty() {
        // At least one is taken, or none fits ever.
        let taken = wire::encode_withdrawal(rest, context, out).max(1);
        messages += 1;
        rest = &rest[taken.min(rest.len())..];
    }
    messages
}
