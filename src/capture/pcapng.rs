//! Writing pcapng: every interface of a capture in one file.
//!
//! Wireshark reads any such file. tcpdump and everything else built on libpcap refuses one whose interfaces have different
//! link types (`tunl0` is raw IP, veth is Ethernet): [`Writer::has_mixed_link_types`] tells.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::time::UNIX_EPOCH;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};

use super::Captured;
use super::tap::SNAP_LENGTH;
use crate::packet::{Direction, LinkType};

/// When written packets become visible to whoever reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// After every packet: for a pipe that someone watches.
    EachPacket,
    /// As the buffer fills: for a file.
    WhenFull,
}

/// An interface of a file, from [`Writer::add_interface`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceId(u32);

/// Writes one pcapng file, or stream, in the byte order of this machine and with nanoseconds.
pub struct Writer<W: Write> {
    blocks: PcapNgWriter<BufWriter<W>>,
    links: Vec<LinkType>,
    flush: Flush,
}

impl<W: Write> Writer<W> {
    /// Begins the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, flush: Flush) -> io::Result<Self> {
        let blocks = PcapNgWriter::new(BufWriter::new(out)).map_err(io_error)?;
        Ok(Self { blocks, links: Vec::new(), flush })
    }

    /// Adds an interface, named as it is to be shown (`node1:eth0`). May be called at any time before its first packet.
    ///
    /// # Errors
    /// Those of the output.
    pub fn add_interface(&mut self, name: &str, link: LinkType) -> io::Result<InterfaceId> {
        let linktype = match link {
            LinkType::Ethernet => DataLink::ETHERNET,
            LinkType::Raw => DataLink::RAW,
        };
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ];
        // One snap length for all: libpcap refuses a file in which they differ.
        let block = InterfaceDescriptionBlock { linktype, snaplen: SNAP_LENGTH as u32, options };
        self.blocks.write_pcapng_block(block).map_err(io_error)?;
        self.links.push(link);
        Ok(InterfaceId(self.links.len() as u32 - 1))
    }

    /// Appends a frame that was heard on `interface`; `frame.interface`, which counts within one tap, does not matter here.
    ///
    /// # Errors
    /// Those of the output; the file must not be written to after one.
    pub fn write(&mut self, interface: InterfaceId, frame: &Captured) -> io::Result<()> {
        // epb_flags, bits 0 and 1: 1 inbound, 2 outbound.
        let direction = match frame.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        let block = EnhancedPacketBlock {
            interface_id: interface.0,
            timestamp: frame.timestamp.duration_since(UNIX_EPOCH).unwrap_or_default(),
            original_len: u32::try_from(frame.original_len).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&frame.bytes),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        self.blocks.write_pcapng_block(block).map_err(io_error)?;
        match self.flush {
            Flush::EachPacket => self.flush(),
            Flush::WhenFull => Ok(()),
        }
    }

    /// Hands everything written so far to the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocks.get_mut().flush()
    }

    /// Whether the file has interfaces of more than one link type, and so cannot be read by tcpdump.
    pub fn has_mixed_link_types(&self) -> bool {
        self.links.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// Ends the file and gives back the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        self.blocks.into_inner().into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Keeps the kind of an error of the output: a reader that has gone (`BrokenPipe`) is no failure of ours. (The library does not
/// export the type of its error.)
fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let kind = error.source().and_then(|source| source.downcast_ref()).map(io::Error::kind);
    io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn frame(direction: Direction, nanos: u32, bytes: &[u8], original_len: usize) -> Captured {
        let timestamp = UNIX_EPOCH + Duration::new(1_700_000_000, nanos);
        Captured { interface: 7, direction, timestamp, bytes: bytes.to_vec(), original_len }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let mut writer = Writer::new(Vec::new(), Flush::WhenFull).unwrap();
        let eth0 = writer.add_interface("node1:eth0", LinkType::Ethernet).unwrap();
        writer.write(eth0, &frame(Direction::Out, 123_456_789, &[1; 61], 1514)).unwrap();
        assert!(!writer.has_mixed_link_types());
        let tunl0 = writer.add_interface("node1:tunl0", LinkType::Raw).unwrap();
        writer.write(tunl0, &frame(Direction::In, 1, &[2; 20], 20)).unwrap();
        assert!(writer.has_mixed_link_types());
        let file = writer.finish().unwrap();

        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let mut read = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap().0 {
                Block::InterfaceDescription(block) => {
                    let InterfaceDescriptionOption::IfName(name) = &block.options[0] else { panic!("no name") };
                    read.push(format!("{name} {:?} {:?}", block.linktype, block.ts_resolution().resolution()));
                }
                Block::EnhancedPacket(block) => read.push(format!(
                    "{} {:?} {}/{} {:?}",
                    block.interface_id,
                    block.timestamp,
                    block.data.len(),
                    block.original_len,
                    block.options
                )),
                other => panic!("unexpected {other:?}"),
            }
        }
        let expected = [
            "node1:eth0 ETHERNET 9",
            "0 1700000000.123456789s 61/1514 [Flags(2)]",
            "node1:tunl0 RAW 9",
            "1 1700000000.000000001s 20/20 [Flags(1)]",
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_reader_that_has_gone_is_told_apart_from_a_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = Writer::new(Gone, Flush::EachPacket).unwrap();
        let eth0 = writer.add_interface("node1:eth0", LinkType::Ethernet).unwrap();
        let error = writer.write(eth0, &frame(Direction::In, 0, &[0; 14], 14)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
