//! `lab capture`: what crosses some interfaces, a line per packet, or as pcapng.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use tokio::sync::mpsc;

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
    let (stop, stopped) = tokio::sync::watch::channel(());
    for (place, names) in &places {
        let mut tap = Tap::open(&selected.netns(place)?, names).map_err(|error| Failure::environment(chain(&error)))?;
        let first = ears.len();
        ears.extend(tap.interfaces().iter().map(|interface| Ear {
            label: format!("{place}:{}", interface.name),
            link: interface.link,
            id: None,
        }));
        let (frames, drops, mut stopped) = (frames.clone(), drops.clone(), stopped.clone());
        taps.spawn(async move {
            loop {
                let frame = tokio::select! {
                    frame = tap.next() => frame,
                    _ = stopped.changed() => break,
                };
                let failed = frame.is_err();
                let frame = frame.map(|frame| (first + frame.interface, frame));
                if frames.send(frame).await.is_err() || failed {
                    break;
                }
            }
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
    'capture: while count.is_none_or(|count| seen < count) {
        let frame = tokio::select! {
            frame = heard.recv() => frame,
            () = interrupt.recv() => break,
        };
        let Some(frame) = frame else { break };
        // What the other taps have heard meanwhile belongs between: a packet is shown along its path.
        tokio::task::yield_now().await;
        let mut batch = vec![frame.map_err(unreadable)?];
        while let Ok(frame) = heard.try_recv() {
            batch.push(frame.map_err(unreadable)?);
        }
        batch.sort_by_key(|(_, frame)| frame.timestamp);
        for (index, frame) in batch {
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
    fn without_an_interface_or_with_a_wrong_filter_it_says_what_to_write() {
        let refused = |text| split(&words(text)).unwrap_err().message().to_owned();
        assert_eq!(refused("icmp"), "`icmp` names no interface: write WHERE:IFACE, as `node1:eth0`");
        assert!(refused("a:eth0 nonsense").starts_with("the filter: "));
    }
}
