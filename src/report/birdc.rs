//! What a speaker shows, in the layout of BIRD 1.6's `birdc` (calico-behaviour 8.2, 8.3).
//!
//! Text only: the caller takes the views from the speaker and says what time it is. Lines end without `\r`; what BIRD pads
//! with spaces at the end of a line stays padded.

mod protocols;
mod routes;

use std::net::IpAddr;

use ipnet::IpNet;

pub(super) use protocols::{bgp_state, last_error, protocol_state};
pub use protocols::{show_protocols, show_protocols_all};
pub use routes::show_route;

use crate::bgp::view::{PathView, SpeakerView};

/// The first line of whatever `birdc` prints.
pub const GREETING: &str = "BIRD v0.3.3+birdv1.6.8 ready.";

/// When a view was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: seconds since 1970-01-01 00:00 in the zone that times are to be shown in.
    pub local_seconds: i64,
    /// Milliseconds since the speaker started: the age of `static1` and the other protocols that are always up.
    pub uptime_ms: u64,
}

impl Now {
    /// The moment `ago_ms` milliseconds ago as BIRD prints it: `HH:MM:SS` if that is less than 20 hours, else `YYYY-MM-DD`.
    pub fn since(&self, ago_ms: u64) -> String {
        const LIMIT: i64 = 20 * 3600;
        let ago = i64::try_from(ago_ms / 1000).unwrap_or(i64::MAX);
        let then = self.local_seconds.saturating_sub(ago);
        if ago < LIMIT {
            let second = then.rem_euclid(86_400);
            return format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        }
        let (year, month, day) = civil_date(then.div_euclid(86_400));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// A command of `birdc`: what `lab birdc NODE …` accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `show protocols [all [NAME]]`.
    Protocols {
        /// With details.
        all: bool,
        /// Of this one only.
        name: Option<String>,
    },
    /// `show route [for P] [protocol X] [export X] [all] [primary]`.
    Route(RouteQuery),
}

/// Which routes to show, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteQuery {
    /// Only the network that would carry packets for this destination: the longest match.
    pub destination: Option<IpNet>,
    /// Only exactly this network.
    pub network: Option<IpNet>,
    /// Only routes of this protocol.
    pub protocol: Option<String>,
    /// What this protocol has been told, with the attributes that it was told with.
    pub export: Option<String>,
    /// Only the best route of each network.
    pub primary: bool,
    /// With attributes.
    pub all: bool,
}

impl Command {
    /// Reads the words after `birdc`. Words may be shortened as long as they are unambiguous, as BIRD's may: `sh pro`.
    ///
    /// # Errors
    /// What is wrong with which word.
    pub fn parse(words: &[impl AsRef<str>]) -> Result<Self, String> {
        let mut words = words.iter().map(AsRef::as_ref);
        let usage = "birdc knows `show protocols [all] [NAME]` and `show route [PREFIX] [for ADDRESS] [protocol NAME] [export NAME] [primary] [all]`";
        let abbreviates = |word: &str, whole: &str, shortest: usize| word.len() >= shortest && whole.starts_with(word);
        match words.next() {
            Some(word) if abbreviates(word, "show", 1) => {}
            Some(word) => return Err(format!("`{word}` is no command: {usage}")),
            None => return Err(usage.into()),
        }
        match words.next() {
            Some(word) if abbreviates(word, "protocols", 1) => {
                let (mut all, mut name) = (false, None);
                for word in words {
                    match word {
                        "all" if !all => all = true,
                        word if name.is_none() => name = Some(word.trim_matches('"').to_owned()),
                        word => return Err(format!("`{word}` is one word too many: {usage}")),
                    }
                }
                Ok(Self::Protocols { all, name })
            }
            Some(word) if abbreviates(word, "route", 1) => {
                let mut query = RouteQuery::default();
                while let Some(word) = words.next() {
                    let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value: {usage}"));
                    match word {
                        "all" => query.all = true,
                        "primary" => query.primary = true,
                        "for" => query.destination = Some(parse_network(value()?)?),
                        "export" => query.export = Some(value()?.trim_matches('"').to_owned()),
                        "protocol" => query.protocol = Some(value()?.trim_matches('"').to_owned()),
                        word => query.network = Some(parse_network(word)?),
                    }
                }
                Ok(Self::Route(query))
            }
            Some(word) => Err(format!("`show {word}` is not known: {usage}")),
            None => Err(usage.into()),
        }
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc()).map_err(|_| format!("`{text}` is neither an address nor a network"))
}

/// What `birdc` prints for `command`: the greeting, then the answer.
///
/// # Errors
/// No protocol has the name asked for: BIRD's words.
pub fn render(command: &Command, speaker: &SpeakerView, paths: &[PathView], now: Now) -> Result<String, String> {
    match command {
        Command::Protocols { all: false, name: None } => Ok(show_protocols(speaker, now)),
        Command::Protocols { all, name } => protocols::protocols(speaker, now, *all, name.as_deref()),
        Command::Route(query) => Ok(show_route(paths, query, now)),
    }
}

/// Adds a line.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    *text += &format!("{arguments}\n");
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01. Years are counted from March, so that
/// a leap day ends one.
fn civil_date(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bgp::view::{MessageCounts, SessionView, State};
    use crate::net::{Asn, BgpIdentifier};

    /// 2026-04-08 12:34:56.
    pub(in crate::report) const NOW: Now = Now { local_seconds: 1_775_651_696, uptime_ms: 65_000 };

    pub(in crate::report) fn session(name: &str, remote: &str, state: State, since_ms: u64) -> SessionView {
        let established = state == State::Established;
        SessionView {
            name: name.into(),
            remote: remote.parse().unwrap(),
            local: Some("172.18.0.2".parse().unwrap()),
            remote_as: Asn(64512),
            local_as: Asn(64512),
            remote_id: established.then(|| BgpIdentifier(remote.parse().unwrap())),
            state,
            passive: true,
            disabled: false,
            since_ms,
            hold: established.then_some((240_000, 187_400)),
            keepalive: established.then_some((80_000, 30_000)),
            last_error: None,
            capabilities: ["route refresh", "graceful restart", "4-octet AS"].map(String::from).into(),
            end_of_rib_awaited: true,
            stale_ms: None,
            end_of_rib_received: true,
            pending: 0,
            imported: 1,
            exported: 1,
            preferred: 1,
            messages: MessageCounts::default(),
        }
    }

    pub(in crate::report) fn speaker(sessions: Vec<SessionView>) -> SpeakerView {
        SpeakerView {
            name: "calico-bgp-fullmesh-control-plane".into(),
            local_as: Asn(64512),
            router_id: BgpIdentifier([172, 18, 0, 2].into()),
            uptime_ms: 0,
            sessions,
        }
    }

    #[test]
    fn a_time_is_of_day_for_twenty_hours_and_then_a_date() {
        assert_eq!(NOW.since(0), "12:34:56");
        assert_eq!(NOW.since(12 * 3_600_000 + 34 * 60_000 + 57_000), "23:59:59");
        assert_eq!(NOW.since(20 * 3_600_000 - 1), "16:34:57");
        assert_eq!(NOW.since(20 * 3_600_000), "2026-04-07");
        assert_eq!(NOW.since(39 * 86_400_000), "2026-02-28");
        assert!(NOW.since(u64::MAX).starts_with('-'), "long before the first year, and no overflow");
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(-1), (1969, 12, 31));
    }

    #[test]
    fn a_command_that_birdc_does_not_have_says_what_it_has() {
        for words in
            ["", "configure", "show", "show memory", "show route for", "show route for x", "show protocols a b"]
        {
            let words: Vec<&str> = words.split_whitespace().collect();
            assert!(Command::parse(&words).is_err(), "{words:?}");
        }
        assert_eq!(
            Command::parse(&["show", "protocols", "all", "\"Mesh_1_1_1_1\""]),
            Ok(Command::Protocols { all: true, name: Some("Mesh_1_1_1_1".into()) })
        );
    }
}
