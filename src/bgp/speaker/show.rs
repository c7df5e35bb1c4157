//! The speaker as plain values, for people and for the convergence check.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Speaker;
use crate::bgp::event::PeerId;
use crate::bgp::peer::Peer;
use crate::bgp::rib::{Entry, EntryId, Path, PathSource};
use crate::bgp::timers::Timer;
use crate::bgp::view::{BgpAttributesView, PathView, RouteSource, SessionView, SpeakerView, State};
use crate::bgp::wire::{Attributes, Origin};
use crate::net::RouteKind;

/// How far one session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// Which one.
    pub peer: PeerId,
    /// Its state.
    pub state: State,
    /// An administrator disabled it.
    pub disabled: bool,
    /// It announced graceful restart, so that its End-of-RIB is awaited.
    pub end_of_rib_awaited: bool,
    /// Its End-of-RIB came.
    pub end_of_rib_received: bool,
    /// Prefixes and markers (End-of-RIB) not encoded for it yet; not 0 while the speaker recovers from a restart.
    pub pending: usize,
}

impl PeerProgress {
    /// Established, its table received, and all sent that it is to have.
    pub fn is_converged(&self) -> bool {
        self.state == State::Established && (self.end_of_rib_received || !self.end_of_rib_awaited) && self.pending == 0
    }
}

impl Speaker {
    /// Every session's progress, in configuration order; costs O(peers).
    pub fn progress(&self) -> impl Iterator<Item = PeerProgress> + '_ {
        self.peers.iter().map(|peer| PeerProgress {
            peer: peer.id,
            state: peer.state(),
            disabled: peer.is_disabled(),
            end_of_rib_awaited: peer.awaits_end_of_rib(),
            end_of_rib_received: peer.end_of_rib_received,
            pending: peer.adj_rib_out.queued()
                + usize::from(peer.adj_rib_out.end_of_rib_due)
                + usize::from(self.is_recovering()),
        })
    }

    /// Itself and its sessions at `now`.
    pub fn view(&self, now: Instant) -> SpeakerView {
        SpeakerView {
            name: self.config.name.clone(),
            local_as: self.config.local_as,
            router_id: self.config.router_id,
            uptime_ms: self.started.map_or(0, |started| now.saturating_duration_since(started).as_millis() as u64),
            sessions: self.peers.iter().map(|peer| session_view(now, peer)).collect(),
        }
    }

    /// The paths of `prefix`, or of every prefix: sorted by prefix, the best first and then by preference.
    pub fn paths(&self, now: Instant, prefix: Option<IpNet>) -> Vec<PathView> {
        let mut entries: Vec<(EntryId, &Entry)> = match prefix {
            Some(prefix) => self.rib.id(&prefix).and_then(|id| Some((id, self.rib.get(id)?))).into_iter().collect(),
            None => self.rib.iter().collect(),
        };
        entries.sort_unstable_by_key(|(id, _)| self.rib.prefix(*id));
        let mut views = Vec::new();
        for (id, entry) in entries {
            let mut paths: Vec<&Path> = entry.paths.iter().collect();
            paths.sort_by_key(|path| (path.lost.is_some(), std::cmp::Reverse(path.lost)));
            views.extend(paths.into_iter().map(|path| self.path_view(now, id, entry, path)));
        }
        views
    }

    pub(super) fn path_view(&self, now: Instant, id: EntryId, entry: &Entry, path: &Path) -> PathView {
        let best = path.lost.is_none();
        let mut view = PathView {
            prefix: self.rib.prefix(id),
            source: RouteSource::Static,
            protocol: "static1".to_owned(),
            preference: path.source.preference(),
            best,
            kernel_failed: best && entry.kernel_failed,
            lost: path.lost.map(|clause| clause.to_string()),
            blackhole: false,
            gateway: None,
            dev: None,
            since_ms: millis(self.rib.age(now, path)),
            from: None,
            bgp: None,
        };
        match &path.source {
            PathSource::Static(None) => view.blackhole = true,
            PathSource::Static(Some(_)) => {
                let resolution = self.next_hops.resolution(&path.source);
                view.gateway = resolution.map(|resolution| resolution.gateway);
                view.dev = resolution.map(|resolution| resolution.dev.clone());
            }
            PathSource::Direct(dev) => {
                view.source = RouteSource::Direct;
                view.protocol = "direct1".to_owned();
                view.dev = Some((**dev).clone());
            }
            PathSource::Kernel(route) => {
                view.source = RouteSource::Kernel;
                view.protocol = "kernel1".to_owned();
                view.blackhole = route.kind == RouteKind::Blackhole;
                view.gateway = route.via;
                view.dev = route.dev.clone();
            }
            PathSource::Bgp(peer, attributes) => {
                let config = self.peers[peer.0 as usize].config();
                let resolution = self.next_hops.resolution(&path.source);
                view.source = RouteSource::Bgp;
                view.protocol = config.name.clone();
                view.gateway = resolution.map(|resolution| resolution.gateway);
                view.dev = resolution.map(|resolution| resolution.dev.clone());
                view.from = Some(config.remote);
                view.bgp = Some(attributes_view(attributes, resolution.and_then(|found| found.igp_metric)));
            }
        }
        view
    }
}

fn session_view(now: Instant, peer: &Peer) -> SessionView {
    let session = peer.session();
    let remote = session.and_then(|session| session.remote);
    let left = |timer: Timer, total: Duration| {
        let deadline = session.and_then(|session| session.timers.deadline(timer))?;
        Some((millis(total), millis(deadline.saturating_duration_since(now))))
    };
    let local: Option<IpAddr> = session.and_then(|session| session.local).or(peer.config().local);
    SessionView {
        name: peer.config().name.clone(),
        remote: peer.config().remote,
        local,
        remote_as: peer.identity.remote_as,
        local_as: peer.identity.local_as,
        remote_id: remote.map(|remote| remote.identifier),
        state: peer.state(),
        passive: peer.config().passive,
        disabled: peer.is_disabled(),
        since_ms: peer.since().map_or(0, |since| millis(now.saturating_duration_since(since))),
        hold: remote.and_then(|remote| left(Timer::Hold, remote.hold_time)),
        keepalive: session
            .and_then(|session| session.keepalive_interval())
            .and_then(|interval| left(Timer::Keepalive, interval)),
        last_error: peer.last_error.clone(),
        capabilities: session.map(|session| session.common_capabilities(peer.identity.family)).unwrap_or_default(),
        end_of_rib_awaited: peer.awaits_end_of_rib(),
        end_of_rib_received: peer.end_of_rib_received,
        stale_ms: peer.stale_until().map(|until| millis(until.saturating_duration_since(now))),
        pending: peer.adj_rib_out.queued() + usize::from(peer.adj_rib_out.end_of_rib_due),
        imported: peer.adj_rib_in.len(),
        exported: peer.adj_rib_out.len(),
        preferred: peer.preferred,
        messages: peer.counts,
    }
}

pub(super) fn attributes_view(attributes: &Attributes, igp_metric: Option<u32>) -> BgpAttributesView {
    let plain = attributes.communities.iter().map(|c| format!("{}:{}", c >> 16, c & 0xffff));
    let large = attributes.large_communities.iter().map(|(a, b, c)| format!("{a}:{b}:{c}"));
    BgpAttributesView {
        origin: match attributes.origin {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "Incomplete",
        }
        .to_owned(),
        as_path: attributes.as_path.to_string(),
        next_hop: attributes.next_hop,
        med: attributes.med,
        local_pref: attributes.local_pref,
        igp_metric,
        communities: plain.chain(large).collect(),
        originator_id: attributes.originator_id,
        cluster_list: attributes.cluster_list.clone(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
