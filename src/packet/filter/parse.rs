//! Text to a filter's tree: tokens, then recursive descent.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net};

use super::{Expression, Family, FilterError, Operator, Primitive, Side, Test};

/// The tree of `text`; `None` where it holds no word.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, FilterError> {
    let mut parser = Parser { text, tokens: tokens(text), next: 0, last: None, depth: 0 };
    if parser.tokens.is_empty() {
        return Ok(None);
    }
    let expression = parser.chain()?;
    match parser.peek() {
        None => Ok(Some(expression)),
        Some(")") => Err(parser.error("this `)` closes nothing", "remove it, or write a `(` before")),
        Some(word) => Err(parser.error(format!("`{word}` follows a complete test"), "join tests with `and` or `or`")),
    }
}

/// Parentheses within each other, at most.
const MAX_DEPTH: usize = 64;

const PRIMITIVES: &str = "write one of host, net, port, portrange, proto, src, dst, ip, ip6, arp, tcp, udp, icmp, icmp6, \
                          not, `(`, or an address";
const KINDS: &str = "write host, net, port, portrange or an address after it";

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Range<usize>>,
    next: usize,
    /// The qualifiers of the test before, for a value that stands alone.
    last: Option<Qualifiers>,
    depth: usize,
}

#[derive(Clone, Copy)]
struct Qualifiers {
    family: Option<Family>,
    side: Side,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

impl<'a> Parser<'a> {
    fn chain(&mut self) -> Result<Expression, FilterError> {
        let first = self.term()?;
        let mut rest = Vec::new();
        while let Some(operator) = self.peek().and_then(operator) {
            self.next += 1;
            rest.push((operator, self.term()?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Expression::Chain(Box::new(first), rest),
        })
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        let mut negated = false;
        while let Some("not" | "!") = self.peek() {
            self.next += 1;
            negated = !negated;
        }
        let inner = match self.peek() {
            Some("(") => {
                if self.depth == MAX_DEPTH {
                    return Err(self.error("parentheses are nested too deep", "write fewer than 65 within each other"));
                }
                self.depth += 1;
                self.next += 1;
                let inner = self.chain()?;
                if self.peek() != Some(")") {
                    return Err(self.error(self.found(), "write `)`, `and` or `or`"));
                }
                self.next += 1;
                self.depth -= 1;
                inner
            }
            _ => Expression::Primitive(self.primitive()?),
        };
        Ok(match negated {
            true => Expression::Not(Box::new(inner)),
            false => inner,
        })
    }

    fn primitive(&mut self) -> Result<Primitive, FilterError> {
        let family = self.peek().and_then(family);
        if family.is_some() {
            self.next += 1;
        }
        let side = self.side()?;
        let kind = match self.peek() {
            Some("host") => Some(Kind::Host),
            Some("net") => Some(Kind::Net),
            Some("port") => Some(Kind::Port),
            Some("portrange") => Some(Kind::PortRange),
            Some("proto") => Some(Kind::Protocol),
            _ => None,
        };
        if let Some(kind) = kind {
            self.check(family, side, kind)?;
            self.next += 1;
        }
        let qualifiers = match (family, side, kind) {
            (_, _, Some(kind)) => Qualifiers { family, side: side.unwrap_or(Side::Either), kind },
            (_, Some(side), None) => Qualifiers { family, side, kind: Kind::Host },
            (Some(_), None, None) => {
                let qualifiers = Qualifiers { family, side: Side::Either, kind: Kind::Host };
                self.last = Some(qualifiers);
                return Ok(Primitive { family, side: Side::Either, test: Test::Family });
            }
            // An address alone is a host, whatever came before; another value repeats the qualifiers before it.
            (None, None, None) => match (self.peek(), self.last) {
                (Some(word), _)
                    if word.parse::<IpAddr>().is_ok() && !self.last.is_some_and(|l| l.kind == Kind::Net) =>
                {
                    let host = self.last.filter(|last| last.kind == Kind::Host);
                    host.unwrap_or(Qualifiers { family: None, side: Side::Either, kind: Kind::Host })
                }
                (Some(word), Some(last)) if word.starts_with(|c: char| c.is_ascii_digit()) => last,
                _ => return Err(self.error(self.found(), PRIMITIVES)),
            },
        };
        let test = self.value(qualifiers.kind)?;
        self.last = Some(qualifiers);
        Ok(Primitive { family: qualifiers.family, side: qualifiers.side, test })
    }

    /// `src`, `dst`, `src or dst`, `src and dst`, in either order; `None` where there is none of them.
    fn side(&mut self) -> Result<Option<Side>, FilterError> {
        let first = match self.peek() {
            Some("src") => Side::Source,
            Some("dst") => Side::Destination,
            _ => return Ok(None),
        };
        let other = if first == Side::Source { "dst" } else { "src" };
        self.next += 1;
        let Some(operator) = self.peek().and_then(operator) else { return Ok(Some(first)) };
        self.next += 1;
        if self.peek() != Some(other) {
            return Err(self.error(self.found(), format!("write `{other}` here, or a value before the `and` or `or`")));
        }
        self.next += 1;
        Ok(Some(match operator {
            Operator::And => Side::Both,
            Operator::Or => Side::Either,
        }))
    }

    /// Combinations that can never match are mistakes, as tcpdump has it.
    fn check(&self, family: Option<Family>, side: Option<Side>, kind: Kind) -> Result<(), FilterError> {
        let problem = match (family, kind) {
            (Some(Family::Arp | Family::Protocol(1 | 58)), Kind::Port | Kind::PortRange) => {
                "this protocol has no ports"
            }
            (Some(Family::Protocol(_)), Kind::Host | Kind::Net) => "addresses belong to ip, ip6 and arp",
            (Some(Family::Arp | Family::Protocol(_)), Kind::Protocol) => "protocol numbers belong to ip and ip6",
            (_, Kind::Protocol) if side.is_some() => "a protocol number has no direction",
            _ => return Ok(()),
        };
        Err(self.error(problem, "join two tests with `and`"))
    }

    fn value(&mut self, kind: Kind) -> Result<Test, FilterError> {
        let Some(word) = self.peek() else {
            return Err(self.error(self.found(), if kind == Kind::Host { KINDS } else { expected(kind) }));
        };
        let test = match kind {
            Kind::Host => word.parse().ok().map(|address: IpAddr| Test::Net(address.into())),
            Kind::Net => net(word).map(Test::Net),
            Kind::Port => port(word).map(|port| Test::Ports(port..=port)),
            Kind::PortRange => word.split_once('-').and_then(|(low, high)| {
                let (low, high) = (port(low)?, port(high)?);
                Some(Test::Ports(low.min(high)..=low.max(high)))
            }),
            Kind::Protocol => protocol(word.strip_prefix('\\').unwrap_or(word)).map(Test::Protocol),
        };
        match test {
            Some(test) => {
                self.next += 1;
                Ok(test)
            }
            None => Err(self.error(format!("`{word}` does not fit here"), expected(kind))),
        }
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|span| &self.text[span.clone()])
    }

    fn found(&self) -> String {
        match self.peek() {
            Some(word) => format!("`{word}` does not fit here"),
            None => "the filter ends too early".into(),
        }
    }

    /// An error at the next token.
    fn error(&self, problem: impl Into<String>, expected: impl Into<String>) -> FilterError {
        let span = self.tokens.get(self.next).cloned().unwrap_or(self.text.len()..self.text.len());
        FilterError { text: self.text.into(), span, problem: problem.into(), expected: expected.into() }
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "write an IPv4 or IPv6 address",
        Kind::Net => "write a network such as 10.244.0.0/16, without host bits",
        Kind::Port => "write a port number, 0 to 65535",
        Kind::PortRange => "write two port numbers such as 6000-6008",
        Kind::Protocol => "write a protocol number, 0 to 255, or icmp, igmp, ipip, tcp, udp, icmp6, ospf",
    }
}

fn operator(word: &str) -> Option<Operator> {
    match word {
        "and" | "&&" => Some(Operator::And),
        "or" | "||" => Some(Operator::Or),
        _ => None,
    }
}

fn family(word: &str) -> Option<Family> {
    match word {
        "ip" => Some(Family::Ip),
        "ip6" => Some(Family::Ip6),
        "arp" => Some(Family::Arp),
        "tcp" | "udp" | "icmp" | "icmp6" => protocol(word).map(Family::Protocol),
        _ => None,
    }
}

/// Names as /etc/protocols has them, and `ipip` for what it calls `ipencap`.
fn protocol(word: &str) -> Option<u8> {
    match word {
        "icmp" => Some(1),
        "igmp" => Some(2),
        "ipip" | "ipencap" => Some(4),
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp6" | "ipv6-icmp" => Some(58),
        "ospf" => Some(89),
        number => number.parse().ok(),
    }
}

fn port(word: &str) -> Option<u16> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}

/// A prefix without host bits, one address, or the first octets of a prefix (`10.244` is 10.244.0.0/16, pcap-filter(7)).
fn net(word: &str) -> Option<IpNet> {
    if let Ok(net) = word.parse::<IpNet>() {
        return (net.trunc() == net).then_some(net);
    }
    let parts: Vec<&str> = word.split('.').collect();
    if parts.len() < 4 && !word.contains(':') {
        let mut octets = [0; 4];
        for (octet, part) in octets.iter_mut().zip(&parts) {
            *octet = part.parse().ok()?;
        }
        let bits = u8::try_from(parts.len() * 8).ok()?;
        return Ipv4Net::new(Ipv4Addr::from(octets), bits).ok().map(IpNet::V4);
    }
    word.parse::<IpAddr>().ok().map(IpNet::from)
}

/// Words are separated by white space; parentheses and `&&`, `||`, `!` stand for themselves also without it.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '(' | ')' | '!' => 1,
            _ if rest.starts_with("&&") || rest.starts_with("||") => 2,
            _ => {
                let end = |(index, c): (usize, char)| {
                    let ends = c.is_whitespace() || matches!(c, '(' | ')' | '!');
                    ends || rest[index..].starts_with("&&") || rest[index..].starts_with("||")
                };
                rest.char_indices().find(|at| end(*at)).map_or(rest.len(), |(index, _)| index)
            }
        };
        tokens.push(at..at + length);
        at += length;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Filter, FilterError};

    fn error(text: &str) -> FilterError {
        Filter::parse(text).unwrap_err()
    }

    #[test]
    fn an_error_says_where_what_and_what_to_write() {
        assert_eq!(
            error("host 10.0.0.1 and hots 10.0.0.2").to_string(),
            "read the filter `host 10.0.0.1 and hots 10.0.0.2` at column 19: `hots` does not fit here; write one of host, net, \
             port, portrange, proto, src, dst, ip, ip6, arp, tcp, udp, icmp, icmp6, not, `(`, or an address"
        );
        assert_eq!(error("host 10.0.0.1 and hots 10.0.0.2").span, 18..22);
    }

    #[test]
    fn the_end_of_the_text_has_a_place_too() {
        let cut = error("tcp and");
        assert_eq!((cut.span, cut.problem.as_str()), (7..7, "the filter ends too early"));
        assert_eq!(error("port").expected, "write a port number, 0 to 65535");
        assert_eq!(error("(tcp").expected, "write `)`, `and` or `or`");
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(error("port 65536").span, 5..10);
        assert_eq!(error("port +1").span, 5..7);
        assert_eq!(error("net 10.0.0.1/8").expected, "write a network such as 10.244.0.0/16, without host bits");
        assert_eq!(error("host web").expected, "write an IPv4 or IPv6 address");
        assert_eq!(error("proto 256").span, 6..9);
        assert_eq!(error("portrange 1").span, 10..11);
        assert_eq!(error("80").span, 0..2);
    }

    #[test]
    fn tests_must_be_joined() {
        assert_eq!(error("tcp udp").expected, "join tests with `and` or `or`");
        assert_eq!(error("tcp )").problem, "this `)` closes nothing");
        assert_eq!(error("icmp port 80").problem, "this protocol has no ports");
        assert_eq!(error("src proto 4").problem, "a protocol number has no direction");
    }

    #[test]
    fn depth_has_a_limit_and_length_has_none() {
        let deep = "(".repeat(70) + "tcp" + &")".repeat(70);
        assert_eq!(error(&deep).problem, "parentheses are nested too deep");
        let long = vec!["tcp"; 50_000].join(" or ");
        assert!(Filter::parse(&long).is_ok());
        assert!(Filter::parse(&("! ".repeat(50_000) + "tcp")).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn no_order_of_words_makes_the_parser_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "host", "net", "port", "portrange", "proto", "src", "dst", "ip", "arp", "tcp", "not", "!", "(", ")", "and",
                    "or", "&&", "||", "10.0.0.1", "10.0.0.0/8", "80", "1-2", "é", "\\",
                ]),
                0..12,
            )
        ) {
            if let Err(error) = Filter::parse(&words.join(" ")) {
                prop_assert!(error.text.get(error.span).is_some());
            }
        }
    }
}
