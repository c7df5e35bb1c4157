//! IP address management: which block a node claims and which address a pod gets (calico-behaviour 2).
//!
//! A function of names, pools and order alone. It knows nothing of namespaces or routes; `plan::build` uses its result.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::go_rand::GoRand;
use crate::topology::{Diagnostic, EncapMode, IpPool, Node, NodeId, Span, Topology};

/// Blocks that one node may claim for addresses it does not name (`maxBlocksPerHost` 0, calico-behaviour 2.4).
pub const MAX_BLOCKS_PER_HOST: usize = 20;

/// What every node and pod of a topology got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Per node, in the topology's order.
    pub nodes: Vec<NodeAssignment>,
    /// Per pod, in the topology's order.
    pub pods: Vec<Ipv4Addr>,
}

/// What one node got for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAssignment {
    /// Its affine blocks, ascending; empty while nothing on the node needed an address.
    pub blocks: Vec<Ipv4Net>,
    /// Address of `tunl0`, where a pool with IPIP serves the node (calico-behaviour 2.3).
    pub ipip_tunnel: Option<Ipv4Addr>,
    /// Address of `vxlan.calico`, where a pool with VXLAN serves the node.
    pub vxlan_tunnel: Option<Ipv4Addr>,
}

/// Gives out every address of `topology`: node by node in file order, and for each its tunnel addresses, then its pinned
/// pods, then its other pods.
///
/// # Errors
/// Every address that could not be given: `pool-too-small`, `no-pool-for-node`, `pinned-address-outside-pools`,
/// `pinned-address-taken`.
pub fn assign(topology: &Topology) -> Result<Assignment, Vec<Diagnostic>> {
    let mut allocator = Allocator::new(&topology.pools);
    let mut faults = Faults::new(topology);
    let mut nodes = Vec::with_capacity(topology.nodes.len());
    let mut addresses: Vec<Option<Ipv4Addr>> = vec![None; topology.pods.len()];
    let mut pods_of: Vec<Vec<usize>> = vec![Vec::new(); topology.nodes.len()];
    for (index, pod) in topology.pods.iter().enumerate() {
        if let Some(pods) = pods_of.get_mut(pod.node.0) {
            pods.push(index);
        }
    }
    for (node_index, node) in topology.nodes.iter().enumerate() {
        let host = Host { id: NodeId(node_index), name: &node.name };
        let selected: Vec<usize> = (0..topology.pools.len())
            .filter(|&pool| !topology.pools[pool].disabled && topology.pools[pool].node_selector.matches(&node.labels))
            .collect();
        let mut tunnel = |uses: fn(&IpPool) -> bool, what| {
            let pools: Vec<usize> = selected.iter().copied().filter(|&pool| uses(&topology.pools[pool])).collect();
            if pools.is_empty() {
                return None;
            }
            let address = allocator.auto_assign(host, &pools);
            if address.is_none() {
                faults.exhausted(&pools, format!("the {what} address of node `{}`", node.name), &node.span);
            }
            address
        };
        let ipip_tunnel = tunnel(|pool| pool.ipip_mode != EncapMode::Never, "tunl0");
        let vxlan_tunnel = tunnel(|pool| pool.vxlan_mode != EncapMode::Never, "vxlan.calico");
        for &pod in &pods_of[node_index] {
            if let Some(ip) = topology.pods[pod].ip {
                match allocator.assign_ip(host, ip) {
                    Ok(()) => addresses[pod] = Some(ip),
                    Err(refusal) => faults.refused(pod, ip, refusal),
                }
            }
        }
        for &pod in &pods_of[node_index] {
            if topology.pods[pod].ip.is_none() {
                addresses[pod] = allocator.auto_assign(host, &selected);
                if addresses[pod].is_none() {
                    let pod = &topology.pods[pod];
                    match selected.is_empty() {
                        true => faults.unserved(node, &pod.span),
                        false => faults.exhausted(&selected, format!("pod `{}`", pod.name), &pod.span),
                    }
                }
            }
        }
        nodes.push(NodeAssignment { blocks: Vec::new(), ipip_tunnel, vxlan_tunnel });
    }
    for (index, node) in nodes.iter_mut().enumerate() {
        node.blocks = allocator.blocks_of(NodeId(index));
    }
    let given = addresses.iter().flatten().count();
    match faults.into_diagnostics() {
        diagnostics if diagnostics.is_empty() && given == addresses.len() => {
            Ok(Assignment { nodes, pods: addresses.into_iter().flatten().collect() })
        }
        diagnostics => Err(diagnostics),
    }
}

/// The block that a node called `node` claims first in an empty `pool` cut into blocks of prefix length `block_size`
/// (calico-behaviour 2.2); `None` if the pool does not hold one such block.
///
/// With blocks of a single address Calico's choice is not reproducible; here it follows the same rule as any other.
pub fn block_of(pool: Ipv4Net, block_size: u8, node: &str) -> Option<Ipv4Net> {
    let blocks = PoolBlocks::new(pool, block_size);
    (blocks.count > 0).then(|| blocks.network(first_candidate(node, blocks.count)))
}

/// Who asks for an address.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Which node it is.
    pub id: NodeId,
    /// Its name, which decides where its blocks are looked for.
    pub name: &'a str,
}

/// Why a named address cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It lies in no enabled pool.
    NoPool,
    /// Somebody has it.
    Taken,
}

/// The datastore's view of all blocks.
#[derive(Clone, Debug)]
pub struct Allocator {
    pools: Vec<PoolBlocks>,
}

impl Allocator {
    /// No block is claimed yet. Pools are known by their index in `pools`.
    pub fn new(pools: &[IpPool]) -> Self {
        let blocks = |pool: &IpPool| match pool.disabled {
            true => PoolBlocks { count: 0, ..PoolBlocks::new(pool.cidr, pool.block_size) },
            false => PoolBlocks::new(pool.cidr, pool.block_size),
        };
        Self { pools: pools.iter().map(blocks).collect() }
    }

    /// One address for `host` from `pools`: out of its own blocks, else of a new one, else borrowed (calico-behaviour 2.1).
    /// `None` if all three fail.
    pub fn auto_assign(&mut self, host: Host<'_>, pools: &[usize]) -> Option<Ipv4Addr> {
        self.take_from_own_block(host, pools)
            .or_else(|| self.take_from_new_block(host, pools))
            .or_else(|| self.borrow(host, pools))
    }

    /// The address `ip` for `host`: an unclaimed block becomes its own, in another node's block the address is borrowed.
    ///
    /// # Errors
    /// No enabled pool holds it, or it is in use.
    pub fn assign_ip(&mut self, host: Host<'_>, ip: Ipv4Addr) -> Result<(), Refusal> {
        let pool =
            self.pools.iter_mut().find(|pool| pool.count > 0 && pool.cidr.contains(&ip)).ok_or(Refusal::NoPool)?;
        let (index, ordinal) = pool.locate(ip);
        let block = pool.claimed.entry(index).or_insert_with(|| Block::new(host.id, pool.block_size));
        let position = block.free.iter().position(|&free| free == ordinal).ok_or(Refusal::Taken)?;
        block.free.remove(position);
        Ok(())
    }

    /// Gives `ip` back: it becomes the last of its block to be used again.
    pub fn release(&mut self, ip: Ipv4Addr) {
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.cidr.contains(&ip)) else { return };
        let (index, ordinal) = pool.locate(ip);
        if let Some(block) = pool.claimed.get_mut(&index)
            && !block.free.contains(&ordinal)
        {
            block.free.push_back(ordinal);
        }
    }

    /// The blocks affine to `node`, ascending.
    pub fn blocks_of(&self, node: NodeId) -> Vec<Ipv4Net> {
        let mut blocks: Vec<Ipv4Net> =
            self.own_blocks(node).map(|(pool, index)| self.pools[pool].network(index)).collect();
        blocks.sort();
        blocks
    }

    fn own_blocks(&self, node: NodeId) -> impl Iterator<Item = (usize, u64)> {
        self.pools.iter().enumerate().flat_map(move |(pool, blocks)| {
            blocks.claimed.iter().filter(move |(_, block)| block.owner == node).map(move |(&index, _)| (pool, index))
        })
    }

    fn take_from_own_block(&mut self, host: Host<'_>, pools: &[usize]) -> Option<Ipv4Addr> {
        let mut own: Vec<(String, usize, u64)> = self
            .own_blocks(host.id)
            .filter(|(pool, index)| pools.contains(pool) && !self.pools[*pool].claimed[index].free.is_empty())
            .map(|(pool, index)| (self.pools[pool].network(index).to_string(), pool, index))
            .collect();
        // The datastore lists a node's affinities by name, and their names are the blocks' texts.
        own.sort();
        own.first().and_then(|&(_, pool, index)| self.pools[pool].take(index))
    }

    fn take_from_new_block(&mut self, host: Host<'_>, pools: &[usize]) -> Option<Ipv4Addr> {
        if self.own_blocks(host.id).count() >= MAX_BLOCKS_PER_HOST {
            return None;
        }
        pools.iter().find_map(|&pool| {
            let blocks = self.pools.get_mut(pool)?;
            let index = blocks.first_unclaimed(first_candidate(host.name, blocks.count))?;
            blocks.claimed.insert(index, Block::new(host.id, blocks.block_size));
            blocks.take(index)
        })
    }

    fn borrow(&mut self, host: Host<'_>, pools: &[usize]) -> Option<Ipv4Addr> {
        pools.iter().find_map(|&pool| {
            let blocks = self.pools.get_mut(pool)?;
            let start = first_candidate(host.name, blocks.count);
            let walk = blocks.claimed.range(start..).chain(blocks.claimed.range(..start));
            let index = walk.filter(|(_, block)| !block.free.is_empty()).map(|(&index, _)| index).next()?;
            blocks.take(index)
        })
    }
}

/// One pool, cut into blocks.
#[derive(Clone, Debug)]
struct PoolBlocks {
    cidr: Ipv4Net,
    block_size: u8,
    /// How many blocks there are.
    count: u64,
    /// The blocks that somebody claimed, by their index in the pool.
    claimed: BTreeMap<u64, Block>,
}

/// One claimed block.
#[derive(Clone, Debug)]
struct Block {
    owner: NodeId,
    /// Ordinals that nobody has, the next one first.
    free: VecDeque<u64>,
}

impl Block {
    fn new(owner: NodeId, block_size: u8) -> Self {
        Self { owner, free: (0..1 << (32 - u32::from(block_size))).collect() }
    }
}

impl PoolBlocks {
    fn new(cidr: Ipv4Net, block_size: u8) -> Self {
        let count = match (cidr.prefix_len()..=32).contains(&block_size) {
            true => 1 << (block_size - cidr.prefix_len()),
            false => 0,
        };
        Self { cidr: cidr.trunc(), block_size, count, claimed: BTreeMap::new() }
    }

    /// Addresses per block, as a shift.
    fn shift(&self) -> u32 {
        32_u32.saturating_sub(self.block_size.into())
    }

    fn address(&self, index: u64, ordinal: u64) -> Ipv4Addr {
        let offset = (index << self.shift()) + ordinal;
        let address = u64::from(self.cidr.network().to_bits()) + offset;
        Ipv4Addr::from_bits(u32::try_from(address).unwrap_or(u32::MAX))
    }

    fn network(&self, index: u64) -> Ipv4Net {
        Ipv4Net::new_assert(self.address(index, 0), self.block_size.min(32))
    }

    /// Block index and ordinal of an address inside the pool.
    fn locate(&self, ip: Ipv4Addr) -> (u64, u64) {
        let offset = u64::from(ip.to_bits()) - u64::from(self.cidr.network().to_bits());
        (offset >> self.shift(), offset & ((1 << self.shift()) - 1))
    }

    fn take(&mut self, index: u64) -> Option<Ipv4Addr> {
        let ordinal = self.claimed.get_mut(&index)?.free.pop_front()?;
        Some(self.address(index, ordinal))
    }

    fn first_unclaimed(&self, start: u64) -> Option<u64> {
        (start..self.count).chain(0..start).find(|index| !self.claimed.contains_key(index))
    }
}

/// Where `host` begins to look among `count` blocks: Go's generator seeded with FNV-1 of the name (calico-behaviour 2.2).
fn first_candidate(host: &str, count: u64) -> u64 {
    GoRand::new(fnv1(host)).below(count)
}

/// FNV-1, 32 bits: multiply, then xor.
fn fnv1(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte))
}

/// What went wrong, one entry per cause however many addresses it hits.
struct Faults<'a> {
    topology: &'a Topology,
    /// Per set of pools: who was the first to go without, its span, and how many did.
    exhausted: BTreeMap<Vec<usize>, (String, Span, usize)>,
    unserved: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Faults<'a> {
    fn new(topology: &'a Topology) -> Self {
        Self { topology, exhausted: BTreeMap::new(), unserved: BTreeSet::new(), diagnostics: Vec::new() }
    }

    fn exhausted(&mut self, pools: &[usize], who: String, span: &Span) {
        self.exhausted.entry(pools.to_vec()).or_insert_with(|| (who, span.clone(), 0)).2 += 1;
    }

    fn unserved(&mut self, node: &Node, span: &Span) {
        if self.unserved.insert(node.name.clone()) {
            self.diagnostics.push(Diagnostic {
                code: "no-pool-for-node",
                span: span.clone(),
                message: format!("no enabled IP pool selects node `{}`, where this pod runs", node.name),
                label: "this pod gets no address".into(),
                help: "give a pool a nodeSelector that matches the node's labels, or leave nodeSelector out: it then \
                       selects every node"
                    .into(),
            });
        }
    }

    fn refused(&mut self, pod: usize, ip: Ipv4Addr, refusal: Refusal) {
        let pod = &self.topology.pods[pod];
        let (code, message, help) = match refusal {
            Refusal::NoPool => (
                "pinned-address-outside-pools",
                format!("the address {ip} of pod `{}` lies in no enabled IP pool", pod.name),
                format!("pin an address inside one of: {}", pool_list(&self.topology.pools)),
            ),
            Refusal::Taken => (
                "pinned-address-taken",
                format!("the address {ip} of pod `{}` is already given to a pod or tunnel before it", pod.name),
                "addresses are given out node by node in file order: pin another one, or pin the other pod too".into(),
            ),
        };
        self.diagnostics.push(Diagnostic { code, span: pod.span.clone(), message, label: "pinned here".into(), help });
    }

    fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        for (pools, (who, span, count)) in self.exhausted {
            let pools: Vec<IpPool> = pools.iter().map(|&pool| self.topology.pools[pool].clone()).collect();
            let size: u64 = pools.iter().map(|pool| 1_u64 << (32 - pool.cidr.prefix_len())).sum();
            let others = match count - 1 {
                0 => String::new(),
                1 => " and one more".into(),
                n => format!(" and {n} more"),
            };
            // The pool that `mode` makes has no place in the file.
            let span = pools.iter().map(|pool| pool.span.clone()).find(|span| !span.is_empty()).unwrap_or(span);
            self.diagnostics.push(Diagnostic {
                code: "pool-too-small",
                span,
                message: format!(
                    "no address is left for {who}{others}: {} has {size} {} in all, in blocks that each belong to one node",
                    pool_list(&pools),
                    if size == 1 { "address" } else { "addresses" },
                ),
                label: "too small".into(),
                help: format!(
                    "make the cidr larger (a smaller prefix length), or add a pool; a node claims at most \
                     {MAX_BLOCKS_PER_HOST} blocks, so one with many pods needs larger ones (a smaller blockSize)"
                ),
            });
        }
        self.diagnostics
    }
}

fn pool_list(pools: &[IpPool]) -> String {
    let list: Vec<String> = pools.iter().map(|pool| format!("pool `{}` {}", pool.name, pool.cidr)).collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{self, Lab};
    use crate::topology::Selector;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn assign_all(topology: &Topology) -> Result<Assignment, Vec<Diagnostic>> {
        assign(topology)
    }

    fn codes(result: Result<Assignment, Vec<Diagnostic>>) -> Vec<&'static str> {
        result.unwrap_err().iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn blocks_are_those_of_the_real_clusters() {
        for (pool, size, node, block) in [
            ("10.244.0.0/16", 26, "calico-bgp-fullmesh-control-plane", "10.244.140.128/26"),
            ("10.244.0.0/16", 26, "calico-bgp-fullmesh-worker", "10.244.83.128/26"),
            ("10.244.0.0/16", 26, "calico-bgp-fullmesh-worker2", "10.244.73.64/26"),
            ("10.244.0.0/16", 26, "master1.wang.org", "10.244.53.64/26"),
            ("10.244.0.0/16", 26, "node1.wang.org", "10.244.101.128/26"),
            ("10.244.0.0/16", 26, "node2.wang.org", "10.244.36.0/26"),
            ("10.244.0.0/16", 26, "node3.wang.org", "10.244.168.192/26"),
            ("10.244.0.0/16", 24, "master1.wang.org", "10.244.213.0/24"),
            ("10.244.0.0/16", 24, "node1.wang.org", "10.244.23.0/24"),
            ("10.244.0.0/16", 24, "node2.wang.org", "10.244.144.0/24"),
            ("10.244.0.0/16", 24, "node3.wang.org", "10.244.163.0/24"),
            ("192.168.0.0/16", 24, "master1.wang.org", "192.168.213.0/24"),
            ("192.168.0.0/16", 24, "master2.wang.org", "192.168.25.0/24"),
            ("192.168.0.0/16", 24, "master3.wang.org", "192.168.216.0/24"),
            ("192.168.0.0/16", 24, "node1.wang.org", "192.168.23.0/24"),
            ("192.168.0.0/16", 24, "node2.wang.org", "192.168.144.0/24"),
            ("192.168.0.0/16", 24, "node3.wang.org", "192.168.163.0/24"),
        ] {
            assert_eq!(block_of(net(pool), size, node), Some(net(block)), "{node} in {pool}");
        }
    }

    #[test]
    fn a_block_that_does_not_fit_its_pool_is_none() {
        assert_eq!(block_of(net("10.0.0.0/24"), 20, "a"), None);
        assert_eq!(block_of(net("10.0.0.0/24"), 33, "a"), None);
        assert_eq!(block_of(net("10.0.0.0/24"), 24, "a"), Some(net("10.0.0.0/24")));
        assert!(block_of(net("0.0.0.0/0"), 32, "a").is_some());
    }

    #[test]
    fn cluster_a_gets_its_addresses() {
        let assignment = assign_all(&testing::cluster_a()).unwrap();
        let blocks: Vec<_> = assignment.nodes.iter().map(|node| node.blocks.clone()).collect();
        assert_eq!(blocks, [[net("10.244.140.128/26")], [net("10.244.83.128/26")], [net("10.244.73.64/26")]]);
        let pods = ["140.128", "140.129", "140.130", "140.131", "140.132", "83.128", "73.64"];
        assert_eq!(assignment.pods, pods.map(|tail| ip(&format!("10.244.{tail}"))));
    }

    #[test]
    fn a_node_without_pods_has_no_block_in_plain_bgp() {
        let topology = Lab::new("lab").node("a", "10.0.0.1/24").node("b", "10.0.0.2/24").pod("p", "b").topology();
        let assignment = assign_all(&topology).unwrap();
        assert_eq!(assignment.nodes[0], NodeAssignment::default());
        assert_eq!(assignment.nodes[1].blocks.len(), 1);
    }

    #[test]
    fn a_tunnel_address_is_ordinal_0_and_pods_start_at_1() {
        let mut topology =
            Lab::new("lab").node("node1.wang.org", "10.0.0.201/24").pod("p", "node1.wang.org").topology();
        topology.pools[0].ipip_mode = EncapMode::Always;
        let assignment = assign_all(&topology).unwrap();
        assert_eq!(assignment.nodes[0].ipip_tunnel, Some(ip("10.244.101.128")));
        assert_eq!(assignment.nodes[0].vxlan_tunnel, None);
        assert_eq!(assignment.pods, [ip("10.244.101.129")]);
    }

    #[test]
    fn pinned_pods_come_before_the_others_and_claim_or_borrow() {
        let topology = Lab::new("lab")
            .node("calico-bgp-fullmesh-control-plane", "172.18.0.2/16")
            .node("calico-bgp-fullmesh-worker", "172.18.0.4/16")
            .pod("free", "calico-bgp-fullmesh-control-plane")
            .pinned("first", "calico-bgp-fullmesh-control-plane", "10.244.140.128")
            .pinned("claims", "calico-bgp-fullmesh-worker", "10.244.1.7")
            .pinned("borrows", "calico-bgp-fullmesh-worker", "10.244.140.140")
            .topology();
        let assignment = assign_all(&topology).unwrap();
        assert_eq!(assignment.pods[0], ip("10.244.140.129"));
        assert_eq!(assignment.nodes[0].blocks, [net("10.244.140.128/26")]);
        assert_eq!(assignment.nodes[1].blocks, [net("10.244.1.0/26")]);
    }

    #[test]
    fn the_walk_wraps_around_and_then_borrows() {
        let pool = net("10.9.0.0/25");
        let mut topology = Lab::new("lab")
            .node("a", "10.0.0.1/24")
            .node("b", "10.0.0.2/24")
            .node("c", "10.0.0.3/24")
            .pod("pa", "a")
            .pod("pb", "b")
            .pod("pc", "c")
            .topology();
        topology.pools[0].cidr = pool;
        let assignment = assign_all(&topology).unwrap();
        let first = |name| block_of(pool, 26, name).unwrap();
        assert_eq!(assignment.nodes[0].blocks, [first("a")]);
        assert_ne!(assignment.nodes[0].blocks, assignment.nodes[1].blocks);
        assert_eq!(assignment.nodes[2].blocks, []);
        assert!(first("c").contains(&assignment.pods[2]), "borrowing begins where the node's own walk begins");
    }

    #[test]
    fn pools_are_tried_in_order_and_only_where_they_select_the_node() {
        let mut topology = Lab::new("lab").node("a", "10.0.0.1/24").node("b", "10.0.0.2/24").topology();
        topology.pools[0].cidr = net("10.1.0.0/30");
        topology.pools[0].block_size = 30;
        let mut second = topology.pools[0].clone();
        (second.name, second.cidr) = ("second".into(), net("10.2.0.0/24"));
        topology.pools.push(second);
        topology.pools[0].node_selector = Selector::parse("first == 'yes'").unwrap();
        topology.nodes[0].labels.insert("first".into(), "yes".into());
        let with_pods = Lab::from(topology).pods("a", 5).pods("b", 1).topology();
        let assignment = assign(&with_pods).unwrap();
        assert_eq!(assignment.nodes[0].blocks[0], net("10.1.0.0/30"));
        assert!(net("10.2.0.0/24").contains(&assignment.pods[4]));
        assert!(net("10.2.0.0/24").contains(&assignment.pods[5]));
    }

    #[test]
    fn a_node_claims_at_most_twenty_blocks_and_then_borrows() {
        let mut topology = Lab::new("lab").node("a", "10.0.0.1/24").node("b", "10.0.0.2/24").topology();
        topology.pools[0].block_size = 32;
        let crowded = Lab::from(topology.clone()).pods("a", 20).topology();
        assert_eq!(assign_all(&crowded).unwrap().nodes[0].blocks.len(), 20);
        let too_many = Lab::from(topology).pods("a", 21).topology();
        assert_eq!(codes(assign_all(&too_many)), ["pool-too-small"]);
    }

    #[test]
    fn a_released_address_is_the_last_to_be_used_again() {
        let topology = Lab::new("lab").node("a", "10.0.0.1/24").topology();
        let mut allocator = Allocator::new(&topology.pools);
        let host = Host { id: NodeId(0), name: "a" };
        let next = |allocator: &mut Allocator| allocator.auto_assign(host, &[0]).unwrap();
        let first = next(&mut allocator);
        allocator.release(first);
        allocator.release(first);
        let rest: Vec<_> = (0..64).map(|_| next(&mut allocator)).collect();
        assert_eq!(rest.last(), Some(&first));
        assert_eq!(rest.iter().collect::<BTreeSet<_>>().len(), 64);
        assert_eq!(allocator.blocks_of(NodeId(0)).len(), 1);
    }

    #[test]
    fn every_address_that_cannot_be_had_is_reported() {
        let mut topology = Lab::new("lab")
            .node("a", "10.0.0.1/24")
            .pods("a", 6)
            .pinned("outside", "a", "1.2.3.4")
            .pinned("one", "a", "10.1.0.1")
            .pinned("two", "a", "10.1.0.1")
            .topology();
        topology.pools[0].cidr = net("10.1.0.0/30");
        topology.pools[0].block_size = 30;
        topology.pools[0].span = 10..20;
        let diagnostics = assign_all(&topology).unwrap_err();
        let codes: Vec<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, ["pinned-address-outside-pools", "pinned-address-taken", "pool-too-small"]);
        assert_eq!(diagnostics[2].span, 10..20);
        assert_eq!(
            diagnostics[2].message,
            "no address is left for pod `a-pod4` and 2 more: pool `default-ipv4-ippool` 10.1.0.0/30 has 4 addresses in \
             all, in blocks that each belong to one node"
        );
    }

    #[test]
    fn a_node_that_no_pool_selects_is_reported_once() {
        let mut topology = Lab::new("lab").node("a", "10.0.0.1/24").pods("a", 3).topology();
        topology.pools[0].node_selector = Selector::parse("has(nothing)").unwrap();
        assert_eq!(codes(assign(&topology)), ["no-pool-for-node"]);
    }
}
