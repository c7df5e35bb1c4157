//! The topology file as it is written: a serde mirror of the TOML, every value with its span.
//!
//! The doc comments of the fields become the descriptions of the JSON schema, and the schema is what `shape` checks a file
//! against: key, type, range and choice are said once, here. No flattening and no untagged enums, for they lose spans.

mod bgp;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::model::{EncapMode, Profile, Span, Timers};
use crate::net::ExternalSpeaker;

pub(super) use bgp::*;

/// Most nodes that one `count` makes, and most nodes or pods of a lab: what one host can hold at best.
pub(super) const MAX_COUNT: usize = 10_000;

/// The JSON schema (draft 2020-12) of a topology file.
pub fn schema() -> Value {
    SCHEMA.clone()
}

pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RawTopology>();
    WithoutNull.transform(&mut schema);
    schema.into()
});

/// A value and where it stands: `toml::Spanned` with a JSON schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub(super) struct At<T>(toml::Spanned<T>);

impl<T> At<T> {
    pub(super) fn span(&self) -> Span {
        self.0.span()
    }

    pub(super) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A network lab: the nodes and pods of a Calico cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "topology")]
pub(super) struct RawTopology {
    /// The lab's name, 1 to 32 of a-z, 0-9 and `-`; the file's stem unless said.
    #[schemars(example = &"two-racks")]
    pub(super) name: Option<At<String>>,
    /// Shorthand for one IPPool 10.244.0.0/16 with blockSize 26 and natOutgoing; excludes `[[IPPool]]`. BGP unless there is an
    /// `[[IPPool]]`.
    #[schemars(example = &"BGP")]
    pub(super) mode: Option<At<RawMode>>,
    /// Which Calico the lab behaves like; classic unless said.
    #[schemars(example = &"classic")]
    pub(super) profile: Option<At<Profile>>,
    /// How eagerly the speakers dial; fast unless said.
    #[schemars(example = &"fast")]
    pub(super) timers: Option<At<Timers>>,
    /// Kubernetes nodes.
    #[serde(default)]
    pub(super) node: Vec<At<RawNode>>,
    /// Pods.
    #[serde(default)]
    pub(super) pod: Vec<At<RawPod>>,
    /// ToRs, spines and other routers.
    #[serde(default)]
    pub(super) router: Vec<At<RawRouter>>,
    /// Properties of L2 segments. A segment needs no entry: it exists where nodes and routers have addresses.
    #[serde(default)]
    pub(super) segment: Vec<At<RawSegment>>,
    /// Calico's `default` BGPConfiguration.
    #[serde(rename = "BGPConfiguration")]
    pub(super) bgp_configuration: Option<RawBgpConfiguration>,
    /// Calico's BGP peers.
    #[serde(default, rename = "BGPPeer")]
    pub(super) bgp_peer: Vec<At<RawBgpPeer>>,
    /// Calico's BGP filters.
    #[serde(default, rename = "BGPFilter")]
    pub(super) bgp_filter: Vec<At<RawBgpFilter>>,
    /// Calico's IP pools.
    #[serde(default, rename = "IPPool")]
    pub(super) ip_pool: Vec<At<RawIpPool>>,
}

/// When packets between nodes are encapsulated, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum RawMode {
    /// Never.
    #[serde(rename = "BGP")]
    Bgp,
    /// IPIP between any two nodes.
    #[serde(rename = "IPIP")]
    Ipip,
    /// IPIP between nodes of different subnets.
    #[serde(rename = "IPIPCrossSubnet")]
    IpipCrossSubnet,
    /// VXLAN between any two nodes.
    #[serde(rename = "VXLAN")]
    Vxlan,
    /// VXLAN between nodes of different subnets.
    #[serde(rename = "VXLANCrossSubnet")]
    VxlanCrossSubnet,
}

/// A Kubernetes node, or `count` of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    /// The name; with `count`, `{}` in it stands for 1, 2, ….
    #[schemars(example = &"node1")]
    pub(super) name: At<String>,
    /// How many nodes this is, with consecutive addresses.
    #[schemars(range(min = 1, max = 10_000), example = 3)]
    pub(super) count: Option<At<i64>>,
    /// Address with its mask. Nodes of one subnet share an L2 segment.
    #[schemars(example = &"10.0.1.11/24")]
    pub(super) address: Option<At<String>>,
    /// Several addresses: the first is eth0 and the BGP address.
    #[schemars(example = ["10.0.1.11/24", "10.0.2.11/24"])]
    pub(super) addresses: Option<At<Vec<At<String>>>>,
    /// Next hop of the default route; the router on the segment unless said, else the implicit gateway.
    #[schemars(example = &"10.0.1.1")]
    pub(super) gateway: Option<At<String>>,
    /// Kubernetes labels.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("rack", "rack1")]))]
    pub(super) labels: BTreeMap<At<String>, At<String>>,
    /// The node's own AS number; the BGPConfiguration's unless said.
    #[serde(rename = "asNumber")]
    #[schemars(example = 64513)]
    pub(super) as_number: Option<At<RawAsNumber>>,
    /// Makes the node a route reflector of this cluster: it leaves the mesh.
    #[serde(rename = "routeReflectorClusterID")]
    #[schemars(example = &"1.0.0.1")]
    pub(super) route_reflector_cluster_id: Option<At<String>>,
    /// TCP port of its speaker (Calico's per-node BGPConfiguration); the BGPConfiguration's unless said.
    #[serde(rename = "listenPort")]
    #[schemars(range(min = 1, max = 65535), example = 1790)]
    pub(super) listen_port: Option<At<i64>>,
    /// Communities of what it tells its peers; replaces the BGPConfiguration's. Values only, no names.
    #[serde(default, rename = "prefixAdvertisements")]
    pub(super) prefix_advertisements: Option<At<Vec<At<RawPrefixAdvertisement>>>>,
    /// A daemon of the host that speaks BGP in the place of lab's own speaker: `bird`.
    #[schemars(example = &"bird")]
    pub(super) speaker: Option<At<ExternalSpeaker>>,
    /// How many pods to make: `<node>-pod1`, `<node>-pod2`, ….
    #[schemars(range(min = 0, max = 10_000), example = 2)]
    pub(super) pods: Option<At<i64>>,
}

/// A pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPod {
    /// The name.
    #[schemars(example = &"web")]
    pub(super) name: At<String>,
    /// The node it runs on.
    #[schemars(example = &"node1")]
    pub(super) node: At<String>,
    /// The Kubernetes namespace; `default` unless said.
    #[schemars(example = &"default")]
    pub(super) namespace: Option<At<String>>,
    /// Kubernetes labels.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("app", "web")]))]
    pub(super) labels: BTreeMap<At<String>, At<String>>,
    /// A pinned address, inside a pool.
    #[schemars(example = &"10.244.140.132")]
    pub(super) ip: Option<At<String>>,
}

/// A router: forwards, and speaks BGP where it has an asNumber.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRouter {
    /// The name.
    #[schemars(example = &"tor1")]
    pub(super) name: At<String>,
    /// Addresses with their masks, one for each segment: eth0, eth1, ….
    #[schemars(example = ["10.0.1.1/24", "10.0.12.1/30"])]
    pub(super) addresses: At<Vec<At<String>>>,
    /// Its AS number; without one it speaks no BGP.
    #[serde(rename = "asNumber")]
    #[schemars(example = 65001)]
    pub(super) as_number: Option<At<RawAsNumber>>,
    /// Whom it peers with: an address with its AS number, or the nodes that a selector selects.
    #[serde(default)]
    pub(super) peers: Vec<At<RawRouterPeer>>,
    /// What it originates by BGP. Where it has no way there, packets are dropped.
    #[schemars(example = ["10.1.0.0/24"])]
    pub(super) networks: Option<At<Vec<At<String>>>>,
    /// Whether it tells its peers what it learned from others; true unless said.
    #[schemars(example = false)]
    pub(super) transit: Option<At<bool>>,
    /// A daemon of the host that speaks BGP in the place of lab's own speaker.
    #[schemars(example = &"bird")]
    pub(super) speaker: Option<At<ExternalSpeaker>>,
    /// Static routes, as `ip route` takes them: `0.0.0.0/0 via 10.0.12.2`.
    #[schemars(example = ["0.0.0.0/0 via 10.0.12.2"])]
    pub(super) routes: Option<At<Vec<At<String>>>>,
}

/// One peer of a router, or the nodes that a selector selects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRouterPeer {
    /// The peer's address.
    #[schemars(example = &"10.0.12.2")]
    pub(super) ip: Option<At<String>>,
    /// The peer's AS number.
    #[serde(rename = "asNumber")]
    #[schemars(example = 65002)]
    pub(super) as_number: Option<At<RawAsNumber>>,
    /// Every node that this selects, each with its own AS number.
    #[schemars(example = &"rack == 'rack1'")]
    pub(super) nodes: Option<At<String>>,
    /// The key of TCP MD5 signatures.
    #[schemars(example = &"secret")]
    pub(super) password: Option<At<String>>,
    /// A file whose first line is the key, relative to this one.
    #[serde(rename = "passwordFile")]
    #[schemars(example = &"tor.key")]
    pub(super) password_file: Option<At<String>>,
    /// Hops to the peer at most, 1 on a common link (GTSM).
    #[serde(rename = "ttlSecurity")]
    #[schemars(range(min = 1, max = 255), example = 1)]
    pub(super) ttl_security: Option<At<i64>>,
}

/// Properties of an L2 segment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSegment {
    /// The subnet of the addresses on it.
    #[schemars(example = &"10.0.1.0/24")]
    pub(super) subnet: At<String>,
    /// MTU in bytes; 1500 unless said. 576 is what every IPv4 host must be able to receive (RFC 791 §3.1).
    #[schemars(range(min = 576, max = 65535), example = 1500)]
    pub(super) mtu: Option<At<i64>>,
}

/// A Calico IP pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIpPool {
    /// The name; `default-ipv4-ippool` unless said. Pools are tried in name order.
    #[schemars(example = &"default-ipv4-ippool")]
    pub(super) name: Option<At<String>>,
    /// The addresses.
    #[schemars(example = &"10.244.0.0/16")]
    pub(super) cidr: At<String>,
    /// Prefix length of a block; 26 unless said.
    #[serde(rename = "blockSize")]
    #[schemars(range(min = 20, max = 32), example = 26)]
    pub(super) block_size: Option<At<i64>>,
    /// Whether a node masquerades what its pods send out of the pools; false unless said.
    #[serde(rename = "natOutgoing")]
    #[schemars(example = true)]
    pub(super) nat_outgoing: Option<At<bool>>,
    /// IPIP; Never unless said. Excludes VXLAN.
    #[serde(rename = "ipipMode")]
    #[schemars(example = &"CrossSubnet")]
    pub(super) ipip_mode: Option<At<EncapMode>>,
    /// VXLAN; Never unless said. Excludes IPIP.
    #[serde(rename = "vxlanMode")]
    #[schemars(example = &"CrossSubnet")]
    pub(super) vxlan_mode: Option<At<EncapMode>>,
    /// Whether no more addresses are given out from it; false unless said.
    #[schemars(example = true)]
    pub(super) disabled: Option<At<bool>>,
    /// Whether BGP keeps its routes to itself; false unless said.
    #[serde(rename = "disableBGPExport")]
    #[schemars(example = true)]
    pub(super) disable_bgp_export: Option<At<bool>>,
    /// Which nodes use it, an expression of Calico's selector language; all() unless said.
    #[serde(rename = "nodeSelector")]
    #[schemars(example = &"rack == 'rack1'")]
    pub(super) node_selector: Option<At<String>>,
}

/// An AS number as it is written: `64512`, `"64512"` or `"0.64512"` (calico-behaviour 7.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawAsNumber {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for RawAsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = RawAsNumber;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an AS number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(RawAsNumber::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawAsNumber::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for RawAsNumber {
    fn schema_name() -> Cow<'static, str> {
        "asNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": u32::MAX, "pattern": r"^[0-9]+(\.[0-9]+)?$" })
    }
}

/// Reads a document that `shape` has checked.
pub(super) fn read(document: toml::Spanned<toml::de::DeTable<'_>>) -> Result<RawTopology, toml::de::Error> {
    RawTopology::deserialize(toml::de::Deserializer::from(document))
}

/// Takes `null` out of a schema, which `Option` puts in and TOML does not have.
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                for (key, value) in only {
                    if schema.get(&key).is_none() {
                        schema.insert(key, value);
                    }
                }
            }
        }
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        transform_subschemas(self, schema);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_has_neither_null_nor_references() {
        let text = schema().to_string();
        assert!(!text.contains("null") && !text.contains("$ref"), "{text}");
    }

    #[test]
    fn the_schema_says_type_range_choice_and_example() {
        let schema = schema();
        let node = &schema["properties"]["node"]["items"];
        assert_eq!(node["additionalProperties"], json!(false));
        assert_eq!(node["required"], json!(["name"]));
        let count = &node["properties"]["count"];
        assert_eq!(
            (&count["type"], &count["minimum"], &count["maximum"], &count["examples"]),
            (&json!("integer"), &json!(1), &json!(MAX_COUNT), &json!([3]))
        );
        assert_eq!(node["properties"]["asNumber"]["type"], json!(["integer", "string"]));
        let choices = schema["properties"]["mode"]["oneOf"].as_array().unwrap();
        let names: Vec<_> = choices.iter().map(|choice| choice["const"].as_str().unwrap()).collect();
        assert_eq!(names, ["BGP", "IPIP", "IPIPCrossSubnet", "VXLAN", "VXLANCrossSubnet"]);
    }
}
