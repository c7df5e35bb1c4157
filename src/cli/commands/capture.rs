//! `lab capture`: what crosses some interfaces, a line per packet, or as pcapng.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

use crate::capture::pcapng::{Flush, InterfaceId, Writer};
use crate::capture::{Captured, Tap};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::control::Interrupt;
use crate::net::LabName;
use crate::packet::{self, Filter, LinkType};
use crate::report::chain;

/// Frames between the taps and the writer: at some ten thousand a second, a good second's worth.
const QUEUE: usize = 16 * 1024;

/// One interface that is listened to.
struct Ear {
    /// Which tap hears it.
    tap: usize,
    /// `node1:eth0`.
    label: String,
    link: LinkType,
    id: Option<InterfaceId>,
}

pub(crate) async fn capture(
    lab: Option<&LabName>,
    what: &[String],
    count: Option<u64>,
    write: Option<&Path>,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let (interfaces, filter) = split(what)?;
    let place = interfaces[0].split(':').next().unwrap_or_default();
    let selected = Selected::with(lab, place)?;
    let mut places: BTreeMap<String, Vec<crate::net::IfName>> = BTreeMap::new();
    for interface in &interfaces {
        let (place, name) = selected.interface(interface)?;
        places.entry(place).or_default().push(name);
    }
    // Before anything is heard: an interrupt ends the capture, and never loses it.
    let mut interrupt = Interrupt::listen()?;
    let (frames, mut heard) = mpsc::channel::<io::Result<(usize, Captured)>>(QUEUE);
    let (drops, mut dropped) = mpsc::unbounded_channel::<u64>();
    let mut ears = Vec::new();
    let mut taps = tokio::task::JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    for (number, (place, names)) in places.iter().enumerate() {
        let mut tap = Tap::open(&selected.netns(place)?, names).map_err(|error| Failure::environment(chain(&error)))?;
        let first = ears.len();
        ears.extend(tap.interfaces().iter().map(|interface| Ear {
            tap: number,
            label: format!("{place}:{}", interface.name),
            link: interface.link,
            id: None,
        }));
        let (frames, drops, stopped) = (frames.clone(), drops.clone(), stopped.clone());
        taps.spawn(async move {
            listen(&mut tap, first, &frames, stopped).await;
            // Nobody listens any more only if the verb has failed.
            let _ = drops.send(tap.dropped().unwrap_or(0));
        });
    }
    drop((frames, drops));
    let mut sink = Sink::open(write, &mut ears)?;
    if !quiet {
        let labels = ears.iter().map(|ear| ear.label.as_str()).collect::<Vec<_>>().join(", ");
        eprintln!("listening on {labels}; Ctrl-C ends it");
    }
    let mut seen = 0;
    let mut interrupted = false;
    'capture: while count.is_none_or(|count| seen < count) {
        let frame = tokio::select! {
            frame = heard.recv() => frame,
            () = interrupt.recv(), if !interrupted => {
                // What was heard until now is still to come; the taps end after it.
                interrupted = true;
                stop.send_replace(true);
                continue;
            }
        };
        let Some(frame) = frame else { break };
        // What the other taps have heard meanwhile belongs between: a packet is shown along its path.
        tokio::task::yield_now().await;
        let mut batch = vec![frame.map_err(unreadable)?];
        while let Ok(frame) = heard.try_recv() {
            batch.push(frame.map_err(unreadable)?);
        }
        for (index, frame) in in_order(batch, &ears) {
            let ear = &ears[index];
            let decoded = packet::decode(ear.link, &frame.bytes, frame.original_len);
            if filter.as_ref().is_some_and(|filter| !filter.matches(&decoded)) {
                continue;
            }
            match sink.write(ear, &frame, &decoded) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break 'capture,
                written => written?,
            }
            seen += 1;
            if count.is_some_and(|count| seen >= count) {
                break 'capture;
            }
        }
    }
    drop((stop, heard));
    let mut lost = 0;
    while let Some(count) = dropped.recv().await {
        lost += count;
    }
    sink.finish()?;
    if !quiet {
        eprintln!("{seen} packets captured, {lost} dropped by the kernel");
    }
    Ok(ExitCode::Done)
}

/// Frames of several taps in the order of their time stamps, those of one tap in the order in which it heard them: what is sent just
/// after a tap was opened, before the kernel has begun to stamp, is stamped when it is read.
fn in_order(batch: Vec<(usize, Captured)>, ears: &[Ear]) -> impl Iterator<Item = (usize, Captured)> {
    let mut latest: BTreeMap<usize, SystemTime> = BTreeMap::new();
    let stamped = batch.into_iter().map(|(index, frame)| {
        let latest = latest.entry(ears[index].tap).or_insert(frame.timestamp);
        *latest = frame.timestamp.max(*latest);
        (*latest, index, frame)
    });
    let mut stamped: Vec<_> = stamped.collect();
    stamped.sort_by_key(|(at, ..)| *at);
    stamped.into_iter().map(|(_, index, frame)| (index, frame))
}

/// Passes on what a tap hears until it is told to stop, and then what it has heard before that; or until nobody wants it.
async fn listen(
    tap: &mut Tap,
    first: usize,
    frames: &mpsc::Sender<io::Result<(usize, Captured)>>,
    mut stopped: watch::Receiver<bool>,
) {
    let pass_on = async |frame: io::Result<Captured>| {
        let failed = frame.is_err();
        frames.send(frame.map(|frame| (first + frame.interface, frame))).await.is_ok() && !failed
    };
    loop {
        tokio::select! {
            frame = tap.next() => if !pass_on(frame).await { return },
            // Where the other end has gone, nobody waits for the rest.
            told = stopped.changed() => if told.is_err() { return } else { break },
        }
    }
    if let Err(error) = tap.stop() {
        pass_on(Err(error)).await;
        return;
    }
    while let Some(frame) = tap.try_next().transpose() {
        if !pass_on(frame).await {
            return;
        }
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::environment(format!("read what crosses the interfaces: {error}"))
}

/// Interfaces come first and have a colon; the filter is the rest, in one word or several.
fn split(what: &[String]) -> Result<(Vec<String>, Option<Filter>), Failure> {
    let interfaces: Vec<String> = what.iter().take_while(|word| word.contains(':')).cloned().collect();
    if interfaces.is_empty() {
        return Err(Failure::invalid(format!("`{}` names no interface: write WHERE:IFACE, as `node1:eth0`", what[0])));
    }
    let words = what[interfaces.len()..].join(" ");
    let filter = match words.trim() {
        "" => None,
        words => Some(Filter::parse(words).map_err(|error| Failure::invalid(format!("the filter: {error}")))?),
    };
    Ok((interfaces, filter))
}

/// Where packets go.
enum Sink {
    Lines(io::BufWriter<io::Stdout>),
    File(Writer<Box<dyn io::Write>>),
}

impl Sink {
    fn open(write: Option<&Path>, ears: &mut [Ear]) -> Result<Self, Failure> {
        let Some(path) = write else { return Ok(Self::Lines(io::BufWriter::new(io::stdout()))) };
        let (out, flush): (Box<dyn io::Write>, _) = match path == Path::new("-") {
            true => (Box::new(io::stdout()), Flush::EachPacket),
            false => {
                let file = File::create(path)
                    .map_err(|error| Failure::environment(format!("create {}: {error}", path.display())))?;
                (Box::new(file), Flush::WhenFull)
            }
        };
        let mut writer = Writer::new(out, flush)?;
        for ear in ears {
            ear.id = Some(writer.add_interface(&ear.label, ear.link)?);
        }
        Ok(Self::File(writer))
    }

    fn write(&mut self, ear: &Ear, frame: &Captured, decoded: &packet::Packet) -> io::Result<()> {
        match self {
            Self::Lines(out) => {
                let line = packet::line(decoded, frame.timestamp, &ear.label, frame.direction);
                writeln!(out, "{line}")?;
                out.flush()
            }
            Self::File(writer) => match ear.id {
                Some(id) => writer.write(id, frame),
                None => Ok(()),
            },
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Lines(mut out) => out.flush(),
            Self::File(writer) => writer.finish().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn interfaces_end_where_the_filter_begins() {
        let (interfaces, filter) = split(&words("a:eth0 b:eth0 host 10.0.0.1 and icmp")).unwrap();
        assert_eq!(interfaces, ["a:eth0", "b:eth0"]);
        assert_eq!(filter, Some(Filter::parse("host 10.0.0.1 and icmp").unwrap()));
        assert_eq!(split(&words("a:eth0")).unwrap().1, None);
    }

    #[test]
    fn the_frames_of_a_tap_stay_in_their_order_whatever_their_stamps_say() {
        use crate::packet::Direction;
        use std::time::{Duration, UNIX_EPOCH};
        let ear = |tap| Ear { tap, label: String::new(), link: LinkType::Ethernet, id: None };
        let ears = [ear(0), ear(0), ear(1)];
        let frame = |index: usize, number: u8, millis: u64| {
            let timestamp = UNIX_EPOCH + Duration::from_millis(millis);
            let (bytes, original_len) = (vec![number], 1);
            (index, Captured { interface: 0, direction: Direction::In, timestamp, bytes, original_len })
        };
        // The second was stamped late.
        let batch = vec![frame(0, 1, 10), frame(0, 2, 50), frame(1, 3, 20), frame(2, 4, 15), frame(2, 5, 60)];
        let order: Vec<u8> = in_order(batch, &ears).map(|(_, frame)| frame.bytes[0]).collect();
        assert_eq!(order, [1, 4, 2, 3, 5]);
    }

    #[test]
    fn without_an_interface_or_with_a_wrong_filter_it_says_what_to_write() {
        let refused = |text| split(&words(text)).unwrap_err().message().to_owned();
        assert_eq!(refused("icmp"), "`icmp` names no interface: write WHERE:IFACE, as `node1:eth0`");
        assert!(refused("a:eth0 nonsense").starts_with("the filter: "));
    }
}
