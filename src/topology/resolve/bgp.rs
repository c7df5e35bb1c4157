//! `[BGPConfiguration]`, and what it shares with nodes and peers: communities, passwords, durations (calico-behaviour 7.6, 7.10).

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::segments::network;
use crate::net::{Community, Password, PrefixAdvertisement, parse_duration};
use crate::topology::error::Faults;
use crate::topology::model::BgpConfiguration;
use crate::topology::raw::{At, RawBgpConfiguration, RawBindMode, RawPrefixAdvertisement};

/// Resolves the `default` BGPConfiguration.
pub(super) fn configuration(raw: RawBgpConfiguration, faults: &mut Faults<'_>) -> BgpConfiguration {
    let RawBgpConfiguration {
        as_number,
        node_to_node_mesh_enabled,
        listen_port,
        bind_mode,
        node_mesh_password,
        node_mesh_password_file,
        node_mesh_max_restart_time,
        communities,
        prefix_advertisements,
    } = raw;
    let default = BgpConfiguration::default();
    let mesh = node_to_node_mesh_enabled.map_or(default.node_to_node_mesh_enabled, At::into_inner);
    let of_the_mesh =
        [&node_mesh_password, &node_mesh_password_file, &node_mesh_max_restart_time].into_iter().flatten().next();
    if let Some(at) = of_the_mesh.filter(|_| !mesh) {
        let message = "without the mesh nothing has mesh sessions' password or restart time";
        faults.add("mesh-option-without-mesh", at.span(), message, "the mesh is off", "remove it");
    }
    let mut names: BTreeMap<String, Community> = BTreeMap::new();
    for community in communities {
        let community = community.into_inner();
        let Some(value) = parsed(&community.value, faults) else { continue };
        if names.insert(community.name.as_str().to_owned(), value).is_some() {
            let message = format!("`{}` is already the name of a community", community.name.as_str());
            faults.add("duplicate-name", community.name.span(), message, "taken", "give it another name");
        }
    }
    BgpConfiguration {
        as_number: as_number.and_then(|asn| super::as_number(&asn, faults)).unwrap_or(default.as_number),
        node_to_node_mesh_enabled: mesh,
        listen_port: port(listen_port),
        bind_node_ip: bind_mode.is_some_and(|mode| *mode == RawBindMode::NodeIP),
        node_mesh_password: password(node_mesh_password, node_mesh_password_file, faults),
        node_mesh_max_restart_time: node_mesh_max_restart_time.and_then(|text| seconds(&text, faults)),
        prefix_advertisements: advertisements(prefix_advertisements, &names, faults).unwrap_or_default(),
    }
}

/// A TCP port; `shape` keeps it between 1 and 65535.
pub(super) fn port(raw: Option<At<i64>>) -> Option<u16> {
    raw.and_then(|port| u16::try_from(*port).ok())
}

/// The longest key that the kernel takes (TCP_MD5SIG_MAXKEYLEN).
const LONGEST_PASSWORD: usize = 80;

/// A password in the file, or in another one.
pub(super) fn password(
    text: Option<At<String>>,
    file: Option<At<String>>,
    faults: &mut Faults<'_>,
) -> Option<Password> {
    match (text, file) {
        (Some(_), Some(file)) => {
            let message = "a password stands in the file or in another one, not in both";
            faults.add("password-twice", file.span(), message, "and the text", "remove one of the two");
            None
        }
        (Some(text), None) if text.is_empty() || text.len() > LONGEST_PASSWORD => {
            let message = format!("a password of {} bytes", text.len());
            let help = format!("write 1 to {LONGEST_PASSWORD} bytes: more the kernel does not take");
            faults.add("invalid-password", text.span(), message, "not a password", help);
            None
        }
        (Some(text), None) => Some(Password::Text(text.into_inner())),
        (None, file) => file.map(|file| Password::File(file.into_inner())),
    }
}

/// A duration in whole seconds, as BIRD has them.
pub(super) fn seconds(text: &At<String>, faults: &mut Faults<'_>) -> Option<Duration> {
    match parse_duration(text) {
        Ok(duration) if duration >= Duration::from_secs(1) => Some(Duration::from_secs(duration.as_secs())),
        Ok(_) => {
            let message = format!("`{}` is shorter than a second", text.as_str());
            faults.add("invalid-duration", text.span(), message, "too short", "write `30s`, say");
            None
        }
        Err(message) => {
            faults.add("invalid-duration", text.span(), message, "not a duration", "write `30s`, say");
            None
        }
    }
}

/// `prefixAdvertisements`, whose communities are values or one of `names`.
pub(super) fn advertisements(
    raw: Option<At<Vec<At<RawPrefixAdvertisement>>>>,
    names: &BTreeMap<String, Community>,
    faults: &mut Faults<'_>,
) -> Option<Vec<PrefixAdvertisement>> {
    let mut list = Vec::new();
    for raw in raw?.into_inner() {
        let RawPrefixAdvertisement { cidr, communities } = raw.into_inner();
        let cidr = network(&cidr, "cidr", faults);
        let mut values: Vec<Community> = Vec::new();
        for text in communities.into_inner() {
            match names.get(text.as_str()) {
                Some(value) => values.push(*value),
                None => values.extend(parsed(&text, faults)),
            }
        }
        values.sort();
        values.dedup();
        list.extend(cidr.map(|cidr| PrefixAdvertisement { cidr: IpNet::V4(cidr), communities: values }));
    }
    Some(list)
}

/// `64512:100`, or a large community.
pub(super) fn parsed(text: &At<String>, faults: &mut Faults<'_>) -> Option<Community> {
    let parsed = text.parse();
    if let Err(message) = &parsed {
        let help = "write `64512:100`, a large one `64512:1:2`, or a name from `communities`";
        faults.add("invalid-community", text.span(), message, "not a community", help);
    }
    parsed.ok()
}
