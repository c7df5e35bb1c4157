//! What BGP daemons of the host are told to do in the place of a speaker of ours, and what they say of it: text only.
//!
//! A [`SpeakerConfig`] becomes the daemon's configuration, an order of an administrator its commands, and its answer the
//! [`SessionView`]s that our own speakers show. `external_io` runs the daemons.

pub mod bird;
pub mod exabgp;
pub mod frr;
pub mod gobgp;

use crate::bgp::view::{MessageCounts, SessionView, State};
use crate::bgp::wire::Family;
use crate::bgp::{ExportPolicy, KernelRule, PeerConfig, SpeakerConfig};
use crate::net::{ExternalSpeaker, Order, Password};

/// A file that a daemon reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the daemon's folder.
    pub name: &'static str,
    /// What is in it; passwords, possibly.
    pub text: String,
}

/// The files that make `speaker` do what `config` says.
///
/// # Errors
/// A password that the daemon's syntax has no room for; see [`shortcomings`] for all else.
pub fn configuration(speaker: ExternalSpeaker, config: &SpeakerConfig) -> Result<Vec<File>, String> {
    for peer in &config.peers {
        check_password(peer)?;
    }
    Ok(match speaker {
        ExternalSpeaker::Bird => vec![File { name: "bird.conf", text: bird::configuration(config) }],
        ExternalSpeaker::Frr => {
            vec![File { name: "zebra.conf", text: frr::zebra() }, File { name: "bgpd.conf", text: frr::bgpd(config) }]
        }
        ExternalSpeaker::GoBgp => vec![File { name: "gobgpd.toml", text: gobgp::configuration(config) }],
        ExternalSpeaker::ExaBgp => vec![File { name: "exabgp.conf", text: exabgp::configuration(config) }],
    })
}

/// What `config` asks for and `speaker` cannot do, each as a clause: `it knows no BGPFilter`.
pub fn shortcomings(speaker: ExternalSpeaker, config: &SpeakerConfig) -> Vec<String> {
    let mut found = Vec::new();
    if config.policy.export == ExportPolicy::Calico && speaker != ExternalSpeaker::Bird {
        found.push("only BIRD exports what a node exports".to_owned());
    }
    if config.policy.normal_priority.is_some() {
        found.push("BIRD 2 knows nothing of the priorities of profile `current`".into());
    }
    if config.policy.pools.iter().any(|pool| matches!(pool.kernel, KernelRule::Tunnel { .. })) {
        found.push("BIRD 2 writes no routes into `tunl0`, as Calico's does".into());
    }
    if config.peers.iter().any(|peer| !peer.import_filters.is_empty() || !peer.export_filters.is_empty()) {
        found.push("its configuration has no BGPFilters".into());
    }
    found.extend(config.peers.iter().filter_map(|peer| check_password(peer).err()));
    found
}

/// Every daemon's configuration has strings of its own kind; these characters stand for themselves in all of them.
fn check_password(peer: &PeerConfig) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\#;{}!".contains(&byte);
    match &peer.password {
        Some(Password::Text(text)) if !text.bytes().all(plain) => Err(format!(
            "the password of {} must be ASCII without spaces, quotes and any of `\\ # ; {{ }} !`",
            peer.name
        )),
        _ => Ok(()),
    }
}

/// The address family that `config` is for, as all of these daemons write it.
fn address_family(config: &SpeakerConfig) -> &'static str {
    match config.family {
        Family::Ipv4Unicast => "ipv4",
        Family::Ipv6Unicast => "ipv6",
    }
}

/// The password of `peer`, which was read if it is in a file.
fn password(peer: &PeerConfig) -> Option<&str> {
    match &peer.password {
        Some(Password::Text(text)) => Some(text),
        Some(Password::File(_)) | None => None,
    }
}

/// What has `speaker` carry out `order` on its session `peer`: commands of its command line.
///
/// # Errors
/// It takes no orders.
pub fn administration(
    speaker: ExternalSpeaker,
    config: &SpeakerConfig,
    peer: &PeerConfig,
    order: Order,
) -> Result<Vec<String>, String> {
    match speaker {
        ExternalSpeaker::Bird => Ok(vec![bird::administration(peer, order)]),
        ExternalSpeaker::Frr => Ok(frr::administration(config, peer, order)),
        ExternalSpeaker::GoBgp => Ok(gobgp::administration(peer, order)),
        ExternalSpeaker::ExaBgp => {
            Err(format!("`{}` runs ExaBGP, whose sessions cannot be disabled: do it at the other end", config.name))
        }
    }
}

/// A session of which no more is known than its state.
fn session(config: &PeerConfig, state: State) -> SessionView {
    SessionView {
        name: config.name.clone(),
        remote: config.remote,
        local: config.local,
        remote_as: config.remote_as,
        local_as: config.local_as,
        remote_id: None,
        state,
        passive: config.passive,
        disabled: false,
        since_ms: 0,
        hold: None,
        keepalive: None,
        last_error: None,
        capabilities: Vec::new(),
        end_of_rib_awaited: false,
        end_of_rib_received: false,
        pending: 0,
        imported: 0,
        exported: 0,
        preferred: 0,
        stale_ms: None,
        messages: MessageCounts::default(),
    }
}

/// All sessions of `config` before the daemon said anything.
pub fn silent(config: &SpeakerConfig) -> Vec<SessionView> {
    config.peers.iter().map(|peer| session(peer, State::Idle)).collect()
}

/// A state by the name that RFC 4271 gives it, in whatever case.
fn state(word: &str) -> State {
    let states = [State::Connect, State::Active, State::OpenSent, State::OpenConfirm, State::Established];
    states.into_iter().find(|state| state.to_string().eq_ignore_ascii_case(word)).unwrap_or(State::Idle)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_cannot_do_is_told_and_not_left_out() {
        let router = testing::router();
        for speaker in ExternalSpeaker::ALL {
            assert_eq!(shortcomings(speaker, &router), Vec::<String>::new(), "{speaker}");
        }
        let mut node = router.clone();
        node.policy.export = ExportPolicy::Calico;
        assert_eq!(shortcomings(ExternalSpeaker::Bird, &node), Vec::<String>::new());
        assert_eq!(shortcomings(ExternalSpeaker::Frr, &node), ["only BIRD exports what a node exports"]);
        node.policy.normal_priority = Some(1024);
        assert_eq!(shortcomings(ExternalSpeaker::Bird, &node).len(), 1);
        let mut secret = router;
        secret.peers[0].password = Some(Password::Text("a \"b\"".into()));
        assert_eq!(shortcomings(ExternalSpeaker::Bird, &secret).len(), 1);
        assert!(configuration(ExternalSpeaker::Bird, &secret).is_err());
    }

    #[test]
    fn states_are_known_in_every_daemons_spelling() {
        assert_eq!(
            ["Established", "OPENSENT", "openconfirm", "down"].map(state),
            [State::Established, State::OpenSent, State::OpenConfirm, State::Idle]
        );
    }
}
