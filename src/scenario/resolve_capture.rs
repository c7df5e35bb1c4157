//! Raw → model, of a capture: what is counted where, and the way that a packet takes.

use super::model::*;
use super::raw_capture::*;
use super::read::{At, Text};
use super::resolve::{Resolver, Span};
use crate::packet::Filter;

impl Resolver<'_> {
    pub(super) fn capture(&mut self, capture: At<RawCapture>, expect: Expect) -> Option<Capture> {
        let RawCapture { on, during, filter, expect: packets, path, unsound } = capture.value;
        if packets.is_none() && path.is_none() && !unsound {
            let help = "write `expect = { encap = \"none\", min = 1 }`, say, or `path = [{ on = \"node1:eth0\" }, …]`";
            self.fault::<()>("missing-key", &capture.span, "nothing is expected of the packets".into(), help);
        }
        if let Some(packets) = &packets {
            self.interfaces(on.as_ref(), packets, &capture.span, unsound);
        } else if let Some(on) = &on
            && path.is_some()
        {
            let message = "`path` has its own interfaces: nothing is counted on these";
            self.fault::<()>("contradiction", &on.span, message.into(), "leave `on` out, or add `expect`");
        }
        if during.0.is_empty() && !unsound {
            let help = "write `during = { ping = { from = \"node1-pod1\", to = \"node1-pod2\" } }`, say";
            self.note("vacuous", &during.span, "nothing is sent while packets are captured", help);
        }
        let during: Option<Vec<Traffic>> =
            during.value.0.into_iter().map(|traffic| self.traffic(traffic, expect)).collect();
        let together: Vec<At<Place>> = on.map(|on| on.value.into_iter().map(place).collect()).unwrap_or_default();
        let mut heard: Vec<At<Place>> = Vec::new();
        let expectations = packets.map(|packets| packets.value.0).unwrap_or_default();
        let hops = path.map(|path| self.hops(path, during.as_deref(), unsound, &mut heard));
        let expectations: Option<Vec<PacketExpectation>> =
            expectations.into_iter().map(|packets| self.packets(packets, &together, &mut heard)).collect();
        if let Some(filter) = &filter {
            self.filter(filter);
        }
        let path = hops.map_or(Some(vec![]), |hops| hops)?;
        heard.sort_by_key(|place| place.span.start);
        Some(Capture { on: heard, during: during?, filter, expect: expectations?, path })
    }

    /// Notes an expectation without an interface, and interfaces that no expectation is about.
    fn interfaces(
        &mut self,
        on: Option<&At<Vec<At<Text<Place>>>>>,
        packets: &At<RawExpectations>,
        span: &Span,
        unsound: bool,
    ) {
        if packets.0.is_empty() && !unsound {
            let help = "write `expect = { encap = \"none\", min = 1 }`, say";
            return self.note("vacuous", &packets.span, "nothing is expected", help);
        }
        let elsewhere = packets.0.iter().any(|packets| packets.value.on.is_none());
        match on {
            _ if unsound => {}
            None if elsewhere => {
                let help =
                    "write `on = [\"node1:eth0\"]`, say, here or `on = \"node1:eth0\"` in each table of `expect`";
                self.note("missing-key", span, "`on` is missing", help);
            }
            Some(on) if on.is_empty() => {
                let help = "write `on = [\"node1:eth0\"]`";
                self.note("vacuous", &on.span, "a capture on no interface sees nothing", help);
            }
            Some(on) if !elsewhere => {
                let message = "every expectation has an `on` of its own: nothing is counted on these";
                self.note("contradiction", &on.span, message, "leave one of them out");
            }
            _ => {}
        }
    }

    fn note(&mut self, code: &'static str, span: &Span, message: &str, help: &str) {
        self.fault::<()>(code, span, message.into(), help);
    }

    fn traffic(&mut self, during: At<RawTraffic>, expect: Expect) -> Option<Traffic> {
        let RawTraffic { ping, curl, exec, unsound } = during.value;
        let spans = [
            ("ping", ping.as_ref().map(|at| &at.span)),
            ("curl", curl.as_ref().map(|at| &at.span)),
            ("exec", exec.as_ref().map(|at| &at.span)),
        ];
        let one = self.exactly_one("`during`", &during.span, unsound, &spans);
        if let (Some(exec), Expect::Fail) = (&exec, expect) {
            self.fault::<()>(
                "contradiction",
                &exec.span,
                "`expect = \"fail\"` goes with ping and curl".into(),
                "say the command's `status` instead",
            );
        }
        one?;
        if let Some(ping) = ping {
            self.ping(ping, expect).map(Traffic::Ping)
        } else if let Some(curl) = curl {
            self.curl(curl, expect).map(Traffic::Curl)
        } else {
            self.exec(exec?).map(Traffic::Exec)
        }
    }

    fn filter(&mut self, filter: &At<String>) {
        if let Err(error) = Filter::parse(filter) {
            // The word at fault, where the string is written as it is: with escapes, the whole of it will have to do.
            let inner = filter.span.start + 1..filter.span.end.saturating_sub(1);
            let span = match inner.len() == filter.len() {
                true => inner.start + error.span.start..(inner.start + error.span.end),
                false => filter.span.clone(),
            };
            let message = format!("the filter `{}` cannot be read: {}", error.text, error.problem);
            self.fault::<()>("invalid-filter", &span, message, error.expected);
        }
    }

    fn packets(
        &mut self,
        packets: At<RawPackets>,
        together: &[At<Place>],
        heard: &mut Vec<At<Place>>,
    ) -> Option<PacketExpectation> {
        let RawPackets { on, encap, src, dst, proto, port, ttl, outer, vni, overhead, min, max, unsound } =
            packets.value;
        let highest = max.as_ref().map(|max| max.value);
        let lowest = min.as_ref().map_or(u32::from(highest != Some(0)), |min| min.value);
        if let Some(highest) = highest
            && lowest > highest
        {
            return self.fault(
                "contradiction",
                &packets.span,
                format!("at least {lowest} and at most {highest} packets cannot be"),
                "let `min` be no more than `max`",
            );
        }
        if lowest == 0 && highest.is_none() && !unsound {
            return self.fault(
                "vacuous",
                &packets.span,
                "any number of packets will do".into(),
                "write `min = 1` or more, or `max = 0` for none",
            );
        }
        let places = on.map_or_else(|| together.to_vec(), |on| vec![place(on)]);
        places.iter().for_each(|place| hear(place, heard));
        let packet = self.pattern(Fields { encap, src, dst, proto, port, ttl, outer, vni, overhead });
        let on = places.into_iter().map(|place| place.value).collect();
        Some(PacketExpectation { on, packet, min: lowest, max: highest })
    }

    fn hops(
        &mut self,
        path: At<Vec<At<RawHop>>>,
        during: Option<&[Traffic]>,
        unsound: bool,
        heard: &mut Vec<At<Place>>,
    ) -> Option<Vec<Hop>> {
        // A hop at fault is not in the list.
        if path.len() < 2 && !unsound {
            let help = "add the next interface, or write `expect = { on = \"node1:eth0\", … }` for one";
            return self.fault("missing-key", &path.span, "a way leads over two interfaces at least".into(), help);
        }
        let mut hops = Vec::with_capacity(path.len());
        for hop in path.value {
            let span = hop.span;
            let RawHop { on, encap, src, dst, proto, port, ttl, outer, vni, overhead, unsound: _ } = hop.value;
            let on = place(on);
            if on.interface.as_str() == "any" {
                let message = "`any` is every interface, and a packet passes one after the other";
                self.fault::<()>("invalid-value", &on.span, message.into(), "name one: `node1:eth0`");
            }
            hear(&on, heard);
            let mut packet = self.pattern(Fields { encap, src, dst, proto, port, ttl, outer, vni, overhead });
            if hops.is_empty() && packet.src.is_none() && packet.dst.is_none() && !unsound {
                packet.dst = self.destination(during, &span);
            }
            hops.push(Hop { on: on.value, packet });
        }
        Some(hops)
    }

    /// Where the packet goes that is followed.
    fn destination(&mut self, during: Option<&[Traffic]>, first_hop: &Span) -> Option<At<String>> {
        let message = match during? {
            [Traffic::Ping(ping)] => return Some(ping.to.clone()),
            [Traffic::Curl(curl)] => return Some(curl.to.clone()),
            [Traffic::Exec(_)] => "which packet? A command does not say where it sends",
            [] => return None,
            [..] => "which packet? There is more than one kind of traffic",
        };
        let help = "write `dst = \"node1-pod2\"`, say, in the first hop";
        self.fault("missing-key", first_hop, message.into(), help)
    }

    fn pattern(&mut self, fields: Fields) -> PacketPattern {
        let Fields { encap, src, dst, proto, port, ttl, outer, vni, overhead } = fields;
        if let Some(proto) = &proto
            && let Some(port) = &port
            && !matches!(proto.value.0, IpProtocol(6 | 17))
        {
            self.fault::<()>(
                "contradiction",
                &port.span,
                format!("{} has no ports", proto.value.0),
                "leave `port` out, or write `proto = \"tcp\"` or `\"udp\"`",
            );
        }
        let wraps = |encap: &At<Encap>| encap.value != Encap::None;
        if let Some(span) = outer.as_ref().map(|outer| &outer.span).or(vni.as_ref().map(|vni| &vni.span))
            && encap.as_ref().is_some_and(|encap| !wraps(encap))
        {
            self.fault::<()>(
                "contradiction",
                span,
                "a packet that is not wrapped has no outer one".into(),
                "write `encap = \"ipip\"` or `\"vxlan\"`, or leave this out",
            );
        }
        PacketPattern {
            encap: encap.map(|encap| encap.value),
            src,
            dst,
            proto: proto.map(|proto| proto.value.0),
            port: port.map(|port| port.value),
            ttl: ttl.map(|ttl| ttl.value),
            outer: outer.map(|outer| outer_pattern(outer.value)).unwrap_or_default(),
            vni: vni.map(|vni| vni.value),
            overhead: overhead.map(|overhead| overhead.value),
        }
    }
}

/// What an expectation and a hop say of a packet alike.
struct Fields {
    encap: Option<At<Encap>>,
    src: Option<At<String>>,
    dst: Option<At<String>>,
    proto: Option<At<Text<IpProtocol>>>,
    port: Option<At<u16>>,
    ttl: Option<At<u8>>,
    outer: Option<At<RawOuter>>,
    vni: Option<At<u32>>,
    overhead: Option<At<u32>>,
}

fn outer_pattern(raw: RawOuter) -> OuterPattern {
    let RawOuter { src, dst, ttl, port, unsound: _ } = raw;
    OuterPattern { src, dst, ttl: ttl.map(|ttl| ttl.value), port: port.map(|port| port.value) }
}

fn place(text: At<Text<Place>>) -> At<Place> {
    At { value: text.value.0, span: text.span }
}

fn hear(place: &At<Place>, heard: &mut Vec<At<Place>>) {
    if !heard.iter().any(|other| other.value == place.value) {
        heard.push(place.clone());
    }
}
