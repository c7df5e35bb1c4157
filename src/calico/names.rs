//! Names and link-layer addresses that follow from other names (calico-behaviour 1.1, 4).

use sha1::{Digest, Sha1};

use crate::net::{IfName, LabName, MacAddr};

/// The host end of a pod's veth: `cali` and the first 11 hex digits of SHA-1 over `<namespace>.<pod>`
/// (calico-behaviour 1.1).
pub fn veth_name(namespace: &str, pod: &str) -> IfName {
    let [a, b, c, d, e, f] = sha1_head(&[namespace, ".", pod]);
    let name = format!("cali{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{:x}", f >> 4);
    IfName::new(&name).expect("4 letters and 11 hex digits are an interface name")
}

/// The MAC of a node's `vxlan.calico`: 0x66 and the first five octets of SHA-1 over the node's name (calico-behaviour 4).
pub fn vtep_mac(node: &str) -> MacAddr {
    let [a, b, c, d, e, _] = sha1_head(&[node]);
    MacAddr([0x66, a, b, c, d, e])
}

/// The MAC of an interface for which Calico prescribes none: locally administered, unicast, and the same whenever the
/// same lab is built. `who` is the namespace's name in the lab: a node, a pod, `gateway`.
pub fn interface_mac(lab: &LabName, who: &str, interface: &IfName) -> MacAddr {
    let [a, b, c, d, e, f] = sha1_head(&[lab.as_str(), "/", who, "/", interface.as_str()]);
    MacAddr([a & 0xfc | 0x02, b, c, d, e, f])
}

fn sha1_head(parts: &[&str]) -> [u8; 6] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut head = [0; 6];
    head.copy_from_slice(&digest[..6]);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_interfaces_are_called_as_in_real_clusters() {
        for (namespace, pod, name) in [
            ("default", "wluo-8n4nq", "cali9c3ed6d06f3"),
            ("kube-system", "coredns-5d78c9869d-2nzzv", "calibc67ab0a787"),
            ("kube-system", "coredns-5d78c9869d-brtkv", "caliae286712af1"),
            ("kube-system", "calico-kube-controllers-7bdccfc7d8-qglg7", "cali995a1e92786"),
            ("default", "myapp-6b59f8f86-mfdn8", "cali2ad752e56a1"),
            ("default", "myapp-6b59f8f86-w6gll", "cali47ddc65abff"),
            ("kube-system", "coredns-8468f7cd6-bdpf7", "cali545684cf79f"),
            ("default", "myapp-547df679bb-phftk", "calid034cb34a92"),
            ("default", "myapp-7dbd45d496-gcmzt", "calia6b94e324d6"),
        ] {
            assert_eq!(veth_name(namespace, pod).as_str(), name, "{namespace}.{pod}");
        }
    }

    #[test]
    fn the_vtep_mac_is_the_real_clusters() {
        assert_eq!(vtep_mac("node1.wang.org").to_string(), "66:69:94:f0:87:f7");
    }

    #[test]
    fn a_derived_mac_is_local_unicast_and_its_own() {
        let lab = LabName::new("a").unwrap();
        let macs: Vec<MacAddr> =
            (0..200).map(|i| interface_mac(&lab, &format!("node{i}"), &IfName::eth(i % 3))).collect();
        assert!(macs.iter().all(|mac| mac.0[0] & 0b11 == 0b10));
        let unique: std::collections::BTreeSet<_> = macs.iter().collect();
        assert_eq!(unique.len(), macs.len());
        assert_eq!(interface_mac(&lab, "node1", &IfName::eth(1)), macs[1]);
    }
}
