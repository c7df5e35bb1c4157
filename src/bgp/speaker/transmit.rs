//! What a connection has to send, encoded when it can be sent.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use hashbrown::HashMap;
use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::Speaker;
use crate::bgp::event::ConnectionId;
use crate::bgp::policy::{self, AttributeKey, ExportPeer};
use crate::bgp::rib::{EntryId, PathId, PathSource, Said};
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
        let mut plan = Plan::default();
        for &id in batch {
            match context.add_path_send_v4 {
                true => self.plan_all_paths(id, target, &mut plan),
                false => self.plan_selected(id, target, &mut plan),
            }
        }
        let Plan { mut withdrawn, groups, .. } = plan;
        let mut announcements = BytesMut::new();
        let mut messages = 0;
        for Group { attributes, said, paths, nlri } in groups {
            let mut done = 0;
            while done < nlri.len() {
                match wire::encode_announcement(&attributes, &nlri[done..], context, &mut announcements) {
                    Ok(taken) if taken > 0 => {
                        messages += 1;
                        for &(id, path) in &paths[done..done + taken] {
                            self.peers[target.id.0 as usize].adj_rib_out.announce(id, path, &said);
                        }
                        done += taken;
                    }
                    // Attributes that fit into no message: such a route cannot be passed on, and what the peer has of it is out of date
                    // (RFC 8654 §4 for long ones).
                    Ok(_) | Err(_) => {
                        for (&(id, path), nlri) in paths.iter().zip(&nlri).skip(done) {
                            if self.peers[target.id.0 as usize].adj_rib_out.withdraw(id, path) {
                                withdrawn.push(*nlri);
                            }
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
        for &id in batch {
            if !self.peers[target.id.0 as usize].adj_rib_out.has_sent(id) {
                self.rib.release(id);
            }
        }
    }

    /// The selected path, for a peer that gets no other.
    fn plan_selected(&mut self, id: EntryId, target: &ExportPeer<'_>, plan: &mut Plan) {
        const ONLY: PathId = PathId(0);
        let Some(entry) = self.rib.get(id) else { return };
        let nlri = Nlri::from(entry.prefix);
        match entry.selected.as_ref().and_then(|source| Some((source, self.exported(entry.prefix, source, target)?))) {
            Some((source, key)) => {
                let said = Said { key, source: source.clone() };
                plan.announce((id, ONLY), nlri, said, |said| self.exported_attributes(said, target));
            }
            None if self.peers[target.id.0 as usize].adj_rib_out.withdraw(id, ONLY) => plan.withdrawn.push(nlri),
            None => {}
        }
    }

    /// Every path that has a way to its next hop and that policy passes, the best first (RFC 7911, BIRD's `add paths tx`).
    fn plan_all_paths(&mut self, id: EntryId, target: &ExportPeer<'_>, plan: &mut Plan) {
        let Some(entry) = self.rib.get(id) else { return };
        // 0 says to some that there is no identifier.
        let nlri = |path: PathId| Nlri { prefix: entry.prefix, path_id: Some(u32::from(path.0) + 1) };
        let mut gone = self.peers[target.id.0 as usize].adj_rib_out.sent_paths(id);
        for path in entry.paths.iter().filter(|path| self.next_hops.is_usable(&path.source)) {
            if let Some(key) = self.exported(entry.prefix, &path.source, target) {
                gone.retain(|sent| *sent != path.id);
                if !self.peers[target.id.0 as usize].adj_rib_out.has_said(id, path.id, &key) {
                    let said = Said { key, source: path.source.clone() };
                    plan.announce((id, path.id), nlri(path.id), said, |said| self.exported_attributes(said, target));
                }
            }
        }
        for path in gone {
            self.peers[target.id.0 as usize].adj_rib_out.withdraw(id, path);
            plan.withdrawn.push(nlri(path));
        }
    }

    /// Whether the peer is to be told of a path, and what its attributes then depend on.
    fn exported(&self, prefix: IpNet, source: &PathSource, target: &ExportPeer<'_>) -> Option<AttributeKey> {
        let changes = policy::export(&self.config.policy, &self.export_route(prefix, source), target)?;
        Some(AttributeKey::of(source, changes))
    }

    fn exported_attributes(&self, said: &Said, target: &ExportPeer<'_>) -> Attributes {
        let from = self.source_peer(&said.source);
        policy::exported_attributes(&self.config, &said.source, from, said.key.changes(), target)
    }
}

/// What one round of UPDATEs says.
#[derive(Default)]
struct Plan {
    withdrawn: Vec<Nlri>,
    groups: Vec<Group>,
    group_of: HashMap<AttributeKey, usize, FxBuildHasher>,
}

impl Plan {
    fn announce(
        &mut self,
        path: (EntryId, PathId),
        nlri: Nlri,
        said: Said,
        attributes: impl FnOnce(&Said) -> Attributes,
    ) {
        let index = *self.group_of.entry_ref(&said.key).or_insert(self.groups.len());
        if index == self.groups.len() {
            let attributes = attributes(&said);
            self.groups.push(Group { attributes, said, paths: Vec::new(), nlri: Vec::new() });
        }
        self.groups[index].paths.push(path);
        self.groups[index].nlri.push(nlri);
    }
}

/// Prefixes that go out with the same attributes.
struct Group {
    attributes: Attributes,
    said: Said,
    paths: Vec<(EntryId, PathId)>,
    nlri: Vec<Nlri>,
}
