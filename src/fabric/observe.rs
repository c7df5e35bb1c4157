//! Reads a namespace back: links, routes, neighbours and forwarding entries as values of the vocabulary.
//!
//! Each function opens a socket in the namespace, dumps, and closes it: some ten microseconds, and a millisecond for a
//! thousand routes. Nothing is cached, nothing is changed.

use std::io;

use rtnetlink::packet_route::AddressFamily;

use super::netlink::decode::{self, Names, RawLink};
use super::netlink::encode;
use super::netlink::socket::RouteSocket;
use super::netns::Netns;
use crate::bgp::KernelSnapshot;
use crate::bgp::wire::Family;
use crate::net::{FdbEntry, IfName, Link, Neighbour, Route};

/// One namespace, as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Links in the order of their index.
    pub links: Vec<Link>,
    /// IPv4 routes of table main in the order of `ip route`.
    pub routes: Vec<Route>,
    /// Neighbours as `ip neigh` shows them, both address families.
    pub neighbours: Vec<Neighbour>,
    /// Forwarding entries as `bridge fdb` shows them.
    pub fdb: Vec<FdbEntry>,
}

/// Everything of [`Observed`].
///
/// # Errors
/// The namespace cannot be entered, or the kernel refuses a dump.
pub fn observe(netns: &Netns) -> io::Result<Observed> {
    let mut socket = RouteSocket::open(netns)?;
    let links = dump_links(&mut socket)?;
    let names = names(&links);
    Ok(Observed {
        routes: dump_routes(&mut socket, &names)?,
        neighbours: dump_neighbours(&mut socket, &names)?,
        fdb: dump_fdb(&mut socket, &names)?,
        links: finish(&mut socket, links, &names)?,
    })
}

/// Only the links, with their addresses.
///
/// # Errors
/// As [`observe`].
pub fn links(netns: &Netns) -> io::Result<Vec<Link>> {
    let mut socket = RouteSocket::open(netns)?;
    let links = dump_links(&mut socket)?;
    let names = names(&links);
    finish(&mut socket, links, &names)
}

/// How many packets the link `name` dropped that were to be sent on it, since it exists.
///
/// # Errors
/// As [`observe`], and there is no such link.
pub fn dropped(netns: &Netns, name: &IfName) -> io::Result<u64> {
    let mut socket = RouteSocket::open(netns)?;
    let counted = socket.dump(&encode::get_links_with_statistics(), decode::dropped)?;
    let found = counted.into_iter().find(|(link, _)| link == name);
    found.map(|(_, dropped)| dropped).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Only the IPv4 routes of table main, in the order of `ip route`.
///
/// # Errors
/// As [`observe`].
pub fn routes(netns: &Netns) -> io::Result<Vec<Route>> {
    let mut socket = RouteSocket::open(netns)?;
    let names = names(&dump_links(&mut socket)?);
    dump_routes(&mut socket, &names)
}

/// Only the neighbours.
///
/// # Errors
/// As [`observe`].
pub fn neighbours(netns: &Netns) -> io::Result<Vec<Neighbour>> {
    let mut socket = RouteSocket::open(netns)?;
    let names = names(&dump_links(&mut socket)?);
    dump_neighbours(&mut socket, &names)
}

/// Only the forwarding entries.
///
/// # Errors
/// As [`observe`].
pub fn fdb(netns: &Netns) -> io::Result<Vec<FdbEntry>> {
    let mut socket = RouteSocket::open(netns)?;
    let names = names(&dump_links(&mut socket)?);
    dump_fdb(&mut socket, &names)
}

/// What a speaker of `family` sees of its namespace: interfaces that are up, and the whole of table main.
///
/// # Errors
/// As [`observe`].
pub fn snapshot(netns: &Netns, family: Family) -> io::Result<KernelSnapshot> {
    let socket = &mut RouteSocket::open(netns)?;
    let links = dump_links(socket)?;
    let names = names(&links);
    let family = match family {
        Family::Ipv4Unicast => AddressFamily::Inet,
        Family::Ipv6Unicast => AddressFamily::Inet6,
    };
    let routes = socket.dump(&encode::get_routes(family), |message| decode::route(message, &names))?;
    let up = finish(socket, links, &names)?.into_iter().filter(|link| link.up);
    Ok(KernelSnapshot { interfaces: up.map(|link| (link.name, link.addresses)).collect(), routes })
}

fn dump_links(socket: &mut RouteSocket) -> io::Result<Vec<RawLink>> {
    socket.dump(&encode::get_links(), decode::link)
}

fn names(links: &[RawLink]) -> Names {
    links.iter().map(|raw| (raw.link.index, raw.link.name.clone())).collect()
}

/// Resolves masters and adds the addresses.
fn finish(socket: &mut RouteSocket, links: Vec<RawLink>, names: &Names) -> io::Result<Vec<Link>> {
    let addresses = socket.dump(&encode::get_addresses(), decode::address)?;
    let mut links: Vec<Link> = links
        .into_iter()
        .map(|RawLink { link, master, .. }| Link {
            master: master.and_then(|index| names.get(&index).cloned()),
            addresses: addresses.iter().filter(|(index, _)| *index == link.index).map(|(_, net)| *net).collect(),
            ..link
        })
        .collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

pub(super) fn dump_routes(socket: &mut RouteSocket, names: &Names) -> io::Result<Vec<Route>> {
    socket.dump(&encode::get_routes(AddressFamily::Inet), |message| decode::route(message, names))
}

fn dump_neighbours(socket: &mut RouteSocket, names: &Names) -> io::Result<Vec<Neighbour>> {
    let families = [AddressFamily::Inet, AddressFamily::Inet6];
    let mut found = Vec::new();
    for family in families {
        found.extend(socket.dump(&encode::get_neighbours(family), |message| decode::neighbour(message, names))?);
    }
    Ok(found)
}

fn dump_fdb(socket: &mut RouteSocket, names: &Names) -> io::Result<Vec<FdbEntry>> {
    let request = encode::get_neighbours(AddressFamily::Bridge);
    socket.dump(&request, |message| decode::fdb_entry(message, names))
}
