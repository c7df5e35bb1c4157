//! Which planned sessions stand: the ends matched with each other, and brought up as far as packets get between them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::Plan;
use super::expect::{Faults, kernels};
use super::graph::{NoPath, Wiring};
use crate::bgp::solve::{End, Held, Session, Site, Solution, Unstable, solve};
use crate::bgp::{KernelSnapshot, PeerConfig, PeerId};
use crate::net::NetnsName;

/// Why a planned session cannot come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// No speaker has the peer's address: nobody has it, or who has it speaks no BGP.
    NoSpeaker,
    /// The speaker at the other end, an index into `Plan::speakers`, has no session back to our address.
    OneSided(usize),
    /// The speaker at the other end is of another AS than is expected of it, or expects another one of us.
    WrongAs(usize),
    /// The speaker at the other end has another password, or none, or a password where we have none.
    WrongPassword(usize),
    /// With this many routers in between, packets arrive at one of these two speakers with a lower TTL than it takes (RFC 5082).
    TtlSecurity([usize; 2], u8),
    /// Both ends wait for the other one to dial.
    BothPassive(usize),
    /// Packets do not get from one of these two speakers, indices into `Plan::speakers`, to the other.
    NoPath([usize; 2], NoPath),
}

/// Every end of a planned session, in the plan's order.
pub(super) fn ends(plan: &Plan) -> impl Iterator<Item = End> {
    plan.speakers.iter().enumerate().flat_map(|(site, speaker)| {
        (0..speaker.config.peers.len()).map(move |peer| End { site, peer: PeerId(peer as u32) })
    })
}

/// What is to be said of one end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Awaited,
    /// Disabled at one end: closed by a NOTIFICATION, so that both ends know at once. Or not to come up at all.
    Disabled,
    /// It cannot stand.
    Cut(SessionFault),
}

/// The sessions that stand once nothing more comes up, and the speakers' tables.
pub(super) struct Up<'a> {
    pub(super) standings: BTreeMap<End, Standing>,
    sessions: Vec<Session>,
    pub(super) solution: Solution<'a>,
}

/// The plan with the faults, and the indices that all questions need.
pub(super) struct Sessions<'a> {
    plan: &'a Plan,
    faults: &'a Faults,
    /// Per speaker, its namespace's index.
    places: Vec<Option<usize>>,
    /// Speakers by their addresses.
    speakers: HashMap<IpAddr, usize>,
    /// A speaker's sessions with an address, in the plan's order.
    peers: HashMap<(usize, IpAddr), Vec<PeerId>>,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(plan: &'a Plan, faults: &'a Faults) -> Self {
        let by_netns: BTreeMap<&NetnsName, usize> =
            plan.namespaces.iter().enumerate().map(|(index, netns)| (&netns.netns, index)).collect();
        let places: Vec<_> = plan.speakers.iter().map(|speaker| by_netns.get(&speaker.netns).copied()).collect();
        let mut speakers = HashMap::new();
        for (index, place) in places.iter().enumerate() {
            let links = place.iter().flat_map(|&place| &plan.namespaces[place].links);
            speakers.extend(links.flat_map(|link| &link.addresses).map(|address| (address.addr(), index)));
        }
        let mut peers: HashMap<_, Vec<PeerId>> = HashMap::new();
        for End { site, peer } in ends(plan) {
            peers.entry((site, plan.speakers[site].config.peers[peer.0 as usize].remote)).or_default().push(peer);
        }
        Self { plan, faults, places, speakers, peers }
    }

    /// Per speaker, its namespace's index.
    pub(super) fn places(&self) -> &[Option<usize>] {
        &self.places
    }

    /// Brings sessions up until no more can come: one may need the routes that others carry.
    pub(super) fn bring_up<'s>(&self, sites: &[Site<'s>]) -> Result<Up<'s>, Unstable> {
        let mut wiring = Wiring::new(&self.plan.namespaces, self.faults);
        let mut standings = BTreeMap::new();
        let (mut waiting, mut unwanted): (Vec<Session>, Vec<Session>) = (Vec::new(), Vec::new());
        for end in ends(self.plan) {
            if standings.contains_key(&end) {
                continue;
            }
            match self.far_end(end) {
                Err(fault) => drop(standings.insert(end, Standing::Cut(fault))),
                Ok(far) if self.is_disabled(end) || self.is_disabled(far) => {
                    standings.extend([end, far].map(|end| (end, Standing::Disabled)));
                }
                Ok(far) => {
                    let session = Session { ends: [end, far], addresses: [self.local(end), self.local(far)] };
                    let is_wanted = !self.config(end).expected_down && !self.config(far).expected_down;
                    let standing = if is_wanted { Standing::Awaited } else { Standing::Disabled };
                    standings.extend(session.ends.map(|end| (end, standing.clone())));
                    if is_wanted { &mut waiting } else { &mut unwanted }.push(session);
                }
            }
        }
        let mut up: Vec<Session> = Vec::new();
        loop {
            let before = up.len();
            waiting.retain(|session| {
                let standing = self.standing(&wiring, session);
                if standing == Standing::Awaited {
                    up.push(*session);
                }
                let waits = standing != Standing::Awaited;
                standings.extend(session.ends.map(|end| (end, standing.clone())));
                waits
            });
            let solution = solve(sites, &up, &[])?;
            if waiting.is_empty() || up.len() == before {
                // What is not to come up has its reason all the same.
                for session in &unwanted {
                    let standing = self.standing(&wiring, session);
                    if standing != Standing::Awaited {
                        standings.extend(session.ends.map(|end| (end, standing.clone())));
                    }
                }
                return Ok(Up { standings, sessions: up, solution });
            }
            wiring = Wiring::new(&self.plan.namespaces, self.faults);
            for (index, place) in self.places.iter().enumerate() {
                if let Some(place) = *place {
                    let speaker = &self.plan.speakers[index];
                    wiring.learn(place, solution.routes(index).filter_map(|route| speaker.in_kernel(route)));
                }
            }
        }
    }

    /// The tables as they are while nobody has noticed which sessions the faults have cut; `None` where they cut none.
    pub(super) fn lingering<'s>(&self, up: &Up<'s>, sites: &[Site<'s>]) -> Option<Solution<'s>> {
        let is_cut = |standing: &Standing| matches!(standing, Standing::Cut(_));
        if !up.standings.values().any(is_cut) {
            return None;
        }
        let none = Faults::default();
        let whole = kernels(self.plan, &none);
        let before = Sessions::new(self.plan, &none).bring_up(&self::sites(self.plan, &whole)).ok()?;
        let cut = up.standings.iter().filter(|(_, standing)| is_cut(standing));
        let held: Vec<Held> = cut.filter_map(|(end, _)| before.solution.received(*end)).collect();
        solve(sites, &up.sessions, &held).ok()
    }

    fn local(&self, end: End) -> IpAddr {
        self.config(end).local.unwrap_or_else(|| self.plan.speakers[end.site].config.router_id.0.into())
    }

    /// The session of the speaker that `end` peers with which leads back to `end`.
    fn far_end(&self, end: End) -> Result<End, SessionFault> {
        let (local, peer) = (self.local(end), self.config(end));
        let site = *self.speakers.get(&peer.remote).ok_or(SessionFault::NoSpeaker)?;
        // Two sessions may join the same two addresses (calico-behaviour 7.3): the first one with the first one.
        let between = |site: usize, remote: IpAddr| self.peers.get(&(site, remote)).map_or(&[][..], Vec::as_slice);
        let position = between(end.site, peer.remote).iter().position(|mine| *mine == end.peer).unwrap_or(0);
        let backs = between(site, local).iter().map(|&peer| End { site, peer });
        let backs: Vec<End> = backs.filter(|back| self.local(*back) == peer.remote).collect();
        let back = *backs.get(position).or(backs.first()).ok_or(SessionFault::OneSided(site))?;
        let theirs = self.config(back);
        if peer.remote_as != theirs.local_as || theirs.remote_as != peer.local_as {
            return Err(SessionFault::WrongAs(site));
        }
        if peer.password != theirs.password {
            return Err(SessionFault::WrongPassword(site));
        }
        match peer.passive && theirs.passive {
            true => Err(SessionFault::BothPassive(site)),
            false => Ok(back),
        }
    }

    fn config(&self, end: End) -> &'a PeerConfig {
        &self.plan.speakers[end.site].config.peers[end.peer.0 as usize]
    }

    fn is_disabled(&self, end: End) -> bool {
        self.faults.is_disabled(&self.plan.speakers[end.site].name, &self.config(end).name)
    }

    fn standing(&self, wiring: &Wiring<'_>, session: &Session) -> Standing {
        let [near, far] = session.ends.map(|end| self.places[end.site]);
        let (Some(near), Some(far)) = (near, far) else { return Standing::Cut(SessionFault::NoSpeaker) };
        let [IpAddr::V4(local), IpAddr::V4(remote)] = session.addresses else {
            return Standing::Cut(SessionFault::NoSpeaker);
        };
        let [here, there] = session.ends.map(|end| self.config(end).ttl_security);
        let sites = session.ends.map(|end| end.site);
        match wiring.session_path(near, local, far, remote) {
            Ok(routers) if !ttl_suffices(there, here, routers[0]) || !ttl_suffices(here, there, routers[1]) => {
                Standing::Cut(SessionFault::TtlSecurity(sites, routers[0].max(routers[1])))
            }
            Ok(_) => Standing::Awaited,
            Err(reason) => Standing::Cut(SessionFault::NoPath(session.ends.map(|end| end.site), reason)),
        }
    }
}

/// Whether packets of a sender with `from`'s GTSM setting get past so many routers to a receiver with `to`'s.
fn ttl_suffices(to: Option<u8>, from: Option<u8>, routers: u8) -> bool {
    /// What goes out without GTSM (calico-behaviour 7.1).
    const MULTIHOP: u8 = 64;
    let sent = if from.is_some() { u8::MAX } else { MULTIHOP };
    to.is_none_or(|hops| sent.saturating_sub(routers) >= u8::MAX - hops.saturating_sub(1))
}

/// The speakers with what they find in their namespaces.
pub(super) fn sites<'a>(plan: &'a Plan, kernels: &'a [KernelSnapshot]) -> Vec<Site<'a>> {
    let speakers = plan.speakers.iter().zip(kernels);
    speakers.map(|(speaker, kernel)| Site { config: &speaker.config, kernel }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::expect::{Faults, expectation};
    use super::super::{Difference, build, verify};
    use super::*;
    use crate::topology::{self, Diagnostic};

    /// A node below either ToR; the ToRs are joined by a link.
    const RACKS: &str = "[[node]]\nname = \"n1\"\naddress = \"10.0.1.11/24\"\n[[node]]\nname = \"n2\"\naddress = \"10.0.2.11/24\"\n\
        [[pod]]\nname = \"p1\"\nnode = \"n1\"\nip = \"10.244.1.1\"\n[[pod]]\nname = \"p2\"\nnode = \"n2\"\nip = \"10.244.2.1\"\n\
        [[router]]\nname = \"tor1\"\naddresses = [\"10.0.1.1/24\", \"10.0.12.1/30\"]\nasNumber = 65001\n\
        networks = [\"10.0.1.0/24\"]\npeers = [{ nodes = \"all()\" }, { ip = \"10.0.12.2\", asNumber = 65002 }]\n\
        [[router]]\nname = \"tor2\"\naddresses = [\"10.0.2.1/24\", \"10.0.12.2/30\"]\nasNumber = 65002\n\
        networks = [\"10.0.2.0/24\"]\npeers = [{ nodes = \"all()\" }, { ip = \"10.0.12.1\", asNumber = 65001 }]\n\
        [[BGPPeer]]\nname = \"a\"\nnode = \"n1\"\npeerIP = \"10.0.1.1\"\nasNumber = 65001\nnumAllowedLocalASNumbers = 1\n\
        [[BGPPeer]]\nname = \"b\"\nnode = \"n2\"\npeerIP = \"10.0.2.1\"\nasNumber = 65002\nnumAllowedLocalASNumbers = 1\n";

    const NO_MESH: &str = "[BGPConfiguration]\nnodeToNodeMeshEnabled = false\n";

    /// Each ToR peers with its own rack only.
    fn racks() -> String {
        RACKS.replacen("nodes = \"all()\"", "ip = \"10.0.1.11\", asNumber = 64512", 1).replacen(
            "nodes = \"all()\"",
            "ip = \"10.0.2.11\", asNumber = 64512",
            1,
        )
    }

    fn planned(text: &str) -> Result<Plan, Vec<Diagnostic>> {
        build(&topology::parse(text, "lab").unwrap_or_else(|faults| panic!("{faults:#?}")))
    }

    fn bird(plan: &Plan, name: &str) -> Vec<String> {
        let table = &plan.namespace(name).unwrap().table;
        table.iter().map(ToString::to_string).filter(|route| route.contains("proto bird")).collect()
    }

    #[test]
    fn with_the_tors_taking_part_plain_bgp_crosses_subnets() {
        let plan = planned(&(racks() + NO_MESH)).unwrap();
        assert_eq!(
            bird(&plan, "n1"),
            [
                "10.0.2.0/24 via 10.0.1.1 dev eth0 proto bird",
                "blackhole 10.244.1.0/26 proto bird",
                "10.244.2.0/26 via 10.0.1.1 dev eth0 proto bird",
            ]
        );
        assert_eq!(
            bird(&plan, "tor1"),
            [
                "10.0.2.0/24 via 10.0.12.2 dev eth1 proto bird",
                "10.244.1.0/26 via 10.0.1.11 dev eth0 proto bird",
                "10.244.2.0/26 via 10.0.12.2 dev eth1 proto bird",
            ]
        );
    }

    #[test]
    fn the_mesh_beside_it_comes_up_over_the_tors_and_leads_them_round() {
        let plan = planned(&racks()).unwrap();
        assert_eq!(expectation(&plan, &Faults::default()).sessions.iter().filter(|session| session.awaited).count(), 8);
        let loops = "10.244.2.0/26 via 10.0.1.11 dev eth0 proto bird".to_owned();
        assert!(bird(&plan, "tor1").contains(&loops), "{:?}", bird(&plan, "tor1"));
        assert_eq!(bird(&plan, "n1")[2], "10.244.2.0/26 via 10.0.1.1 dev eth0 proto bird");
    }

    #[test]
    fn a_mesh_of_several_as_numbers_is_ebgp_and_passes_on_everything() {
        let node = |name: &str, host: u8, asn: u32| {
            format!("[[node]]\nname = \"{name}\"\naddress = \"10.0.0.{host}/24\"\nasNumber = {asn}\n")
        };
        let text =
            node("a", 11, 64512) + &node("b", 12, 64513) + "[[pod]]\nname = \"p\"\nnode = \"b\"\nip = \"10.244.2.1\"\n";
        assert_eq!(bird(&planned(&text).unwrap(), "a"), ["10.244.2.0/26 via 10.0.0.12 dev eth0 proto bird"]);
    }

    #[test]
    fn a_cut_link_leaves_what_its_ends_have_not_noticed() {
        let plan = planned(&(racks() + NO_MESH)).unwrap();
        let down = Faults { links_down: [("tor1".to_owned(), crate::net::IfName::eth(1))].into(), ..Faults::default() };
        let expected = expectation(&plan, &down);
        let tables = |name: &str| {
            let index = plan.namespaces.iter().position(|netns| netns.name == name).unwrap();
            let (table, before) = (&expected.tables[index], &plan.namespaces[index].table);
            let text = |routes: &[crate::net::Route]| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
            let Difference { missing, extra } = verify(before, &table.routes);
            (text(&missing), text(&extra), text(&table.lingering))
        };
        let far = ["10.0.2.0/24 via 10.0.1.1 dev eth0 proto bird", "10.244.2.0/26 via 10.0.1.1 dev eth0 proto bird"];
        let far = far.map(str::to_owned).to_vec();
        assert_eq!(tables("n1"), (far, vec![], vec![]), "tor1's own next hop is gone: it withdraws at once");
        let own = [
            "10.0.1.0/24 via 10.0.12.1 dev eth1 proto bird".to_owned(),
            "10.244.1.0/26 via 10.0.12.1 dev eth1 proto bird".to_owned(),
        ];
        assert_eq!(tables("tor2"), (own.to_vec(), vec![], own.to_vec()), "tor2 has not noticed");
    }

    #[test]
    fn a_daemon_of_the_host_has_the_same_routes_in_its_own_form_or_none() {
        let table = |speaker: &str| -> Vec<String> {
            let tor = format!("asNumber = 65001\nspeaker = \"{speaker}\"\n");
            let text = racks().replacen("asNumber = 65001\n", &tor, 1).replacen(
                "networks = [",
                "networks = [\"10.9.0.0/24\", ",
                1,
            );
            let plan = planned(&(text + NO_MESH)).unwrap();
            let table = &plan.namespace("tor1").unwrap().table;
            table.iter().map(ToString::to_string).filter(|route| !route.contains("proto kernel")).collect()
        };
        let via = |form: &str| {
            vec![
                format!("10.0.2.0/24 via 10.0.12.2 dev eth1 {form}"),
                format!("10.244.1.0/26 via 10.0.1.11 dev eth0 {form}"),
                format!("10.244.2.0/26 via 10.0.12.2 dev eth1 {form}"),
            ]
        };
        let with = |blackhole: &str, form: &str| {
            let mut routes = via(form);
            routes.insert(1, blackhole.to_owned());
            routes
        };
        assert_eq!(table("bird"), with("blackhole 10.9.0.0/24 proto bird", "proto bird"));
        assert_eq!(table("frr"), with("blackhole 10.9.0.0/24", "proto bgp metric 20"));
        assert_eq!(table("gobgp"), ["blackhole 10.9.0.0/24"]);
    }

    #[test]
    fn what_a_daemon_cannot_do_is_refused_where_the_file_names_it() {
        let text = "[[node]]\nname = \"n\"\naddress = \"10.0.0.11/24\"\nspeaker = \"frr\"\n";
        let faults = planned(text).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["speaker-unable"]);
        assert_eq!(faults[0].message, "FRR cannot play the part of `n`: only BIRD exports what a node exports");
        let ipip = text.replace("frr", "bird") + "[[IPPool]]\ncidr = \"10.244.0.0/16\"\nipipMode = \"Always\"\n";
        assert_eq!(planned(&ipip).unwrap_err()[0].code, "speaker-unable");
    }

    #[test]
    fn a_session_that_can_never_come_up_is_refused_with_the_reason() {
        let faults = |text: &str| -> Vec<String> {
            let faults = planned(text).unwrap_err();
            faults.into_iter().map(|fault| format!("{}: {}: {}", fault.code, fault.message, fault.help)).collect()
        };
        let mute = racks().replacen("ip = \"10.0.1.11\", asNumber = 64512", "nodes = \"none == ''\"", 1) + NO_MESH;
        assert_eq!(
            faults(&mute),
            [
                "one-sided-session: `n1` peers with `tor1` (10.0.1.1), and `tor1` not with 10.0.1.11: write `peers = [{ ip = \
              \"10.0.1.11\", asNumber = 64512 }]` for `tor1`"
            ]
        );
        let wrong = racks().replacen("ip = \"10.0.12.2\", asNumber = 65002", "ip = \"10.0.12.2\", asNumber = 65009", 1);
        assert_eq!(
            faults(&(wrong + NO_MESH)),
            [
                "wrong-as: `tor1` expects AS 65009 of `tor2` (10.0.12.2), which has AS 65002: write `asNumber = 65002` where \
              `tor1` names it"
            ]
        );
        let silent = "[[node]]\nname = \"n\"\naddress = \"10.0.0.11/24\"\n[[router]]\nname = \"r\"\naddresses = [\"10.0.0.1/24\"]\n\
                      [[BGPPeer]]\nname = \"p\"\npeerIP = \"10.0.0.1\"\nasNumber = 65001\n";
        assert_eq!(
            faults(silent),
            [
                "no-speaker: `n` peers with 10.0.0.1 (Global_10_0_0_1), and `r` speaks no BGP there: give `r` an `asNumber` and \
              `peers`, or a node's first address as the peer's"
            ]
        );
        let far = faults(RACKS);
        assert_eq!(far.len(), 2, "{far:#?}");
        assert!(
            far[0].starts_with("one-sided-session: `tor1` peers with `n2` (10.0.2.11), and `n2` not with 10.0.1.1")
        );
    }
}
