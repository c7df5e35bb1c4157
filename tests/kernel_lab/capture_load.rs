//! `lab capture` at speed: at 10,000 packets a second nothing is lost, and what a reader that is too slow loses is counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use lab::fabric::Netns;
use lab::net::NetnsName;
use nix::sys::signal::Signal;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::host::{Ended, LAB, Running, TestLab, command, host};

const PORT: u16 = 9999;

/// It follows from the node's name; here it is read off the lab.
fn address_of(mesh: &TestLab, pod: &str) -> Ipv4Addr {
    let text = mesh.inside(pod, "ip -4 -o address show dev eth0");
    let net = text.split_whitespace().nth(3).unwrap();
    net.split('/').next().unwrap().parse().unwrap()
}

fn socket_in(mesh: &TestLab, pod: &str, port: u16) -> UdpSocket {
    let netns = Netns::open(&NetnsName::new(&mesh.netns(pod)).unwrap()).unwrap();
    netns.run(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap()
}

/// Packets captured, and dropped by the kernel, as the verb says at its end.
#[track_caller]
fn counted(capture: &Ended) -> (u64, u64) {
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    let last = capture.stderr.lines().last().unwrap();
    let numbers: Vec<u64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert_eq!(last, format!("{} packets captured, {} dropped by the kernel", numbers[0], numbers[1]));
    (numbers[0], numbers[1])
}

/// The numbers that the datagrams of a file carry, by interface, in the file's order.
fn numbers(file: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut reader = PcapNgReader::new(File::open(file).unwrap()).unwrap();
    let mut names = Vec::new();
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap().0 {
            Block::InterfaceDescription(block) => names.push(format!("{:?}", block.options[0])),
            Block::EnhancedPacket(block) => {
                // Ethernet, IPv4 and UDP take 42 bytes.
                let number = u32::from_be_bytes(block.data[42..46].try_into().unwrap());
                found.entry(names[block.interface_id as usize].clone()).or_default().push(number);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn at_10_000_packets_a_second_no_frame_of_four_interfaces_is_lost() {
    let Some(_host) = host() else { return };
    if std::fs::read_to_string("/proc/cpuinfo").unwrap().contains("User Mode Linux") {
        eprintln!("not run: a user-mode kernel does not send 10,000 packets a second");
        return;
    }
    let mesh = TestLab::mesh("t-pace", 2, "fast").up();
    let to = address_of(&mesh, "n2-pod1");
    // Somebody listens, or every datagram would be answered.
    let _sink = socket_in(&mesh, "n2-pod1", PORT);
    let sender = socket_in(&mesh, "n1-pod1", 0);
    // A machine that has other things to do may not keep the pace: nothing may be lost all the same, but it proves less.
    let kept_pace = (0..3).any(|_| all_of_them_are_captured(&mesh, &sender, to) < Duration::from_millis(1100));
    assert!(kept_pace, "this machine does not send 10,000 packets a second");
}

/// Sends 10,000 numbered datagrams, 100 µs apart, while four interfaces are listened to. How long that took.
#[track_caller]
fn all_of_them_are_captured(mesh: &TestLab, sender: &UdpSocket, to: Ipv4Addr) -> Duration {
    const COUNT: u32 = 10_000;
    let file = mesh.folder.path().join("all.pcapng");
    let taps = ["n1-pod1:eth0", "n1:eth0", "n2:eth0", "n2-pod1:eth0"];
    let words = format!("capture {} -w {} udp port {PORT}", taps.join(" "), file.display());
    let mut capture = Running::start(&mut command(LAB, &words));
    capture.says("listening on");
    let started = Instant::now();
    for number in 0..COUNT {
        let due = Duration::from_micros(100) * number;
        while let Some(early) = due.checked_sub(started.elapsed()).filter(|early| !early.is_zero()) {
            std::thread::park_timeout(early);
        }
        sender.send_to(&number.to_be_bytes(), (to, PORT)).unwrap();
    }
    let took = started.elapsed();
    capture.signal(Signal::SIGINT);
    assert_eq!(counted(&capture.end()), (taps.len() as u64 * u64::from(COUNT), 0));
    let expected: Vec<u32> = (0..COUNT).collect();
    let found = numbers(&file);
    assert_eq!(found.len(), taps.len());
    for (interface, numbers) in found {
        let differs = numbers.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert!(numbers == expected, "{interface}: {} frames, first out of order: {differs:?}", numbers.len());
    }
    took
}

#[test]
fn what_a_stopped_reader_loses_is_counted_and_said() {
    // More than the kernel keeps: 32 MiB, and a full frame is charged for with a kilobyte at least.
    const COUNT: u64 = 60_000;
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-stopped", 2, "fast").up();
    let to = address_of(&mesh, "n2-pod1");
    let _sink = socket_in(&mesh, "n2-pod1", PORT);
    let sender = socket_in(&mesh, "n1-pod1", 0);
    let file = mesh.folder.path().join("some.pcapng");
    // Where it is sent: the tap is the first to hear it, so that nothing can be lost before.
    let words = format!("capture n1-pod1:eth0 -w {} udp port {PORT}", file.display());
    let mut capture = Running::start(&mut command(LAB, &words));
    capture.says("listening on");
    capture.signal(Signal::SIGSTOP);
    for _ in 0..COUNT {
        sender.send_to(&[0; 1400], (to, PORT)).unwrap();
    }
    capture.signal(Signal::SIGINT);
    capture.signal(Signal::SIGCONT);
    let (captured, dropped) = counted(&capture.end());
    assert!(captured > 1000 && dropped > 1000, "{captured} captured, {dropped} dropped");
    // ARP is dropped or filtered too, and counted where it was dropped.
    assert!((COUNT..COUNT + 10).contains(&(captured + dropped)), "{captured} captured, {dropped} dropped");
    assert_eq!(numbers(&file).values().map(Vec::len).sum::<usize>() as u64, captured);
}
