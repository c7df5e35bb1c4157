//! Which lab, and where in it, a verb means.

use std::net::Ipv4Addr;

use super::failure::Failure;
use crate::control::{Client, LabState, StateDir, labs};
use crate::fabric::netns::Netns;
use crate::net::{IfName, LabName};
use crate::plan::{NetnsPlan, Plan};
use crate::topology::Topology;

/// A running lab as its state directory tells it.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) state: StateDir,
    pub(crate) topology: Topology,
    pub(crate) plan: Plan,
}

impl Selected {
    /// Opens `lab`.
    pub(crate) fn open(lab: &LabName) -> Result<Self, Failure> {
        let state = StateDir::of(lab);
        match state.plan() {
            Ok((topology, plan)) => Ok(Self { state, topology, plan }),
            Err(error) if state.state() == Some(LabState::Up) => Err(error.into()),
            Err(_) => Err(broken(lab)),
        }
    }

    /// The lab that `--lab` names, or the only one.
    pub(crate) fn only(lab: Option<&LabName>) -> Result<Self, Failure> {
        let name = match lab {
            Some(name) => existing(name)?,
            None => match labs().as_slice() {
                [] => return Err(none()),
                [(name, _)] => name.clone(),
                several => return Err(ambiguous("several labs exist", several.iter().map(|(name, _)| name))),
            },
        };
        Self::open(&name)
    }

    /// The lab that has `place`: the one that `--lab` names, or the only one that has it.
    pub(crate) fn with(lab: Option<&LabName>, place: &str) -> Result<Self, Failure> {
        if let Some(name) = lab {
            let selected = Self::open(&existing(name)?)?;
            selected.place(place)?;
            return Ok(selected);
        }
        let names: Vec<LabName> = labs().into_iter().map(|(name, _)| name).collect();
        match names.as_slice() {
            [] => Err(none()),
            // What is wrong with the only one is worth more than that no lab has it.
            [only] => {
                let selected = Self::open(only)?;
                selected.place(place)?;
                Ok(selected)
            }
            several => Self::among(several.iter().filter_map(|name| Self::open(name).ok()).collect(), place),
        }
    }

    /// The one of several labs that has `place`.
    fn among(labs: Vec<Self>, place: &str) -> Result<Self, Failure> {
        let (mut having, others): (Vec<Self>, Vec<Self>) =
            labs.into_iter().partition(|selected| selected.place(place).is_ok());
        match (having.pop(), having.as_slice()) {
            (Some(only), []) => Ok(only),
            (Some(last), several) => Err(ambiguous(
                &format!("`{place}` is in several labs"),
                several.iter().chain([&last]).map(|selected| selected.state.lab()),
            )),
            (None, _) => {
                let names: Vec<&str> = others.iter().map(|selected| selected.state.lab().as_str()).collect();
                let known =
                    others.iter().flat_map(|other| other.plan.namespaces.iter().map(|netns| netns.name.as_str()));
                let hint = nearest(place, known).map(|name| format!("; is `{name}` meant?")).unwrap_or_default();
                Err(Failure::invalid(format!(
                    "no lab has a node or pod `{place}`: looked in {}{hint}",
                    names.join(", ")
                )))
            }
        }
    }

    /// What the plan says of `place`.
    pub(crate) fn place(&self, place: &str) -> Result<&NetnsPlan, Failure> {
        self.plan.namespaces.iter().find(|netns| netns.name == place).ok_or_else(|| {
            let near = nearest(place, self.plan.namespaces.iter().map(|netns| netns.name.as_str()));
            let hint = near.map(|name| format!("; is `{name}` meant?")).unwrap_or_default();
            Failure::invalid(format!("lab `{}` has no node or pod `{place}`{hint}", self.state.lab()))
        })
    }

    /// The namespace of `place`.
    pub(crate) fn netns(&self, place: &str) -> Result<Netns, Failure> {
        let planned = self.place(place)?;
        Netns::open(&planned.netns).map_err(|error| {
            Failure::environment(format!("open netns {} of lab `{}`: {error}", planned.netns, self.state.lab()))
        })
    }

    /// The name of a node or of a router that speaks BGP, checked.
    pub(crate) fn speaker(&self, place: &str) -> Result<String, Failure> {
        self.place(place)?;
        match self.plan.speakers.iter().any(|speaker| speaker.name == place) {
            true => Ok(place.into()),
            false => {
                Err(Failure::invalid(format!("`{place}` speaks no BGP: nodes do, and routers that have an `asNumber`")))
            }
        }
    }

    /// The address of a node, router or pod by name, or a literal.
    pub(crate) fn address(&self, target: &str) -> Result<Ipv4Addr, Failure> {
        if let Ok(address) = target.parse() {
            return Ok(address);
        }
        if let Some(pod) = self.plan.pods.iter().find(|pod| pod.name == target) {
            return Ok(pod.address);
        }
        if let Some([first, ..]) = self.topology.interfaces(target) {
            return Ok(first.address.addr());
        }
        self.place(target)?;
        Err(Failure::invalid(format!("`{target}` has no address of its own")))
    }

    /// `WHERE:IFACE`, checked against the plan.
    pub(crate) fn interface(&self, text: &str) -> Result<(String, IfName), Failure> {
        let (place, interface) = text.split_once(':').ok_or_else(|| {
            Failure::invalid(format!("`{text}` names no interface: write `WHERE:IFACE`, as `node1:eth0`"))
        })?;
        let planned = self.place(place)?;
        let links = planned.links.iter().map(|link| link.name.as_str());
        let name = IfName::new(interface).ok().filter(|name| {
            matches!(name.as_str(), "lo" | "tunl0") || planned.links.iter().any(|link| link.name == *name)
        });
        name.map(|name| (place.into(), name)).ok_or_else(|| {
            Failure::invalid(format!(
                "`{place}` has no interface `{interface}`: it has {}",
                links.collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// The lab's daemon.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        match self.state.state() {
            Some(LabState::Up) => Ok(Client::new(&self.state)),
            _ => Err(broken(self.state.lab())),
        }
    }
}

/// Fails unless this process is root.
pub(crate) fn require_root() -> Result<(), Failure> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(Failure::not_root()),
    }
}

/// `name`, if such a lab exists.
pub(crate) fn existing(name: &LabName) -> Result<LabName, Failure> {
    let all = labs();
    match all.iter().any(|(lab, _)| lab == name) {
        true => Ok(name.clone()),
        false => Err(Failure::environment(match all.as_slice() {
            [] => format!("no lab `{name}` exists: none does"),
            all => {
                let names = all.iter().map(|(lab, _)| lab.as_str()).collect::<Vec<_>>().join(", ");
                format!("no lab `{name}` exists: there are {names}")
            }
        })),
    }
}

fn broken(lab: &LabName) -> Failure {
    Failure::environment(format!(
        "lab `{lab}` is broken, its daemon is gone: `lab down {lab}` removes what is left of it"
    ))
}

fn none() -> Failure {
    Failure::environment("no lab exists: `lab up FILE` makes one")
}

fn ambiguous<'a>(what: &str, labs: impl Iterator<Item = &'a LabName>) -> Failure {
    let names = labs.map(LabName::as_str).collect::<Vec<_>>().join(", ");
    Failure::invalid(format!("{what}: say which with `--lab`: {names}"))
}

/// The name that `text` was probably meant to be.
fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    crate::topology::spelling::closest(text, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit_code::ExitCode;

    /// A lab of one node with a pod, as if it were up.
    fn lab(name: &str, node: &str) -> Selected {
        let text = format!("[[node]]\nname = \"{node}\"\naddress = \"10.0.0.11/24\"\npods = 1\n");
        let topology = crate::topology::parse(&text, name).unwrap();
        let plan = crate::plan::build(&topology).unwrap();
        Selected { state: StateDir::of(&topology.name), topology, plan }
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!(failure.code, ExitCode::Invalid);
        failure.message().to_owned()
    }

    #[test]
    fn the_lab_that_has_the_place_is_meant() {
        let labs = || vec![lab("hyg", "a"), lab("hyg-2", "b")];
        for (place, name) in [("a", "hyg"), ("b-pod1", "hyg-2")] {
            assert_eq!(Selected::among(labs(), place).unwrap().state.lab().as_str(), name, "{place}");
        }
    }

    #[test]
    fn a_place_of_several_labs_asks_for_the_lab() {
        let labs = vec![lab("hyg", "a"), lab("hyg-2", "b"), lab("hyg-3", "a")];
        assert_eq!(refusal(Selected::among(labs, "a")), "`a` is in several labs: say which with `--lab`: hyg, hyg-3");
    }

    #[test]
    fn a_place_of_no_lab_says_where_was_looked_and_what_is_near() {
        let labs = || vec![lab("hyg", "worker"), lab("hyg-2", "node")];
        assert_eq!(
            refusal(Selected::among(labs(), "wroker")),
            "no lab has a node or pod `wroker`: looked in hyg, hyg-2; is `worker` meant?"
        );
        assert_eq!(refusal(Selected::among(labs(), "x")), "no lab has a node or pod `x`: looked in hyg, hyg-2");
    }

    #[test]
    fn a_place_that_the_lab_lacks_is_told_with_the_nearest() {
        let lab = lab("hyg", "worker");
        assert_eq!(refusal(lab.place("wroker")), "lab `hyg` has no node or pod `wroker`; is `worker` meant?");
        assert_eq!(refusal(lab.place("x")), "lab `hyg` has no node or pod `x`");
        assert_eq!(
            refusal(lab.speaker("worker-pod1")),
            "`worker-pod1` speaks no BGP: nodes do, and routers that have an `asNumber`"
        );
        assert_eq!(lab.speaker("worker").unwrap(), "worker");
    }

    #[test]
    fn an_address_is_that_of_a_pod_a_node_or_itself() {
        let lab = lab("hyg", "worker");
        let pod = lab.plan.pods[0].address;
        for (target, expected) in
            [("8.8.8.8", Ipv4Addr::new(8, 8, 8, 8)), ("worker", Ipv4Addr::new(10, 0, 0, 11)), ("worker-pod1", pod)]
        {
            assert_eq!(lab.address(target).unwrap(), expected, "{target}");
        }
        assert_eq!(refusal(lab.address("fabric")), "`fabric` has no address of its own");
        assert_eq!(refusal(lab.address("10.0.0.256")), "lab `hyg` has no node or pod `10.0.0.256`");
    }

    #[test]
    fn an_interface_is_one_that_the_place_has() {
        let lab = lab("hyg", "worker");
        let host_end = lab.plan.pods[0].host_interface.to_string();
        for interface in ["eth0", "lo", "tunl0", &host_end] {
            let (place, found) = lab.interface(&format!("worker:{interface}")).unwrap();
            assert_eq!((place.as_str(), found.as_str()), ("worker", interface));
        }
        assert_eq!(
            refusal(lab.interface("worker")),
            "`worker` names no interface: write `WHERE:IFACE`, as `node1:eth0`"
        );
        assert_eq!(refusal(lab.interface("worker-pod1:eth1")), "`worker-pod1` has no interface `eth1`: it has eth0");
        assert_eq!(refusal(lab.interface("x:eth0")), "lab `hyg` has no node or pod `x`");
    }
}
