//! The addresses, networks and words of the two families.

/// Who announces what in one address family.
pub(super) struct Addressing {
    /// As the daemons write it.
    pub(super) family: &'static str,
    /// As our sessions show it.
    pub(super) unicast: &'static str,
    pub(super) us: &'static str,
    pub(super) them: &'static str,
    pub(super) ours: &'static str,
    pub(super) theirs: &'static str,
    /// Theirs, with communities.
    pub(super) tagged: &'static str,
    /// tshark's names of an announced and of a withdrawn prefix.
    pub(super) nlri: &'static str,
    pub(super) withdrawn: &'static str,
}

pub(super) const IPV4: Addressing = Addressing {
    family: "ipv4",
    unicast: "IPv4 unicast",
    us: "10.7.0.1",
    them: "10.7.0.2",
    ours: "10.8.1.0/24",
    theirs: "10.9.1.0/24",
    tagged: "10.9.2.0/24",
    nlri: "bgp.nlri_prefix",
    withdrawn: "bgp.withdrawn_prefix",
};

pub(super) const IPV6: Addressing = Addressing {
    family: "ipv6",
    unicast: "IPv6 unicast",
    us: "fd00:7::1",
    them: "fd00:7::2",
    ours: "fd00:8:1::/48",
    theirs: "fd00:9:1::/48",
    tagged: "fd00:9:2::/48",
    nlri: "bgp.mp_reach_nlri_ipv6_prefix",
    withdrawn: "bgp.mp_unreach_nlri_ipv6_prefix",
};

/// Those of IPv4, which is what most rows are about.
pub(super) const OURS: &str = IPV4.ours;
pub(super) const THEIRS: &str = IPV4.theirs;
pub(super) const TAGGED: &str = IPV4.tagged;

/// `prefix` without its length: so tshark shows it.
pub(super) fn network(prefix: &str) -> &str {
    prefix.split('/').next().unwrap()
}
