//! The largest packet that passes, and what one byte more brings.

use std::net::IpAddr;

use super::{DiffLine, Verdict};
use crate::packet::path_mtu::SMALLEST;
use crate::scenario::model::{Beyond, Mtu};
use crate::scenario::observed::{MtuResult, Obstacle};

/// The largest packet has the length expected, and one byte more becomes of what is expected. `speakers` are the addresses
/// of `beyond.from`: an ICMP error may come from any of them.
pub fn mtu(expected: &Mtu, speakers: &[IpAddr], observed: &MtuResult) -> Verdict {
    let wish = format!("{expected}: {}", passes(expected.largest));
    let Some(largest) = observed.largest else {
        let line = format!("{SMALLEST} bytes: {}", told(observed.obstacle.as_ref()));
        return Verdict::fail(wish, format!("not even {SMALLEST} bytes pass"), vec![DiffLine::unexpected(line)]);
    };
    let right_length = largest == expected.largest;
    let beyond = expected.beyond.as_ref().filter(|beyond| largest == u16::MAX || !is_so(beyond, speakers, observed));
    if right_length && beyond.is_none() {
        return Verdict::Pass;
    }
    let mut difference = Vec::new();
    if !right_length {
        difference.push(DiffLine::missing(passes(expected.largest)));
        difference.push(DiffLine::unexpected(passes(largest)));
    }
    if let Some(beyond) = beyond {
        difference.push(DiffLine::missing(format!("{} bytes: {}", over(expected.largest), wanted(beyond, speakers))));
    }
    if largest < u16::MAX {
        difference.push(DiffLine::unexpected(format!("{} bytes: {}", over(largest), told(observed.obstacle.as_ref()))));
    }
    let found = match right_length {
        true => format!("one byte more: {}", told(observed.obstacle.as_ref())),
        false => passes(largest),
    };
    Verdict::fail(wish, found, difference)
}

fn passes(largest: u16) -> String {
    match largest {
        u16::MAX => "the largest packet there is passes".into(),
        _ => format!("the largest packet that passes has {largest} bytes"),
    }
}

fn over(largest: u16) -> u32 {
    u32::from(largest) + 1
}

fn is_so(beyond: &Beyond, speakers: &[IpAddr], observed: &MtuResult) -> bool {
    match (beyond, &observed.obstacle) {
        (Beyond::Silence, None) => true,
        (Beyond::Local(wanted), Some(Obstacle::Local { mtu })) => *mtu == Some(u32::from(*wanted)),
        (Beyond::FragmentationNeeded { mtu: wanted, .. }, Some(Obstacle::FragmentationNeeded { from, mtu })) => {
            *mtu == Some(*wanted) && speakers.contains(from)
        }
        _ => false,
    }
}

fn wanted(beyond: &Beyond, speakers: &[IpAddr]) -> String {
    match beyond {
        Beyond::Silence => told(None),
        Beyond::Local(mtu) => told(Some(&Obstacle::Local { mtu: Some(u32::from(*mtu)) })),
        Beyond::FragmentationNeeded { from, mtu } => {
            let addresses: Vec<String> = speakers.iter().map(ToString::to_string).collect();
            let who = match addresses.as_slice() {
                [only] if *only == from.value => from.value.clone(),
                several => format!("{} ({})", from.value, several.join(" or ")),
            };
            format!("from {who}: fragmentation needed, mtu={mtu}")
        }
    }
}

fn told(obstacle: Option<&Obstacle>) -> String {
    obstacle.map_or_else(|| "silence".into(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::scenario::Verb;

    const NODE: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 4] = [10, 0, 0, 9];

    fn verdict(beyond: &str, largest: Option<u16>, obstacle: Option<Obstacle>) -> Vec<String> {
        let text = format!("mtu = {{ from = 'a', to = 'b', largest = 1480{beyond} }}");
        let Verb::Mtu(expected) = step(&text).verb else { panic!("mtu") };
        shown(mtu(&expected, &[NODE.into(), [10, 244, 0, 0].into()], &MtuResult { largest, obstacle }))
    }

    fn local(mtu: u32) -> Option<Obstacle> {
        Some(Obstacle::Local { mtu: Some(mtu) })
    }

    fn needed(from: [u8; 4], mtu: Option<u16>) -> Option<Obstacle> {
        Some(Obstacle::FragmentationNeeded { from: from.into(), mtu })
    }

    #[test]
    fn what_is_expected_beyond_is_what_came() {
        let none = Vec::<String>::new();
        assert_eq!(verdict("", Some(1480), None), none);
        assert_eq!(verdict(", beyond = 'silence'", Some(1480), None), none);
        assert_eq!(verdict(", beyond = { local = 1480 }", Some(1480), local(1480)), none);
        let from = ", beyond = { from = 'n', mtu = 1480 }";
        assert_eq!(verdict(from, Some(1480), needed(NODE, Some(1480))), none);
        // Whichever of its addresses it speaks from.
        assert_eq!(verdict(from, Some(1480), needed([10, 244, 0, 0], Some(1480))), none);
    }

    #[test]
    fn another_length_is_shown_with_what_stopped_the_next() {
        assert_eq!(
            verdict("", Some(1380), needed(OTHER, Some(1380))),
            [
                "mtu a -> b: the largest packet that passes has 1480 bytes | the largest packet that passes has 1380 bytes",
                "- the largest packet that passes has 1480 bytes",
                "+ the largest packet that passes has 1380 bytes",
                "+ 1381 bytes: from 10.0.0.9: fragmentation needed, mtu=1380",
            ]
        );
        let found = verdict(", beyond = { local = 1480 }", Some(u16::MAX), None);
        assert_eq!(
            found,
            [
                "mtu a -> b: the largest packet that passes has 1480 bytes | the largest packet there is passes",
                "- the largest packet that passes has 1480 bytes",
                "+ the largest packet there is passes",
                "- 1481 bytes: local error: message too long, mtu=1480",
            ]
        );
    }

    #[test]
    fn another_answer_to_one_byte_more_is_shown() {
        let from = ", beyond = { from = 'n', mtu = 1480 }";
        let wanted = "- 1481 bytes: from n (10.0.0.1 or 10.244.0.0): fragmentation needed, mtu=1480";
        for (came, text) in [
            (None, "silence"),
            (local(1480), "local error: message too long, mtu=1480"),
            (Some(Obstacle::Local { mtu: None }), "local error: message too long"),
            (needed(OTHER, Some(1480)), "from 10.0.0.9: fragmentation needed, mtu=1480"),
            (needed(NODE, Some(1400)), "from 10.0.0.1: fragmentation needed, mtu=1400"),
            (needed(NODE, None), "from 10.0.0.1: fragmentation needed, mtu=0"),
            (Some(Obstacle::Other("From 10.0.0.1 Packet filtered".into())), "From 10.0.0.1 Packet filtered"),
        ] {
            let wish = "mtu a -> b: the largest packet that passes has 1480 bytes | one byte more";
            let expected = [format!("{wish}: {text}"), wanted.into(), format!("+ 1481 bytes: {text}")];
            assert_eq!(verdict(from, Some(1480), came), expected);
        }
        let found = verdict(", beyond = 'silence'", Some(1480), local(1480));
        assert_eq!(found[1..], ["- 1481 bytes: silence", "+ 1481 bytes: local error: message too long, mtu=1480"]);
        let found = verdict(", beyond = { local = 1400 }", Some(1480), local(1480));
        assert_eq!(found[1], "- 1481 bytes: local error: message too long, mtu=1400");
    }

    #[test]
    fn a_path_that_carries_nothing_says_why() {
        let unreachable = Some(Obstacle::Other("Network is unreachable".into()));
        assert_eq!(
            verdict(", beyond = 'silence'", None, unreachable),
            [
                "mtu a -> b: the largest packet that passes has 1480 bytes | not even 68 bytes pass",
                "+ 68 bytes: Network is unreachable",
            ]
        );
        assert_eq!(verdict("", None, None)[1], "+ 68 bytes: silence");
    }
}
