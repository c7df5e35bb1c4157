//! The shell commands that show again what a step looked at.

use std::net::IpAddr;

use super::model::*;
use crate::net::LabName;

/// Commands for `verb` in `lab`, to be typed as root while the lab is up. `address` gives a name's address, where it has one.
pub fn commands(verb: &Verb, lab: &LabName, address: &dyn Fn(&str) -> Option<IpAddr>) -> Vec<String> {
    let shell = Shell { lab, address };
    match verb {
        Verb::Ping(ping) => shell.ping(ping),
        Verb::Mtu(mtu) => shell.mtu(mtu),
        Verb::Curl(curl) => shell.curl(curl),
        Verb::Capture(capture) => {
            let filter = capture.filter.as_ref().map(|filter| format!(" {}", quote(filter))).unwrap_or_default();
            let tcpdump = |place: &At<Place>| {
                shell.inside(&place.namespace, &format!("tcpdump --immediate-mode -nevi {}{filter}", place.interface))
            };
            let mut commands: Vec<String> = capture.on.iter().map(tcpdump).collect();
            commands.extend(capture.during.iter().flat_map(|traffic| match traffic {
                Traffic::Ping(ping) => shell.ping(ping),
                Traffic::Curl(curl) => shell.curl(curl),
                Traffic::Exec(exec) => vec![shell.exec(exec)],
            }));
            commands
        }
        Verb::State(state) | Verb::Wait(Wait::State(state)) => shell.state(state),
        Verb::Wait(Wait::Converged) => vec![format!("lab status {lab}")],
        Verb::Exec(exec) => vec![shell.exec(exec)],
        Verb::Do(Do::Peer { action, node, with }) => vec![
            format!("lab peer --lab {lab} {action} {} {}", quote(node), quote(with)),
            format!("lab birdc --lab {lab} {} show protocols", quote(node)),
        ],
        Verb::Do(Do::Link { action, on }) => {
            vec![format!("lab link --lab {lab} {action} {}", quote(&on.value.to_string())), format!("lab status {lab}")]
        }
    }
}

struct Shell<'a> {
    lab: &'a LabName,
    address: &'a dyn Fn(&str) -> Option<IpAddr>,
}

impl Shell<'_> {
    fn inside(&self, namespace: &str, command: &str) -> String {
        format!("ip netns exec {}-{namespace} {command}", self.lab)
    }

    fn address(&self, name: &str) -> String {
        (self.address)(name).map_or_else(|| name.into(), |address| address.to_string())
    }

    fn ping(&self, ping: &Ping) -> Vec<String> {
        let size = if ping.size == 56 { String::new() } else { format!(" -s {}", ping.size) };
        let df = if ping.df { " -M do" } else { "" };
        let command = format!("ping -c {}{size}{df} {}", ping.count, self.address(&ping.to));
        vec![
            format!("lab ping --lab {} {} {}", self.lab, quote(&ping.from), quote(&ping.to)),
            self.inside(&ping.from, &command),
        ]
    }

    /// The largest packet, and one byte more, as iputils counts: without its 28 bytes of headers.
    fn mtu(&self, mtu: &Mtu) -> Vec<String> {
        let data = |length: u32| length.saturating_sub(28);
        let largest = u32::from(mtu.largest);
        let lengths = [largest, largest + 1].into_iter().filter(|length| *length <= u32::from(u16::MAX));
        let to = self.address(&mtu.to);
        lengths.map(|length| self.inside(&mtu.from, &format!("ping -c 1 -M probe -s {} {to}", data(length)))).collect()
    }

    fn curl(&self, curl: &Curl) -> Vec<String> {
        let port = if curl.port == 80 { String::new() } else { format!(":{}", curl.port) };
        let path = if curl.path == "/" { "" } else { &curl.path };
        let url = match (self.address)(&curl.to) {
            Some(address @ IpAddr::V6(_)) => format!("http://[{address}]{port}{}", curl.path),
            _ => format!("http://{}{port}{}", self.address(&curl.to), curl.path),
        };
        vec![
            format!(
                "lab curl --lab {} {} {}",
                self.lab,
                quote(&curl.from),
                quote(&format!("{}{port}{path}", curl.to.value))
            ),
            self.inside(&curl.from, &format!("curl -i {}", quote(&url))),
        ]
    }

    fn exec(&self, exec: &Exec) -> String {
        let words: Vec<String> = exec.command.iter().map(|word| quote(word)).collect();
        self.inside(&exec.on, &words.join(" "))
    }

    fn state(&self, state: &StateCheck) -> Vec<String> {
        let on = state.on();
        match state {
            StateCheck::Routes(Routes { proto: Some(proto), .. }) => {
                vec![self.inside(on, &format!("ip route show proto {proto}"))]
            }
            StateCheck::Routes(_) => vec![self.inside(on, "ip route")],
            StateCheck::Neighbours(_) => vec![self.inside(on, "ip neigh")],
            StateCheck::Fdb(_) => vec![self.inside(on, "bridge fdb")],
            StateCheck::Links(_) => vec![self.inside(on, "ip -d addr")],
            StateCheck::Bgp(bgp) => {
                let mut commands = Vec::new();
                if bgp.sessions.is_some() {
                    commands.push(format!("lab birdc --lab {} {} show protocols", self.lab, quote(on)));
                    commands.push(format!("lab calicoctl --lab {} node status {}", self.lab, quote(on)));
                }
                let paths = bgp.paths.iter();
                commands
                    .extend(paths.map(|path| format!("lab show --lab {} {} bgp {}", self.lab, quote(on), path.prefix)));
                commands
            }
        }
    }
}

/// `word` as one word of a POSIX shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(step: &str) -> Vec<String> {
        let scenario = crate::scenario::parse(&format!("topology = 'x'\n[[step]]\n{step}")).unwrap();
        let address = |name: &str| name.parse().ok().or_else(|| (name == "web").then(|| [10, 244, 0, 1].into()));
        commands(&scenario.steps[0].verb, &LabName::new("demo").unwrap(), &address)
    }

    #[test]
    fn traffic_is_shown_with_our_tools_and_with_the_systems() {
        assert_eq!(
            of("ping = { from = 'node1', to = 'web', count = 3, df = true, size = 1472 }"),
            ["lab ping --lab demo node1 web", "ip netns exec demo-node1 ping -c 3 -s 1472 -M do 10.244.0.1"]
        );
        assert_eq!(
            of("curl = { from = 'node1', to = 'web', port = 8080, path = '/a?b' }"),
            [
                "lab curl --lab demo node1 'web:8080/a?b'",
                "ip netns exec demo-node1 curl -i 'http://10.244.0.1:8080/a?b'"
            ]
        );
    }

    #[test]
    fn the_largest_packet_is_shown_with_the_one_that_is_too_long() {
        assert_eq!(
            of("mtu = { from = 'node1', to = 'web', largest = 1480 }"),
            [
                "ip netns exec demo-node1 ping -c 1 -M probe -s 1452 10.244.0.1",
                "ip netns exec demo-node1 ping -c 1 -M probe -s 1453 10.244.0.1",
            ]
        );
    }

    #[test]
    fn a_capture_is_shown_with_its_filter_and_its_traffic() {
        assert_eq!(
            of(
                "capture = { on = ['node1:eth0'], filter = 'proto 4', during = { exec = { on = 'node1', command = ['true'] } }, expect = { max = 0 } }"
            ),
            ["ip netns exec demo-node1 tcpdump --immediate-mode -nevi eth0 'proto 4'", "ip netns exec demo-node1 true"]
        );
    }

    #[test]
    fn state_is_shown_by_the_tool_that_prints_it() {
        assert_eq!(of("routes = { on = 'web', equal = [] }"), ["ip netns exec demo-web ip route"]);
        assert_eq!(
            of("routes = { on = 'web', proto = 'bird', equal = [] }"),
            ["ip netns exec demo-web ip route show proto bird"]
        );
        assert_eq!(
            of("bgp = { on = 'node1', all = 'Established' }"),
            ["lab birdc --lab demo node1 show protocols", "lab calicoctl --lab demo node status node1"]
        );
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(
            of("exec = { on = 'web', command = ['sh', '-c', \"echo 'a'\"] }"),
            [r"ip netns exec demo-web sh -c 'echo '\''a'\'''"]
        );
    }
}
