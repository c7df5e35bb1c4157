//! Speakers to be configured.

use std::time::Duration;

use crate::bgp::wire::Family;
use crate::bgp::{ExportPolicy, PeerConfig, PolicyConfig, SpeakerConfig, TimerConfig};
use crate::net::{Asn, BgpIdentifier, NextHopMode};

/// A router that originates 10.1.0.0/24 and peers with 192.168.1.2.
pub(super) fn router() -> SpeakerConfig {
    SpeakerConfig {
        name: "r1".into(),
        family: Family::Ipv4Unicast,
        local_as: Asn(64512),
        router_id: BgpIdentifier("192.168.1.1".parse().unwrap()),
        listen_port: 179,
        listen_address: None,
        timers: TimerConfig {
            hold_time: Duration::from_secs(240),
            connect_delay: Duration::ZERO,
            connect_retry: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            error_wait: (Duration::from_millis(100), Duration::from_secs(1)),
        },
        statics: Vec::new(),
        reachable_by: Vec::new(),
        cluster_id: None,
        peers: vec![peer()],
        policy: PolicyConfig {
            export: ExportPolicy::Router { networks: vec!["10.1.0.0/24".parse().unwrap()], transit: true },
            ..PolicyConfig::default()
        },
    }
}

pub(super) fn peer() -> PeerConfig {
    PeerConfig {
        name: "Peer_192_168_1_2".into(),
        remote: "192.168.1.2".parse().unwrap(),
        remote_port: 179,
        remote_as: Asn(4_200_000_001),
        local_as: Asn(64512),
        local: Some("192.168.1.1".parse().unwrap()),
        passive: false,
        restart_time: Duration::from_secs(120),
        next_hop: NextHopMode::Own,
        allowed_local_as: 0,
        rr_client: false,
        extended_messages: false,
        add_path: false,
        keepalive_time: None,
        ttl_security: None,
        password: None,
        expected_down: false,
        import_filters: Vec::new(),
        export_filters: Vec::new(),
    }
}
