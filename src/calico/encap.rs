//! When packets between two nodes are encapsulated, and what that costs in MTU (calico-behaviour 1.4, 3.2).

use crate::topology::{EncapMode, IpPool};

/// What an outer IPv4 header takes, in bytes.
pub const IPIP_OVERHEAD: u32 = 20;
/// What outer IPv4, UDP, VXLAN and inner Ethernet headers take, in bytes.
pub const VXLAN_OVERHEAD: u32 = 50;

/// How a packet for a pod on another node travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encap {
    /// As it is: whatever lies between the nodes must know the way.
    Direct,
    /// IP-in-IP, protocol 4, through `tunl0`.
    Ipip,
    /// VXLAN, UDP port 4789, through `vxlan.calico`.
    Vxlan,
}

/// What `pool` asks for between two nodes; `same_subnet` is seen from the sending one (calico-behaviour 3.2).
pub fn encap(pool: &IpPool, same_subnet: bool) -> Encap {
    let applies = |mode| match mode {
        EncapMode::Never => false,
        EncapMode::Always => true,
        EncapMode::CrossSubnet => !same_subnet,
    };
    match (applies(pool.ipip_mode), applies(pool.vxlan_mode)) {
        (true, _) => Encap::Ipip,
        (false, true) => Encap::Vxlan,
        (false, false) => Encap::Direct,
    }
}

/// MTU in bytes of both ends of a pod's veth on a node whose segments' smallest MTU is `host_mtu`: the smallest among the
/// encapsulations that any pool has on, CrossSubnet and disabled pools included (calico-behaviour 1.4).
pub fn pod_mtu(host_mtu: u32, pools: &[IpPool]) -> u32 {
    let overheads = pools.iter().map(|pool| match (pool.ipip_mode, pool.vxlan_mode) {
        (EncapMode::Never, EncapMode::Never) => 0,
        (_, EncapMode::Never) => IPIP_OVERHEAD,
        (_, _) => VXLAN_OVERHEAD,
    });
    host_mtu.saturating_sub(overheads.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ipip_mode: EncapMode, vxlan_mode: EncapMode) -> IpPool {
        IpPool {
            name: "pool".into(),
            cidr: "10.244.0.0/16".parse().unwrap(),
            block_size: 26,
            ipip_mode,
            vxlan_mode,
            nat_outgoing: true,
            disabled: false,
            disable_bgp_export: false,
            node_selector: crate::topology::Selector::all(),
            span: 0..0,
        }
    }

    #[test]
    fn cross_subnet_encapsulates_only_between_subnets() {
        use EncapMode::{Always, CrossSubnet, Never};
        let both = |ipip, vxlan| [encap(&pool(ipip, vxlan), true), encap(&pool(ipip, vxlan), false)];
        assert_eq!(both(Never, Never), [Encap::Direct, Encap::Direct]);
        assert_eq!(both(Always, Never), [Encap::Ipip, Encap::Ipip]);
        assert_eq!(both(CrossSubnet, Never), [Encap::Direct, Encap::Ipip]);
        assert_eq!(both(Never, Always), [Encap::Vxlan, Encap::Vxlan]);
        assert_eq!(both(Never, CrossSubnet), [Encap::Direct, Encap::Vxlan]);
    }

    #[test]
    fn the_pod_mtu_leaves_room_for_the_largest_enabled_encapsulation() {
        use EncapMode::{Always, CrossSubnet, Never};
        assert_eq!(pod_mtu(1500, &[pool(Never, Never)]), 1500);
        assert_eq!(pod_mtu(1500, &[pool(Never, Never), pool(CrossSubnet, Never)]), 1480);
        assert_eq!(pod_mtu(1500, &[pool(Always, Never), pool(Never, CrossSubnet)]), 1450);
        assert_eq!(pod_mtu(9000, &[pool(Never, Never)]), 9000);
    }
}
