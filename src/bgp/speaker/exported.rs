//! What a peer has been told, as values: BIRD's `show route export`.

use std::time::Instant;

use super::Speaker;
use super::show::attributes_view;
use crate::bgp::event::PeerId;
use crate::bgp::policy::{self, ExportPeer};
use crate::bgp::rib::{Entry, EntryId, Path};
use crate::bgp::view::PathView;

impl Speaker {
    /// Every route of the Adj-RIB-Out of peer `id`, by prefix, with the attributes that it was told with. Empty for a peer that is not
    /// Established.
    pub fn exported_to(&self, now: Instant, id: PeerId) -> Vec<PathView> {
        let Some(peer) = self.peers.get(id.0 as usize) else { return Vec::new() };
        let local = peer.session().and_then(|session| session.local).or(peer.config().local);
        let Some(local) = local else { return Vec::new() };
        let target = &ExportPeer { id, config: peer.config(), local };
        let told = self.rib.iter().filter(|(entry, _)| peer.adj_rib_out.has_sent(*entry));
        let mut views: Vec<PathView> = told
            .flat_map(|(id, entry)| {
                let all_paths = peer.adj_rib_out.all_paths;
                let sent = if all_paths { peer.adj_rib_out.sent_paths(id) } else { Vec::new() };
                let paths = entry.paths.iter().filter(move |path| sent.contains(&path.id));
                entry
                    .best()
                    .filter(|_| !all_paths)
                    .into_iter()
                    .chain(paths)
                    .filter_map(move |path| self.exported_view(now, (id, entry), path, target))
            })
            .collect();
        // Paths of one prefix stay in their order, the best first.
        views.sort_by_key(|view| view.prefix);
        views
    }

    fn exported_view(
        &self,
        now: Instant,
        (id, entry): (EntryId, &Entry),
        path: &Path,
        target: &ExportPeer<'_>,
    ) -> Option<PathView> {
        let route = self.export_route(self.rib.prefix(id), &path.source);
        let changes = policy::export(&self.config.policy, &route, target)?;
        let attributes = policy::exported_attributes(&self.config, &path.source, route.from, &changes, target);
        let metric = self.next_hops.resolution(&path.source).and_then(|found| found.igp_metric);
        Some(PathView { bgp: Some(attributes_view(&attributes, metric)), ..self.path_view(now, id, entry, path) })
    }
}
