//! Hearing what crosses the interfaces of a namespace: one packet socket (packet(7)) for all of them.
//!
//! The socket is opened inside the namespace and read from the runtime, as every socket here is. It is not bound to an
//! interface: one socket hears all, and a socket filter keeps to those that were asked for.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::SystemTime;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, getsockopt, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{SockFilter, SockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::stamps::{self, system_time};
use crate::fabric::netns::Netns;
use crate::net::{IfName, NetnsName};
use crate::packet::{Direction, LinkType};

/// One frame as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Which of [`Tap::interfaces`].
    pub interface: usize,
    /// Which way it went.
    pub direction: Direction,
    /// When it passed, by the kernel's clock, to the nanosecond: what is earlier on one interface than on another was there first.
    pub timestamp: SystemTime,
    /// Its bytes, from the link-layer header of the interface on.
    pub bytes: Vec<u8>,
    /// Its length in bytes on the wire; at least that of `bytes`.
    pub original_len: usize,
}

/// An interface that a [`Tap`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the namespace.
    pub name: IfName,
    /// What its frames begin with.
    pub link: LinkType,
}

/// Why nothing can be heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The namespace has no such interface.
    #[error("capture on {interface} in netns {netns}: there is no such interface; it has {present}")]
    NoInterface {
        /// The namespace.
        netns: NetnsName,
        /// The interface asked for.
        interface: IfName,
        /// Those that there are, with commas.
        present: String,
    },
    /// A call failed.
    #[error("open a packet socket in netns {netns}")]
    Io {
        /// The namespace.
        netns: NetnsName,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// A packet socket that hears some interfaces of one namespace, from the moment it exists.
///
/// Frames wait in the kernel (up to about 32 MiB of them) until they are read; [`Tap::dropped`] says whether that was too
/// little. Every frame that crosses an interface is heard once, in whatever direction; on the loopback interface, where each
/// would be heard twice, only as it comes in.
#[derive(Debug)]
pub struct Tap {
    /// The packet socket. To tokio any datagram socket is a `UdpSocket`: it does nothing with it but wait.
    socket: UdpSocket,
    interfaces: Vec<Interface>,
    reader: Reader,
    dropped: u64,
}

impl Tap {
    /// Opens a tap on `interfaces` of `netns`; the name `any` stands for all that the namespace has at this moment. Once this
    /// returns, everything that is sent is heard. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// An interface does not exist, or the socket cannot be opened (it takes CAP_NET_RAW).
    pub fn open(netns: &Netns, interfaces: &[IfName]) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Io { netns: netns.name().clone(), source };
        stamps::keep_on(netns).map_err(failed)?;
        let wanted = interfaces.to_vec();
        let opened = netns.run(move || open_socket(&wanted)).and_then(|outcome| outcome).map_err(failed)?;
        let (socket, chosen) = opened.map_err(|Missing { interface, present }| CaptureError::NoInterface {
            netns: netns.name().clone(),
            interface,
            present,
        })?;
        let mut reader = Reader {
            places: BTreeMap::new(),
            buffer: vec![0; SNAP_LENGTH].into_boxed_slice(),
            control: nix::cmsg_space!(TimeSpec),
        };
        let mut interfaces = Vec::with_capacity(chosen.len());
        for (place, device) in chosen.into_iter().enumerate() {
            reader.places.insert(device.index, Place { interface: place, loopback: device.loopback });
            interfaces.push(device.interface);
        }
        let socket = UdpSocket::from_std(socket.into()).map_err(failed)?;
        Ok(Self { socket, interfaces, reader, dropped: 0 })
    }

    /// What is heard, in the order asked for (`any`: in the kernel's).
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The next frame. Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// The kernel's, from reading the socket.
    pub async fn next(&mut self) -> io::Result<Captured> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || self.reader.read(&self.socket)) {
                Ok(Some(captured)) => return Ok(captured),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame that has been heard already; `None` if there is none left. After an exchange is over, this drains all
    /// of it without waiting.
    ///
    /// # Errors
    /// The kernel's, from reading the socket.
    pub fn try_next(&mut self) -> io::Result<Option<Captured>> {
        loop {
            match self.reader.read(&self.socket) {
                Ok(None) => {}
                Ok(captured) => return Ok(captured),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Hears nothing more from now on; what it has heard can still be read.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stop(&self) -> io::Result<()> {
        let nothing = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
        SockRef::from(&self.socket).attach_filter(&[nothing])
    }

    /// How many frames the kernel dropped since the tap was opened because they were not read in time.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dropped(&mut self) -> io::Result<u64> {
        // Reading PACKET_STATISTICS sets the kernel's counters back to zero.
        let statistics = getsockopt(&self.socket, option::PacketStatistics)?;
        self.dropped += u64::from(statistics.tp_drops);
        Ok(self.dropped)
    }
}

/// The longest part of a frame that is kept: more than any frame has, even one that segmentation offload left whole.
pub(super) const SNAP_LENGTH: usize = 1 << 17;

/// What the kernel keeps until it is read. A frame of 1500 bytes is charged for with about 2.3 kB, a small one with 0.8 kB:
/// more than a second at 10,000 frames a second.
const BUFFER_LENGTH: usize = 32 << 20;

/// More interfaces than this are picked out in user space: a socket filter has at most 4,096 instructions.
const MAX_FILTERED: usize = 1000;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const PACKET_OUTGOING: u8 = 4;

mod option {
    use nix::{getsockopt_impl, libc, sockopt_impl};

    sockopt_impl!(
        /// PACKET_STATISTICS (packet(7)): frames heard and dropped since it was last read.
        PacketStatistics,
        GetOnly,
        libc::SOL_PACKET,
        libc::PACKET_STATISTICS,
        libc::tpacket_stats
    );
}

/// A device of the namespace, as needed to open a tap.
struct Device {
    index: usize,
    interface: Interface,
    loopback: bool,
}

struct Missing {
    interface: IfName,
    present: String,
}

/// Runs inside the namespace.
fn open_socket(wanted: &[IfName]) -> io::Result<Result<(OwnedFd, Vec<Device>), Missing>> {
    let chosen = match choose(wanted, devices()?) {
        Ok(chosen) => chosen,
        Err(missing) => return Ok(Err(missing)),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_LENGTH)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    if chosen.len() <= MAX_FILTERED {
        let instruction = |(code, jt, jf, k)| SockFilter::new(code, jt, jf, k);
        let program: Vec<_> = interface_filter(&chosen).into_iter().map(instruction).collect();
        SockRef::from(&socket).attach_filter(&program)?;
    }
    Ok(Ok((socket, chosen)))
}

/// The devices of the calling thread's namespace. A device without a link-layer address (TUN) has no AF_PACKET entry with one:
/// its frames begin with an IP header.
fn devices() -> io::Result<Vec<Device>> {
    let mut found: Vec<Device> = Vec::new();
    for entry in getifaddrs()? {
        let Ok(name) = IfName::new(&entry.interface_name) else { continue };
        let hardware = entry.address.as_ref().and_then(|address| address.as_link_addr()).map(LinkAddr::hatype);
        let link = match hardware {
            Some(ARPHRD_ETHER | ARPHRD_LOOPBACK) => LinkType::Ethernet,
            _ => LinkType::Raw,
        };
        // glibc lists every device once by itself, before any of its IP addresses.
        if found.iter().any(|device| device.interface.name == name) {
            continue;
        }
        let index = nix::net::if_::if_nametoindex(name.as_str())? as usize;
        let loopback = hardware == Some(ARPHRD_LOOPBACK);
        found.push(Device { index, interface: Interface { name, link }, loopback });
    }
    Ok(found)
}

fn choose(wanted: &[IfName], mut devices: Vec<Device>) -> Result<Vec<Device>, Missing> {
    let mut chosen = Vec::new();
    for name in wanted {
        if name.as_str() == "any" && !devices.iter().any(|device| device.interface.name == *name) {
            chosen.append(&mut devices);
            break;
        }
        match devices.iter().position(|device| device.interface.name == *name) {
            Some(at) => chosen.push(devices.remove(at)),
            // Named twice is heard once.
            None if chosen.iter().any(|device: &Device| device.interface.name == *name) => {}
            None => {
                let names: Vec<_> =
                    chosen.iter().chain(&devices).map(|device| device.interface.name.as_str()).collect();
                return Err(Missing { interface: name.clone(), present: names.join(", ") });
            }
        }
    }
    Ok(chosen)
}

/// A classic BPF program that keeps the frames of `devices` whole and drops all others, so that a busy neighbour interface does
/// not fill the buffer: code, jump if true, jump if false, operand.
fn interface_filter(devices: &[Device]) -> Vec<(u16, u8, u8, u32)> {
    let instruction = |code: u32, jt, jf, k| (code as u16, jt, jf, k);
    let index = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, index)];
    for device in devices {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, device.index as u32));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    program
}

#[derive(Clone, Copy, Debug)]
struct Place {
    interface: usize,
    loopback: bool,
}

#[derive(Debug)]
struct Reader {
    /// By interface index.
    places: BTreeMap<usize, Place>,
    buffer: Box<[u8]>,
    control: Vec<u8>,
}

impl Reader {
    /// Reads one frame; `None` if it is one that nobody asked for.
    fn read(&mut self, socket: &UdpSocket) -> io::Result<Option<Captured>> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        // With MSG_TRUNC the length is that of the frame, not that of what fitted into the buffer.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut self.control), flags)?;
        let original_len = message.bytes;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(system_time(at)),
            _ => None,
        });
        let Some(address) = message.address else { return Ok(None) };
        let Some(place) = self.places.get(&address.ifindex()) else { return Ok(None) };
        let direction = match address.pkttype() {
            PACKET_OUTGOING => Direction::Out,
            _ => Direction::In,
        };
        if place.loopback && direction == Direction::Out {
            return Ok(None);
        }
        let timestamp = stamp.ok_or_else(|| io::Error::other("a frame came without its timestamp"))?;
        let interface = place.interface;
        let bytes = self.buffer[..original_len.min(SNAP_LENGTH)].to_vec();
        Ok(Some(Captured { interface, direction, timestamp, bytes, original_len }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> Vec<Device> {
        let device = |(index, name): (usize, &&str)| Device {
            index: index + 1,
            interface: Interface { name: IfName::new(name).unwrap(), link: LinkType::Ethernet },
            loopback: *name == "lo",
        };
        names.iter().enumerate().map(device).collect()
    }

    fn chosen(wanted: &[&str], present: &[&str]) -> Result<Vec<usize>, String> {
        let wanted: Vec<_> = wanted.iter().map(|name| IfName::new(name).unwrap()).collect();
        match choose(&wanted, devices(present)) {
            Ok(chosen) => Ok(chosen.iter().map(|device| device.index).collect()),
            Err(missing) => Err(format!("{} not in {}", missing.interface, missing.present)),
        }
    }

    #[test]
    fn interfaces_are_chosen_by_name_in_the_order_asked_for() {
        assert_eq!(chosen(&["eth1", "lo"], &["lo", "eth0", "eth1"]), Ok(vec![3, 1]));
        assert_eq!(chosen(&["eth1", "eth1"], &["lo", "eth1"]), Ok(vec![2]));
        assert_eq!(chosen(&["eth1", "any"], &["lo", "eth0", "eth1"]), Ok(vec![3, 1, 2]));
        assert_eq!(chosen(&["any"], &["lo", "any"]), Ok(vec![2]));
        assert_eq!(chosen(&["eth9"], &["lo", "eth0"]), Err("eth9 not in lo, eth0".into()));
    }

    #[test]
    fn the_socket_filter_accepts_each_interface_and_nothing_else() {
        let program = interface_filter(&devices(&["lo", "eth0"]));
        let expected = [
            (0x20, 0, 0, 0xffff_f008),
            (0x15, 0, 1, 1),
            (0x06, 0, 0, u32::MAX),
            (0x15, 0, 1, 2),
            (0x06, 0, 0, u32::MAX),
            (0x06, 0, 0, 0),
        ];
        assert_eq!(program, expected);
    }
}
