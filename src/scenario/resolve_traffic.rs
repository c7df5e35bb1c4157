//! Raw → model, of what sends packets or runs a command.

use super::model::*;
use super::raw::*;
use super::read::At;
use super::resolve::{Resolver, Span};
use crate::packet::path_mtu::SMALLEST;

impl Resolver<'_> {
    pub(super) fn ping(&mut self, ping: At<RawPing>, expect: Expect) -> Option<Ping> {
        let RawPing { from, to, count, ttl, size, df, error, unsound: _ } = ping.value;
        if let Some(count) = &count
            && count.value == 0
        {
            self.fault::<()>("vacuous", &count.span, "no request at all".into(), "write `count = 1` or more");
        }
        if let Some(size) = &size
            && size.value > MAX_PING_SIZE
        {
            self.fault::<()>(
                "out-of-range",
                &size.span,
                format!("{} bytes do not fit into an IPv4 packet", size.value),
                format!("write at most {MAX_PING_SIZE}"),
            );
        }
        if let (Some(ttl), Expect::Fail) = (&ttl, expect) {
            self.moot("ttl", &ttl.span);
        }
        if let (Some(error), Expect::Pass) = (&error, expect) {
            let message =
                "`error` describes what comes instead of an answer, and this ping must be answered".to_owned();
            self.fault::<()>("contradiction", &error.span, message, "write `expect = \"fail\"`, or leave `error` out");
        }
        Some(Ping {
            from,
            to,
            count: count.map_or(1, |count| count.value),
            ttl: ttl.map(|ttl| ttl.value),
            size: size.map_or(56, |size| size.value),
            df: df.is_some_and(|df| df.value),
            error: error.map(|error| error.value),
        })
    }

    pub(super) fn mtu(&mut self, mtu: At<RawMtu>) -> Option<Mtu> {
        let RawMtu { from, to, largest, beyond, unsound: _ } = mtu.value;
        self.packet_length(&largest);
        let beyond = match beyond {
            None => None,
            Some(At { value: RawBeyond::Silence, .. }) => Some(Beyond::Silence),
            Some(At { value: RawBeyond::Refusal(refusal), span }) => Some(self.refusal(refusal, &span)?),
        };
        Some(Mtu { from, to, largest: largest.value, beyond })
    }

    /// Notes a length that no probe has.
    fn packet_length(&mut self, length: &At<u16>) {
        if length.value < SMALLEST {
            self.fault::<()>(
                "out-of-range",
                &length.span,
                format!("{} bytes are shorter than any packet that is tried", length.value),
                format!("write {SMALLEST} to {}: the whole IP packet, its header included", u16::MAX),
            );
        }
    }

    fn refusal(&mut self, refusal: RawRefusal, span: &Span) -> Option<Beyond> {
        const HELP: &str = "write `{ local = 1480 }` for the sender's own kernel, `{ from = \"node1\", mtu = 1480 }` for \
                            somebody on the way, or `\"silence\"`";
        let RawRefusal { local, from, mtu, unsound } = refusal;
        if let Some(length) = local.as_ref().or(mtu.as_ref()) {
            self.packet_length(length);
        }
        match (local, from, mtu) {
            (Some(local), None, None) => Some(Beyond::Local(local.value)),
            (None, Some(from), Some(mtu)) => Some(Beyond::FragmentationNeeded { from, mtu: mtu.value }),
            _ if unsound => None,
            (Some(_), from, mtu) => {
                let other = from.map(|from| from.span).or(mtu.map(|mtu| mtu.span)).unwrap_or_else(|| span.clone());
                let message = "the sender's own kernel refuses (`local`), or somebody on the way does (`from`)";
                self.fault("contradiction", &other, message.into(), HELP)
            }
            (None, from, _) => {
                let key = if from.is_some() { "mtu" } else { "from" };
                self.fault("missing-key", span, format!("`beyond` lacks `{key}`"), HELP)
            }
        }
    }

    fn moot(&mut self, key: &str, span: &Span) {
        self.fault::<()>(
            "contradiction",
            span,
            format!("`{key}` describes an answer, and `expect = \"fail\"` says that there is none"),
            "leave one of them out",
        );
    }

    pub(super) fn curl(&mut self, curl: At<RawCurl>, expect: Expect) -> Option<Curl> {
        let RawCurl { from, to, port, path, status, size, body, unsound: _ } = curl.value;
        if expect == Expect::Fail {
            let described = [
                ("status", status.as_ref().map(|at| &at.span)),
                ("size", size.as_ref().map(|at| &at.span)),
                ("body", body.as_ref().map(|at| &at.span)),
            ];
            for (key, span) in described.iter().filter_map(|(key, span)| Some((key, (*span)?))) {
                self.moot(key, span);
            }
        }
        if let Some(status) = &status
            && !(100..600).contains(&status.value)
        {
            let message = format!("{} is no HTTP status", status.value);
            self.fault::<()>("out-of-range", &status.span, message, "write 100 to 599, such as `status = 200`");
        }
        if let Some(path) = &path
            && (!path.starts_with('/') || path.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()))
        {
            self.fault::<()>(
                "invalid-value",
                &path.span,
                format!("`{}` is not a path", path.value),
                "a path begins with `/` and holds no white space",
            );
        }
        if let Some(size) = &size {
            self.body_length(size, path.as_ref());
        }
        let path = match (&size, path) {
            (Some(size), _) => format!("/?size={}", size.value),
            (None, path) => path.map_or_else(|| "/".into(), |path| path.value),
        };
        Some(Curl {
            from,
            to,
            port: port.map_or(80, |port| port.value),
            path,
            status: status.map_or(200, |status| status.value),
            size: size.map(|size| size.value),
            body: body.map(|body| body.value),
        })
    }

    fn body_length(&mut self, size: &At<u32>, path: Option<&At<String>>) {
        match size.value {
            0 => {
                let help = "write `size = 1` or more, or leave it out";
                self.fault::<()>("vacuous", &size.span, "no byte at all".into(), help);
            }
            1..=MAX_BODY => {}
            more => {
                let help = format!("write at most {MAX_BODY}");
                self.fault::<()>("out-of-range", &size.span, format!("no page has {more} bytes"), help);
            }
        }
        if let Some(path) = path {
            self.fault::<()>(
                "contradiction",
                &path.span,
                "`size` asks a pod's page for so many bytes, and that is a path by itself: `/?size=N`".into(),
                "leave `path` or `size` out",
            );
        }
    }

    pub(super) fn exec(&mut self, exec: At<RawExec>) -> Option<Exec> {
        let RawExec { on, command, stdout, status, unsound } = exec.value;
        if command.is_empty() && unsound {
            return None;
        }
        if command.is_empty() {
            return self.fault(
                "vacuous",
                &command.span,
                "no command".into(),
                "write the program and its arguments: `command = [\"ip\", \"route\"]`",
            );
        }
        Some(Exec {
            on,
            command: command.value.into_iter().map(|word| word.value).collect(),
            stdout: stdout.map(|stdout| stdout.value),
            status: status.map_or(0, |status| i32::from(status.value)),
        })
    }
}

/// 65,535 less the IPv4 and ICMP headers.
const MAX_PING_SIZE: u16 = 65_507;
/// The longest body that is read, and that a pod serves: 1 MiB.
const MAX_BODY: u32 = 1 << 20;
