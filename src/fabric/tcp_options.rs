//! Socket options of BGP sessions that neither `socket2` nor `nix` has: TCP MD5 signatures and the least TTL that is taken. With
//! `pidfd` and `spawn` the only `unsafe` of this folder.

#![expect(unsafe_code, reason = "TCP_MD5SIG and IP_MINTTL have no safe wrapper in nix 0.31 and socket2 0.6")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc;
use socket2::{Domain, SockRef};

/// Longest key (TCP_MD5SIG_MAXKEYLEN).
const KEY_MAX: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: i32,
    key: [u8; KEY_MAX],
}

/// Has segments to and from `peer` signed with `key` (RFC 2385): on a listener, those of connections to be accepted too. What comes
/// from `peer` without the right signature is dropped unseen.
///
/// # Errors
/// The kernel's; `InvalidInput` for a key longer than 80 bytes.
pub(super) fn set_md5_key(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.len() > KEY_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a TCP MD5 key has at most 80 bytes"));
    }
    let address = socket2::SockAddr::from(std::net::SocketAddr::new(peer, 0));
    let mut option = TcpMd5Sig {
        // SAFETY: all zeroes is a valid `sockaddr_storage`: it is plain old data.
        address: unsafe { std::mem::zeroed() },
        flags: 0,
        prefix_len: 0,
        key_len: key.len() as u16,
        ifindex: 0,
        key: [0; KEY_MAX],
    };
    option.key[..key.len()].copy_from_slice(key);
    // SAFETY: `address` is as large as any socket address, and the source is valid for the length that it says.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut option.address).cast::<u8>(),
            address.len() as usize,
        );
    }
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option)
}

/// Has packets with a lower TTL than `least`, in IPv6 with a lower hop limit, dropped unseen (RFC 5082).
///
/// # Errors
/// The kernel's.
pub(super) fn set_least_ttl(socket: &impl AsFd, least: u8) -> io::Result<()> {
    /// linux/in6.h; not in libc 0.2.
    const IPV6_MINHOPCOUNT: i32 = 73;
    let (level, name) = match is_v6(socket)? {
        true => (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT),
        false => (libc::IPPROTO_IP, libc::IP_MINTTL),
    };
    set(socket, level, name, &i32::from(least))
}

/// Has packets go out with this TTL, in IPv6 with this hop limit.
///
/// # Errors
/// The kernel's.
pub(super) fn set_ttl(socket: &impl AsFd, ttl: u32) -> io::Result<()> {
    match is_v6(socket)? {
        true => SockRef::from(socket).set_unicast_hops_v6(ttl),
        false => SockRef::from(socket).set_ttl_v4(ttl),
    }
}

fn is_v6(socket: &impl AsFd) -> io::Result<bool> {
    Ok(SockRef::from(socket).domain()? == Domain::IPV6)
}

fn set<T>(socket: &impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `value` is a live reference to as many bytes as `length` says, which the kernel copies before it returns.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) };
    nix::errno::Errno::result(result).map(drop).map_err(io::Error::from)
}
