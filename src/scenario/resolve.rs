//! Raw → model: one verb per step, no option that contradicts another, every text read. All faults at once.

use toml::de::DeTable;

use super::model::*;
use super::pattern::{FdbPattern, NeighbourPattern, RoutePattern};
use super::raw::*;
use super::read::Keys;
use crate::net::{Route, RouteProtocol};
use crate::topology::{Diagnostic, SYNTAX_FAULTS, syntax_fault};

/// Reads a scenario file.
///
/// # Errors
/// Everything that is wrong with the text alone, in the order of the file: syntax; unknown, missing and contradictory
/// keys; values that do not parse; a step without a verb or with two; no step at all. Names are not looked up: that is
/// [`check`](super::check())'s.
pub fn parse(text: &str) -> Result<Scenario, Vec<Diagnostic>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    // What follows from text that is no TOML would only mislead.
    if !errors.is_empty() {
        return Err(errors.iter().take(SYNTAX_FAULTS).map(|error| syntax_fault(error, text)).collect());
    }
    let mut faults = Vec::new();
    let raw = RawScenario::read_keys(&Keys::of_document(&document), &mut faults);
    let scenario = raw.and_then(|raw| Resolver { faults: &mut faults, provider: None }.scenario(raw));
    match scenario {
        Some(scenario) if faults.is_empty() => Ok(scenario),
        _ => {
            faults.sort_by_key(|fault| fault.span.start);
            Err(faults)
        }
    }
}

pub(super) struct Resolver<'a> {
    pub(super) faults: &'a mut Vec<Diagnostic>,
    provider: Option<Provider>,
}

impl Resolver<'_> {
    pub(super) fn fault<T>(
        &mut self,
        code: &'static str,
        span: &Span,
        message: String,
        help: impl Into<String>,
    ) -> Option<T> {
        let label = match code {
            "contradiction" => "these exclude each other",
            "no-verb" | "no-step" => "nothing to do",
            "several-verbs" => "one too many",
            "vacuous" => "this would always pass",
            "missing-key" => "not complete",
            "invalid-filter" => "not a filter from here on",
            _ => "here",
        };
        self.faults.push(Diagnostic { code, span: span.clone(), message, label: label.into(), help: help.into() });
        None
    }

    fn scenario(mut self, raw: RawScenario) -> Option<Scenario> {
        let RawScenario { topology, name, provider, masquerade, timeout, step, unsound } = raw;
        self.provider = provider.map(|provider| provider.value);
        if topology.is_none() && !unsound {
            self.fault::<()>(
                "missing-key",
                &(0..0),
                "`topology` is missing".into(),
                "write `topology = \"../topologies/one-node.toml\"`, say, at the top: a path relative to this file",
            );
        }
        if let Some(empty) = topology.as_ref().filter(|path| path.trim().is_empty()) {
            let help = "write `topology = \"../topologies/one-node.toml\"`, say: a path relative to this file";
            self.fault::<()>("invalid-value", &empty.span, "`topology` is empty".into(), help);
        }
        let written = step.as_ref().map_or(0, |steps| steps.written);
        if written == 0 && !unsound {
            let span = step.as_ref().map_or(0..0, |steps| steps.span.clone());
            self.fault::<()>(
                "no-step",
                &span,
                "a scenario without a step shows nothing".into(),
                "add a `[[step]]` with one of: ping, mtu, curl, capture, routes, neighbours, fdb, links, bgp, wait, exec, do",
            );
        }
        if let Some(timeout) = &timeout
            && timeout.value.0.is_zero()
        {
            self.no_time(&timeout.span);
        }
        let steps = step.map(|steps| steps.value.read).unwrap_or_default();
        let resolved: Vec<Step> = steps.into_iter().filter_map(|step| self.step(step)).collect();
        (resolved.len() == written).then_some(())?;
        Some(Scenario {
            topology: topology?,
            name: name.map(|name| name.value),
            provider: self.provider,
            masquerade: masquerade.is_some_and(|masquerade| masquerade.value),
            timeout: timeout.map(|timeout| timeout.value.0),
            steps: resolved,
        })
    }

    fn no_time(&mut self, span: &Span) {
        self.fault::<()>("out-of-range", span, "no time at all is too short".into(), "write a duration such as `2s`");
    }

    fn step(&mut self, step: At<RawStep>) -> Option<Step> {
        let span = step.span;
        let RawStep { name, within, expect, unsound, .. } = &step.value;
        let (name, within, expect) = (name.clone(), within.clone(), expect.clone());
        if let Some(within) = &within
            && within.value.0.is_zero()
        {
            self.no_time(&within.span);
        }
        let RawStep { ping, mtu, curl, capture, routes, neighbours, fdb, links, bgp, wait, exec, r#do, .. } =
            &step.value;
        let spans = [
            ("ping", ping.as_ref().map(|at| &at.span)),
            ("mtu", mtu.as_ref().map(|at| &at.span)),
            ("curl", curl.as_ref().map(|at| &at.span)),
            ("capture", capture.as_ref().map(|at| &at.span)),
            ("routes", routes.as_ref().map(|at| &at.span)),
            ("neighbours", neighbours.as_ref().map(|at| &at.span)),
            ("fdb", fdb.as_ref().map(|at| &at.span)),
            ("links", links.as_ref().map(|at| &at.span)),
            ("bgp", bgp.as_ref().map(|at| &at.span)),
            ("wait", wait.as_ref().map(|at| &at.span)),
            ("exec", exec.as_ref().map(|at| &at.span)),
            ("do", r#do.as_ref().map(|at| &at.span)),
        ];
        self.exactly_one("a step", &span, *unsound, &spans)?;
        if let Some(expect) = &expect
            && expect.value == Expect::Fail
            && ping.is_none()
            && curl.is_none()
            && capture.is_none()
        {
            self.fault::<()>(
                "contradiction",
                &expect.span,
                "`expect = \"fail\"` speaks of packets: it goes with ping, curl and capture".into(),
                "say what must be so instead: `exclude = […]`, another state, another `status`",
            );
        }
        let expect = expect.map_or(Expect::Pass, |expect| expect.value);
        let verb = self.verb(step.value, expect)?;
        Some(Step {
            name: name.map(|name| name.value),
            within: within.map(|within| within.value.0),
            expect,
            verb,
            span,
        })
    }

    fn verb(&mut self, step: RawStep, expect: Expect) -> Option<Verb> {
        let RawStep {
            name: _,
            within: _,
            expect: _,
            unsound: _,
            ping,
            mtu,
            curl,
            capture,
            routes,
            neighbours,
            fdb,
            links,
            bgp,
            wait,
            exec,
            r#do,
        } = step;
        if let Some(ping) = ping {
            return self.ping(ping, expect).map(Verb::Ping);
        }
        if let Some(mtu) = mtu {
            return self.mtu(mtu).map(Verb::Mtu);
        }
        if let Some(curl) = curl {
            return self.curl(curl, expect).map(Verb::Curl);
        }
        if let Some(capture) = capture {
            return self.capture(capture, expect).map(|capture| Verb::Capture(Box::new(capture)));
        }
        if let Some(wait) = wait {
            return self.wait(wait).map(Verb::Wait);
        }
        if let Some(exec) = exec {
            return self.exec(exec).map(Verb::Exec);
        }
        if let Some(action) = r#do {
            return self.action(action).map(Verb::Do);
        }
        self.state(RawState { routes, neighbours, fdb, links, bgp, unsound: false }).map(Verb::State)
    }

    /// Notes whatever is not exactly one of `present`.
    pub(super) fn exactly_one(
        &mut self,
        what: &str,
        span: &Span,
        unsound: bool,
        present: &[(&str, Option<&Span>)],
    ) -> Option<()> {
        let mut found: Vec<(&str, &Span)> = present.iter().filter_map(|(key, span)| Some((*key, (*span)?))).collect();
        found.sort_by_key(|(_, span)| span.start);
        match found.as_slice() {
            [_] => Some(()),
            // What is at fault already is what was meant.
            [] if unsound => None,
            [] => {
                let keys: Vec<&str> = present.iter().map(|(key, _)| *key).collect();
                self.fault("no-verb", span, format!("{what} says nothing"), format!("add one of: {}", keys.join(", ")))
            }
            [(first, _), (second, at), ..] => self.fault(
                "several-verbs",
                at,
                format!("{what} has one of these, and this one has both `{first}` and `{second}`"),
                match what {
                    "a step" => format!("move `{second}` into a `[[step]]` of its own"),
                    _ => format!("leave `{second}` out, or write a `[[step]]` for it"),
                },
            ),
        }
    }

    fn state(&mut self, state: RawState) -> Option<StateCheck> {
        let RawState { routes, neighbours, fdb, links, bgp, unsound: _ } = state;
        if let Some(routes) = routes {
            self.routes(routes).map(StateCheck::Routes)
        } else if let Some(neighbours) = neighbours {
            self.neighbours(neighbours).map(StateCheck::Neighbours)
        } else if let Some(fdb) = fdb {
            self.fdb(fdb).map(StateCheck::Fdb)
        } else if let Some(links) = links {
            self.links(links).map(StateCheck::Links)
        } else {
            self.bgp(bgp?).map(StateCheck::Bgp)
        }
    }

    /// Whether a state verb expects anything at all; notes it if not.
    fn expects(&mut self, span: &Span, unsound: bool, any: bool, choices: &str) -> Option<()> {
        match any {
            true => Some(()),
            false if unsound => None,
            false => self.fault("vacuous", span, "nothing is expected".into(), format!("add {choices}")),
        }
    }

    fn routes(&mut self, routes: At<RawRoutes>) -> Option<Routes> {
        let RawRoutes { on, proto, equal, include, exclude, unsound } = routes.value;
        let proto = proto.map(|proto| proto.value.0);
        let any = equal.is_some() || some(&include) || some(&exclude);
        self.expects(&routes.span, unsound, any, "`equal = […]`, or `include` or `exclude` with at least one route")?;
        let other = include.as_ref().or(exclude.as_ref());
        if let (Some(equal), Some(other)) = (&equal, other) {
            let later = if equal.span.start > other.span.start { &equal.span } else { &other.span };
            self.fault::<()>(
                "contradiction",
                later,
                "`equal` is the whole table: nothing can be said beside it".into(),
                "leave `equal` out, or `include` and `exclude`",
            );
        }
        let include = self.route_list(include, proto);
        let exclude: Vec<RoutePattern> = exclude
            .map(|list| list.value)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|text| {
                let pattern = RoutePattern::parse(&text, proto);
                self.text("route", &text, pattern)
            })
            .collect();
        let want = match equal {
            Some(equal) => RouteExpectation::Equal(self.route_list(Some(equal), proto)),
            None => RouteExpectation::Among { include, exclude },
        };
        Some(Routes { on, proto, want })
    }

    fn route_list(&mut self, list: Option<At<Vec<At<String>>>>, proto: Option<RouteProtocol>) -> Vec<Route> {
        let mut routes = Vec::new();
        for text in list.map(|list| list.value).unwrap_or_default() {
            let parsed = Route::parse(&text, proto.unwrap_or(RouteProtocol::BOOT));
            let Some(route) = self.text("route", &text, parsed) else { continue };
            if let Some(proto) = proto
                && route.proto != proto
            {
                self.fault::<()>(
                    "contradiction",
                    &text.span,
                    format!("this route is `proto {}`, and the step speaks of `proto {proto}`", route.proto),
                    "leave the step's `proto` out, or check this route in a step of its own",
                );
            }
            routes.push(route);
        }
        routes
    }

    /// The value of a text, or a note why it is none.
    fn text<T, E: std::fmt::Display>(&mut self, what: &str, text: &At<String>, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                let help = match what {
                    "route" => "write it as `ip route` prints it: `10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird`",
                    "neighbour" => "write it as `ip neigh` prints it: `169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee`",
                    _ => "write it as `bridge fdb` prints it: `66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201`",
                };
                self.fault("invalid-value", &text.span, error.to_string(), help)
            }
        }
    }

    fn neighbours(&mut self, neighbours: At<RawNeighbours>) -> Option<Neighbours> {
        let RawNeighbours { on, include, exclude, unsound } = neighbours.value;
        self.expects(&neighbours.span, unsound, some(&include) || some(&exclude), LISTS)?;
        let mut list = |texts: Option<At<Vec<At<String>>>>| -> Vec<NeighbourPattern> {
            let texts = texts.map(|texts| texts.value).unwrap_or_default();
            texts.iter().filter_map(|text| self.text("neighbour", text, NeighbourPattern::parse(text))).collect()
        };
        Some(Neighbours { on, include: list(include), exclude: list(exclude) })
    }

    fn fdb(&mut self, fdb: At<RawFdb>) -> Option<Fdb> {
        let RawFdb { on, include, exclude, unsound } = fdb.value;
        self.expects(&fdb.span, unsound, some(&include) || some(&exclude), LISTS)?;
        let mut list = |texts: Option<At<Vec<At<String>>>>| -> Vec<FdbPattern> {
            let texts = texts.map(|texts| texts.value).unwrap_or_default();
            texts.iter().filter_map(|text| self.text("fdb", text, FdbPattern::parse(text))).collect()
        };
        Some(Fdb { on, include: list(include), exclude: list(exclude) })
    }

    fn links(&mut self, links: At<RawLinks>) -> Option<Links> {
        let RawLinks { on, include, exclude, unsound } = links.value;
        self.expects(&links.span, unsound, some(&include) || some(&exclude), LISTS)?;
        let include = include.map(|include| include.value).unwrap_or_default();
        let include = include.into_iter().map(|link| self.link(link.value)).collect();
        let exclude = exclude.map(|exclude| exclude.value).unwrap_or_default();
        Some(Links { on, include, exclude: exclude.into_iter().map(|name| name.value.0).collect() })
    }

    fn link(&mut self, link: RawLink) -> LinkExpectation {
        let RawLink { name, up, mtu, addresses, mac, kind, unsound: _ } = link;
        if let Some(kind) = &kind
            && self.provider != Some(Provider::Kernel)
        {
            self.fault::<()>(
                "contradiction",
                &kind.span,
                "a device's kind depends on who provides tunl0".into(),
                "add `provider = \"kernel\"` at the top, or leave `kind` out",
            );
        }
        LinkExpectation {
            name: name.value.0,
            up: up.map(|up| up.value),
            mtu: mtu.map(|mtu| mtu.value),
            addresses: addresses.map(|list| list.value.into_iter().map(|address| address.value.0).collect()),
            mac: mac.map(|mac| mac.value.0),
            kind: kind.map(|kind| kind.value.into()),
        }
    }

    fn bgp(&mut self, bgp: At<RawBgp>) -> Option<Bgp> {
        let RawBgp { on, sessions, all, paths, unsound } = bgp.value;
        let any = all.is_some()
            || sessions.as_ref().is_some_and(|sessions| !sessions.0.is_empty())
            || paths.as_ref().is_some_and(|paths| !paths.is_empty());
        let wish = "`all = \"Established\"`, `sessions = { node2 = \"Established\" }` or `paths = [{ prefix = \"10.244.0.0/26\" }]`";
        self.expects(&bgp.span, unsound, any, wish)?;
        let sessions = match (sessions, all) {
            (Some(sessions), Some(all)) => {
                let later = if all.span.start > sessions.span.start { all.span } else { sessions.span };
                return self.fault(
                    "contradiction",
                    &later,
                    "`all` and `sessions` speak of the same sessions".into(),
                    "leave one of them out",
                );
            }
            (Some(sessions), None) => Some(SessionExpectation::Each(sessions.value.0)),
            (None, all) => all.map(|all| SessionExpectation::All(all.value.0)),
        };
        let paths = paths.map(|paths| paths.value).unwrap_or_default();
        Some(Bgp { on, sessions, paths: paths.into_iter().map(path).collect() })
    }

    fn wait(&mut self, wait: At<RawWait>) -> Option<Wait> {
        let RawWait { until, routes, neighbours, fdb, links, bgp, unsound } = wait.value;
        let spans = [
            ("until", until.as_ref().map(|at| &at.span)),
            ("routes", routes.as_ref().map(|at| &at.span)),
            ("neighbours", neighbours.as_ref().map(|at| &at.span)),
            ("fdb", fdb.as_ref().map(|at| &at.span)),
            ("links", links.as_ref().map(|at| &at.span)),
            ("bgp", bgp.as_ref().map(|at| &at.span)),
        ];
        self.exactly_one("`wait`", &wait.span, unsound, &spans)?;
        let state = match until {
            Some(At { value: RawUntil::Word, .. }) => return Some(Wait::Converged),
            Some(At { value: RawUntil::State(state), span }) => {
                let spans = [
                    ("routes", state.routes.as_ref().map(|at| &at.span)),
                    ("neighbours", state.neighbours.as_ref().map(|at| &at.span)),
                    ("fdb", state.fdb.as_ref().map(|at| &at.span)),
                    ("links", state.links.as_ref().map(|at| &at.span)),
                    ("bgp", state.bgp.as_ref().map(|at| &at.span)),
                ];
                self.exactly_one("`until`", &span, state.unsound, &spans)?;
                *state
            }
            None => RawState { routes, neighbours, fdb, links, bgp, unsound },
        };
        self.state(state).map(Wait::State)
    }

    /// Notes that `do` lacks `key`, unless that may be what is at fault already.
    fn lack<T>(&mut self, span: &Span, unsound: bool, key: &str, help: &str) -> Option<T> {
        match unsound {
            true => None,
            false => self.fault("missing-key", span, format!("`do` lacks `{key}`"), help),
        }
    }

    fn action(&mut self, action: At<RawDo>) -> Option<Do> {
        let RawDo { peer, node, with, link, on, unsound } = action.value;
        let spans = [("peer", peer.as_ref().map(|at| &at.span)), ("link", link.as_ref().map(|at| &at.span))];
        self.exactly_one("`do`", &action.span, unsound, &spans)?;
        // What belongs to the other kind of action would be ignored silently.
        let (kind, strangers) = match &peer {
            Some(_) => ("peer", [("on", on.as_ref().map(|at| &at.span)), ("", None)]),
            None => ("link", [("node", node.as_ref().map(|at| &at.span)), ("with", with.as_ref().map(|at| &at.span))]),
        };
        for (key, span) in strangers.iter().filter_map(|(key, span)| Some((key, (*span)?))) {
            let message = format!("`{key}` does not go with `{kind}`");
            self.fault::<()>("contradiction", span, message, "leave it out");
        }
        let span = &action.span;
        if let Some(peer) = peer {
            const HELP: &str = "write `do = { peer = \"disable\", node = \"node1\", with = \"node2\" }`";
            let node = node.or_else(|| self.lack(span, unsound, "node", HELP));
            let with = with.or_else(|| self.lack(span, unsound, "with", HELP));
            return Some(Do::Peer { action: peer.value, node: node?, with: with? });
        }
        const HELP: &str = "write `do = { link = \"down\", on = \"node1:eth0\" }`";
        let on = on.or_else(|| self.lack(span, unsound, "on", HELP))?;
        Some(Do::Link { action: link?.value, on: At { value: on.value.0, span: on.span } })
    }
}

pub(super) type Span = std::ops::Range<usize>;

const LISTS: &str = "`include` or `exclude` with at least one entry";

fn some<T>(list: &Option<At<Vec<T>>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn path(path: At<RawPath>) -> PathExpectation {
    let RawPath { prefix, from, best, path, next, pref, communities, originator, clusters, lost, absent, unsound: _ } =
        path.value;
    let texts = |list: At<Vec<At<String>>>| list.value.into_iter().map(|text| text.value).collect::<Vec<String>>();
    PathExpectation {
        prefix: prefix.value.0,
        from,
        best: best.map(|best| best.value),
        as_path: path.map(|path| path.value),
        next_hop: next,
        local_pref: pref.map(|pref| pref.value),
        communities: communities.map(texts).unwrap_or_default(),
        originator,
        clusters: clusters.map(texts),
        lost: lost.map(|lost| lost.value),
        absent: absent.is_some_and(|absent| absent.value),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
