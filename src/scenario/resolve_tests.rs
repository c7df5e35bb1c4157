//! Every way in which a scenario file can be wrong, with the place that is pointed at.

use std::time::Duration;

use super::*;
use crate::scenario::schema;

const ROUTE_HELP: &str = "write it as `ip route` prints it: `10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird`";

/// (code, text at the span, message; help) of every fault.
fn faults(text: &str) -> Vec<(&'static str, String, String)> {
    let faults = parse(text).expect_err("the file is wrong");
    let show = |fault: Diagnostic| {
        (fault.code, text[fault.span.clone()].to_string(), format!("{}; {}", fault.message, fault.help))
    };
    faults.into_iter().map(show).collect()
}

/// The one fault of a scenario whose only step is `step`.
fn fault(step: &str) -> (&'static str, String, String) {
    let mut all = faults(&format!("topology = 't.toml'\n[[step]]\n{step}\n"));
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn is(code: &'static str, at: &str, text: &str) -> (&'static str, String, String) {
    (code, at.into(), text.into())
}

#[test]
fn the_examples_of_the_format_are_read() {
    let scenario = parse(
        r#"
        topology = "../topologies/calico-bgp-fullmesh.toml"
        provider = "user"
        timeout = "1m"

        [[step]]
        name = "two hops between nodes"
        ping = { from = "wluo-8n4nq", to = "wluo-4x7jf", count = 3, ttl = 62 }

        [[step]]
        curl = { from = "a", to = "b", status = 200, body = "PodName: b" }

        [[step]]
        routes = { on = "n", proto = "bird", equal = ["10.244.73.64/26 via 172.18.0.3 dev eth0", "blackhole 10.244.140.128/26"] }

        [[step]]
        capture = { on = ["n:eth0"], during = { curl = { from = "a", to = "b" } }, expect = { encap = "none", src = "a", dst = "b", min = 1 } }

        [[step]]
        do = { peer = "disable", node = "worker", with = "worker2" }
        within = "2s"

        [[step]]
        neighbours = { on = "a", include = ["169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee"] }

        [[step]]
        links = { on = "n", include = [{ name = "tunl0", up = true, mtu = 1480, addresses = ["10.244.101.128/32"] }] }

        [[step]]
        fdb = { on = "n", include = ["66:69:94:f0:87:f7 dev vxlan.calico dst 10.0.0.201"] }

        [[step]]
        bgp = { on = "n", sessions = { node2 = "Established", "10.0.1.1" = "Idle" } }

        [[step]]
        wait = { until = "converged" }

        [[step]]
        wait = { bgp = { on = "n", all = "Established" } }

        [[step]]
        wait = { until = { routes = { on = "n", equal = [] } } }

        [[step]]
        exec = { on = "n", command = ["ip", "route", "get", "10.244.36.1"], stdout = "tunl0", status = 0 }

        [[step]]
        expect = "fail"
        ping = { from = "a", to = "10.9.9.9" }

        [[step]]
        do = { link = "down", on = "n:eth0" }

        [[step]]
        mtu = { from = "a", to = "b", largest = 1480, beyond = { from = "n", mtu = 1480 } }

        [[step]]
        curl = { from = "a", to = "b", size = 3000 }

        [[step]]
        capture = { during = { ping = { from = "a", to = "b" } }, path = [{ on = "n:cali1", encap = "none" }, { on = "n:eth0", encap = "ipip" }] }

        [[step]]
        capture = { on = ["n:eth0"], during = { ping = { from = "a", to = "b" } }, expect = [{ encap = "ipip" }, { on = "m:eth0", max = 0 }] }
        "#,
    )
    .unwrap();
    let titles: Vec<String> = scenario.steps.iter().map(Step::title).collect();
    assert_eq!(
        titles,
        [
            "two hops between nodes",
            "curl a -> b",
            "routes on n",
            "capture on n:eth0 during curl a -> b",
            "disable peer worker2 of worker",
            "neighbours on a",
            "links on n",
            "fdb on n",
            "bgp on n",
            "wait until converged",
            "wait for bgp on n",
            "wait for routes on n",
            "exec on n: ip route get 10.244.36.1",
            "ping a -> 10.9.9.9, in vain",
            "link n:eth0 down",
            "mtu a -> b",
            "curl a -> b/?size=3000",
            "capture on n:cali1, n:eth0 during ping a -> b",
            "capture on n:eth0, m:eth0 during ping a -> b",
        ]
    );
    assert_eq!(scenario.topology.value, "../topologies/calico-bgp-fullmesh.toml");
    assert_eq!((scenario.provider, scenario.timeout), (Some(Provider::User), Some(Duration::from_secs(60))));
}

#[test]
fn a_step_has_ten_seconds_and_silence_one_unless_it_says() {
    let limit = |step: &str| {
        let scenario = parse(&format!("topology = 't'\n[[step]]\n{step}\nping = {{ from = 'a', to = 'b' }}")).unwrap();
        scenario.steps[0].time_limit()
    };
    assert_eq!(limit(""), Duration::from_secs(10));
    assert_eq!(limit("expect = 'fail'"), Duration::from_secs(1));
    assert_eq!(limit("expect = 'fail'\nwithin = '300ms'"), Duration::from_millis(300));
}

#[test]
fn no_packet_wanted_is_a_minimum_of_none() {
    let text = "topology = 't'\n[[step]]\ncapture = { on = ['n:eth0'], during = { ping = { from = 'a', to = 'b' } }, expect = { max = 0 } }";
    let Verb::Capture(capture) = &parse(text).unwrap().steps[0].verb else { panic!("capture") };
    assert_eq!((capture.expect[0].min, capture.expect[0].max), (0, Some(0)));
}

fn capture_of(step: &str) -> Capture {
    let scenario = parse(&format!("topology = 't'\n[[step]]\n{step}")).unwrap();
    let Verb::Capture(capture) = &scenario.steps[0].verb else { panic!("capture") };
    (**capture).clone()
}

#[test]
fn an_expectation_has_the_captures_interfaces_or_one_of_its_own() {
    let capture = capture_of(
        "capture = { on = ['n:eth0', 'm:eth0'], during = { ping = { from = 'a', to = 'b' } }, expect = [{ src = 'a' }, { on = 'o:eth0', max = 0 }] }",
    );
    let on: Vec<Vec<String>> =
        capture.expect.iter().map(|expected| expected.on.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(on, [vec!["n:eth0", "m:eth0"], vec!["o:eth0"]]);
    assert_eq!(capture.expect[1].max, Some(0));
}

#[test]
fn the_packet_on_its_way_goes_to_where_the_traffic_goes_unless_the_first_hop_says() {
    let dst = |first: &str, during: &str| {
        let step = format!(
            "capture = {{ during = {{ {during} }}, path = [{{ on = 'n:eth0'{first} }}, {{ on = 'm:eth0' }}] }}"
        );
        let capture = capture_of(&step);
        assert_eq!(capture.path[1].packet, PacketPattern::default());
        capture.path[0].packet.dst.as_ref().map(|dst| dst.value.clone())
    };
    assert_eq!(dst("", "ping = { from = 'a', to = 'b' }").as_deref(), Some("b"));
    assert_eq!(dst("", "curl = { from = 'a', to = 'c' }").as_deref(), Some("c"));
    assert_eq!(dst(", src = 'b'", "ping = { from = 'a', to = 'b' }"), None);
    assert_eq!(dst(", dst = 'a'", "exec = { on = 'a', command = ['true'] }").as_deref(), Some("a"));
}

#[test]
fn a_capture_says_what_is_to_be_seen_and_where() {
    let capture =
        |rest: &str| fault(&format!("capture = {{ during = {{ ping = {{ from = 'a', to = 'b' }} }}, {rest} }}"));
    for (rest, code, message) in [
        ("on = ['n:eth0']", "missing-key", "nothing is expected of the packets"),
        ("expect = { min = 1 }", "missing-key", "`on` is missing"),
        ("expect = [{ min = 1 }, { on = 'n:eth0' }]", "missing-key", "`on` is missing"),
        ("on = ['n:eth0'], expect = []", "vacuous", "nothing is expected"),
        ("on = [], expect = { min = 1 }", "vacuous", "a capture on no interface sees nothing"),
        (
            "on = ['n:eth0'], expect = { on = 'm:eth0' }",
            "contradiction",
            "every expectation has an `on` of its own: nothing is counted on these",
        ),
        (
            "on = ['n:eth0'], path = [{ on = 'n:eth0' }, { on = 'm:eth0' }]",
            "contradiction",
            "`path` has its own interfaces: nothing is counted on these",
        ),
        ("path = []", "missing-key", "a way leads over two interfaces at least"),
        ("path = [{ on = 'n:eth0' }]", "missing-key", "a way leads over two interfaces at least"),
        (
            "path = [{ on = 'n:any' }, { on = 'm:eth0' }]",
            "invalid-value",
            "`any` is every interface, and a packet passes one after the other",
        ),
        ("path = [{ encap = 'none' }, { on = 'm:eth0' }]", "missing-key", "`on` is missing"),
        ("path = [{ on = 'n:eth0', min = 1 }, { on = 'm:eth0' }]", "unknown-key", "there is no key `min` here"),
        (
            "path = [{ on = 'n:eth0', encap = 'none', vni = 1 }, { on = 'm:eth0' }]",
            "contradiction",
            "a packet that is not wrapped has no outer one",
        ),
        ("path = { on = 'n:eth0' }", "wrong-type", "this is a table, and a list `[ … ]` belongs here"),
        ("expect = 'none'", "wrong-type", "this is a string, and a table `{ … }` belongs here"),
        (
            "path = [{ on = ['n:eth0'] }, { on = 'm:eth0' }]",
            "wrong-type",
            "this is a list, and an interface such as `node1:eth0` belongs here",
        ),
    ] {
        let (found, _, text) = capture(rest);
        assert_eq!((found, text.split("; ").next()), (code, Some(message)), "{rest}");
    }
    let hop = capture("path = [{ encap = 'none' }, { on = 'm:eth0' }]");
    assert_eq!(hop.2, "`on` is missing; write `on = \"node1:eth0\"`, say");
    let exec = fault(
        "capture = { during = { exec = { on = 'a', command = ['true'] } }, path = [{ on = 'n:eth0' }, { on = 'm:eth0' }] }",
    );
    assert_eq!((exec.0, exec.1.as_str()), ("missing-key", "{ on = 'n:eth0' }"));
}

#[test]
fn what_is_said_of_the_largest_packet_is_said_wholly() {
    let mtu = |rest: &str| fault(&format!("mtu = {{ from = 'a', to = 'b'{rest} }}"));
    for (rest, code, place) in [
        ("", "missing-key", "{ from = 'a', to = 'b' }"),
        (", largest = 67", "out-of-range", "67"),
        (", largest = 65536", "out-of-range", "65536"),
        (", largest = 1480, beyond = 'silent'", "unknown-word", "'silent'"),
        (", largest = 1480, beyond = 1480", "wrong-type", "1480"),
        (", largest = 1480, beyond = {}", "missing-key", "{}"),
        (", largest = 1480, beyond = { from = 'n' }", "missing-key", "{ from = 'n' }"),
        (", largest = 1480, beyond = { mtu = 1480 }", "missing-key", "{ mtu = 1480 }"),
        (", largest = 1480, beyond = { local = 1480, from = 'n' }", "contradiction", "'n'"),
        (", largest = 1480, beyond = { local = 1480, mtu = 1400 }", "contradiction", "1400"),
        (", largest = 1480, beyond = { local = 20 }", "out-of-range", "20"),
        (", largest = 1480, beyond = { locall = 20 }", "unknown-key", "locall"),
    ] {
        let (found, at, _) = mtu(rest);
        assert_eq!((found, at.as_str()), (code, place), "{rest}");
    }
    assert_eq!(mtu("").2, "`largest` is missing; write `largest = 1480`, say");
    assert_eq!(fault("expect = 'fail'\nmtu = { from = 'a', to = 'b', largest = 1480 }").0, "contradiction");
}

#[test]
fn text_that_is_no_toml_is_the_only_fault() {
    let all = faults("topology = \n[[step]\n");
    assert!(!all.is_empty() && all.iter().all(|(code, ..)| *code == "syntax"), "{all:#?}");
}

#[test]
fn an_empty_file_lacks_a_topology_and_steps() {
    let codes: Vec<_> = faults("").into_iter().map(|(code, ..)| code).collect();
    assert_eq!(codes, ["missing-key", "no-step"]);
    assert_eq!(
        faults("topology = 't'\nstep = []"),
        [is(
            "no-step",
            "[]",
            "a scenario without a step shows nothing; add a `[[step]]` with one of: ping, mtu, curl, capture, routes, neighbours, fdb, links, bgp, wait, exec, do"
        )]
    );
}

#[test]
fn all_faults_of_a_file_come_at_once_and_in_order() {
    let text = "\
topology = 7
tiemout = '1m'
provider = 'kernal'
[[step]]
pnig = { from = 'a', to = 'b' }
[[step]]
ping = { from = 'a', too = 'b', cuont = 3 }
[[step]]
within = 'soon'
routes = { on = 'n', equal = ['10.0.0.1/8'] }
[[step]]
routes = { on = 'n', equal = [5], include = ['10.0.0.0/8 via x'] }
";
    assert_eq!(
        faults(text),
        [
            is("wrong-type", "7", "this is a whole number, and a string belongs here; write `\"7\"`"),
            is("unknown-key", "tiemout", "there is no key `tiemout` here; did you mean `timeout`?"),
            is("unknown-word", "'kernal'", "`kernal` is not known here; did you mean `kernel`?"),
            is("unknown-key", "pnig", "there is no key `pnig` here; did you mean `ping`?"),
            is("unknown-key", "too", "there is no key `too` here; did you mean `to`?"),
            is("unknown-key", "cuont", "there is no key `cuont` here; did you mean `count`?"),
            is(
                "invalid-value",
                "'soon'",
                "`soon` is not a duration such as `500ms`, `2s` or `1m`; write a duration such as `500ms`, `2s` or `1m`"
            ),
            is(
                "invalid-value",
                "'10.0.0.1/8'",
                &format!("`10.0.0.1/8` is not a destination without host bits; {ROUTE_HELP}")
            ),
            is("wrong-type", "5", "this is a whole number, and a string belongs here; write `\"5\"`"),
            is(
                "contradiction",
                "['10.0.0.0/8 via x']",
                "`equal` is the whole table: nothing can be said beside it; leave `equal` out, or `include` and `exclude`"
            ),
            is("invalid-value", "'10.0.0.0/8 via x'", &format!("`x` is not an address; {ROUTE_HELP}")),
        ]
    );
}

#[test]
fn texts_that_do_not_parse_are_pointed_at_one_by_one() {
    let text = "topology = 't'\n[[step]]\nroutes = { on = 'n', include = ['10.0.0.1/8', '10.0.0.0/8 dev', '10.0.0.0/8 dev eth0'], exclude = ['x'] }\n\
                [[step]]\nneighbours = { on = 'n', include = ['10.0.0.1 lladdr zz'] }\n\
                [[step]]\nfdb = { on = 'n', include = ['66:69:94:f0:87:f7 dst x'] }\n";
    let places: Vec<(String, String)> = faults(text)
        .into_iter()
        .map(|(code, at, message)| {
            assert_eq!(code, "invalid-value");
            (at, message.split(';').next().unwrap_or_default().to_string())
        })
        .collect();
    let expected = [
        ("'10.0.0.1/8'", "`10.0.0.1/8` is not a destination without host bits"),
        ("'10.0.0.0/8 dev'", "`dev` needs a value"),
        ("'x'", "`x` is not a destination"),
        ("'10.0.0.1 lladdr zz'", "`zz` is not a MAC address"),
        ("'66:69:94:f0:87:f7 dst x'", "`x` is not an address"),
    ];
    assert_eq!(places, expected.map(|(at, message)| (at.to_string(), message.to_string())));
}

#[test]
fn a_step_has_exactly_one_verb() {
    assert_eq!(fault("name = 'idle'").0, "no-verb");
    let (code, at, message) = fault("ping = { from = 'a', to = 'b' }\nwait = { until = 'converged' }");
    assert_eq!((code, at.as_str()), ("several-verbs", "{ until = 'converged' }"));
    assert_eq!(
        message,
        "a step has one of these, and this one has both `ping` and `wait`; move `wait` into a `[[step]]` of its own"
    );
}

#[test]
fn a_table_of_which_one_is_wanted_takes_exactly_one() {
    let capture = |during: &str| format!("capture = {{ on = ['n:eth0'], during = {during}, expect = {{ min = 1 }} }}");
    assert_eq!(fault(&capture("{}")).0, "no-verb");
    let two = "{ ping = { from = 'a', to = 'b' }, curl = { from = 'a', to = 'b' } }";
    assert_eq!(fault(&capture(two)).0, "several-verbs");
    assert_eq!(fault("wait = {}").0, "no-verb");
    assert_eq!(fault("wait = { until = {} }").0, "no-verb");
    assert_eq!(fault("wait = { until = 'converged', bgp = { on = 'n', all = 'Idle' } }").0, "several-verbs");
    assert_eq!(fault("wait = { until = 'convergd' }").2, "`convergd` is not known here; did you mean `converged`?");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let contradictory = [
        ("expect = 'fail'\nroutes = { on = 'n', equal = [] }", "'fail'"),
        ("expect = 'fail'\nexec = { on = 'n', command = ['true'] }", "'fail'"),
        ("expect = 'fail'\nping = { from = 'a', to = 'b', ttl = 62 }", "62"),
        ("ping = { from = 'a', to = 'b', error = 'live' }", "'live'"),
        ("expect = 'fail'\ncurl = { from = 'a', to = 'b', status = 200 }", "200"),
        ("expect = 'fail'\ncurl = { from = 'a', to = 'b', body = 'x' }", "'x'"),
        ("expect = 'fail'\ncurl = { from = 'a', to = 'b', size = 9 }", "9"),
        ("curl = { from = 'a', to = 'b', size = 9, path = '/x' }", "'/x'"),
        ("routes = { on = 'n', equal = [], include = ['default via 10.0.0.1'] }", "['default via 10.0.0.1']"),
        (
            "routes = { on = 'n', proto = 'bird', equal = ['10.0.0.0/8 via 10.1.0.1 proto kernel'] }",
            "'10.0.0.0/8 via 10.1.0.1 proto kernel'",
        ),
        ("bgp = { on = 'n', all = 'Idle', sessions = { m = 'Idle' } }", "{ m = 'Idle' }"),
        ("links = { on = 'n', include = [{ name = 'tunl0', kind = 'ipip' }] }", "'ipip'"),
        (
            "capture = { on = ['n:eth0'], during = { ping = { from = 'a', to = 'b' } }, expect = { min = 2, max = 1 } }",
            "{ min = 2, max = 1 }",
        ),
        (
            "capture = { on = ['n:eth0'], during = { ping = { from = 'a', to = 'b' } }, expect = { proto = 'icmp', port = 80 } }",
            "80",
        ),
        ("do = { peer = 'disable', node = 'a', with = 'b', on = 'a:eth0' }", "'a:eth0'"),
        ("do = { link = 'up', on = 'a:eth0', with = 'b' }", "'b'"),
    ];
    for (step, place) in contradictory {
        let (code, at, _) = fault(step);
        assert_eq!((code, at.as_str()), ("contradiction", place), "{step}");
    }
}

#[test]
fn what_would_always_pass_is_refused() {
    for step in [
        "routes = { on = 'n' }",
        "routes = { on = 'n', include = [] }",
        "neighbours = { on = 'n', exclude = [] }",
        "fdb = { on = 'n' }",
        "links = { on = 'n', include = [] }",
        "bgp = { on = 'n' }",
        "bgp = { on = 'n', sessions = {} }",
        "exec = { on = 'n', command = [] }",
        "ping = { from = 'a', to = 'b', count = 0 }",
        "curl = { from = 'a', to = 'b', size = 0 }",
        "capture = { on = [], during = { ping = { from = 'a', to = 'b' } }, expect = { min = 1 } }",
        "capture = { on = ['n:eth0'], during = { ping = { from = 'a', to = 'b' } }, expect = { min = 0 } }",
    ] {
        assert_eq!(fault(step).0, "vacuous", "{step}");
    }
}

#[test]
fn values_out_of_their_range_are_refused() {
    for (step, place) in [
        ("ping = { from = 'a', to = 'b', ttl = 256 }", "256"),
        ("ping = { from = 'a', to = 'b', count = -1 }", "-1"),
        ("ping = { from = 'a', to = 'b', size = 65508 }", "65508"),
        ("curl = { from = 'a', to = 'b', port = 65536 }", "65536"),
        ("curl = { from = 'a', to = 'b', status = 99 }", "99"),
        ("curl = { from = 'a', to = 'b', size = 1048577 }", "1048577"),
        ("within = '0s'\nwait = { until = 'converged' }", "'0s'"),
    ] {
        let (code, at, _) = fault(step);
        assert_eq!((code, at.as_str()), ("out-of-range", place), "{step}");
    }
}

#[test]
fn values_without_the_right_form_are_refused() {
    for (step, place) in [
        ("curl = { from = 'a', to = 'b', path = 'x' }", "'x'"),
        ("routes = { on = 'n', proto = 'brid', equal = [] }", "'brid'"),
        ("do = { link = 'down', on = 'node1' }", "'node1'"),
        ("bgp = { on = 'n', sessions = { m = 'Up' } }", "'Up'"),
        ("links = { on = 'n', include = [{ name = 'eth0', mac = 'x' }] }", "'x'"),
        ("links = { on = 'n', include = [{ name = 'eth0', addresses = ['10.0.0.1'] }] }", "'10.0.0.1'"),
        ("links = { on = 'n', exclude = ['an-interface-too-long'] }", "'an-interface-too-long'"),
    ] {
        let (code, at, _) = fault(step);
        assert_eq!((code, at.as_str()), ("invalid-value", place), "{step}");
    }
    for (step, place) in [
        ("ping = 'a'", "'a'"),
        ("ping = { from = 'a', to = ['b'] }", "['b']"),
        ("ping = { from = 'a', to = 'b', df = 1 }", "1"),
        ("exec = { on = 'n', command = 'true' }", "'true'"),
        ("ping = { from = 'a', to = 'b', count = 1.5 }", "1.5"),
    ] {
        let (code, at, _) = fault(step);
        assert_eq!((code, at.as_str()), ("wrong-type", place), "{step}");
    }
}

#[test]
fn a_change_names_what_it_changes() {
    assert_eq!(fault("do = {}").0, "no-verb");
    assert_eq!(fault("do = { peer = 'disable', node = 'a' }").2.split(';').next(), Some("`do` lacks `with`"));
    assert_eq!(fault("do = { link = 'down' }").2.split(';').next(), Some("`do` lacks `on`"));
    assert_eq!(fault("do = { pod = 'delete' }").0, "unknown-key");
    assert_eq!(
        fault("do = { peer = 'dissable', node = 'a', with = 'b' }").2,
        "`dissable` is not known here; did you mean `disable`?"
    );
}

#[test]
fn there_is_no_verb_to_sleep() {
    assert_eq!(
        fault("sleep = '2s'"),
        is(
            "unknown-key",
            "sleep",
            "there is no key `sleep` here; assertions are tried until they hold: give the step `within = \"10s\"`, say"
        )
    );
}

#[test]
fn a_key_that_is_missing_is_shown_with_a_value() {
    for (step, help) in [
        ("ping = { to = 'b' }", "`from` is missing; write `from = \"node1-pod1\"`, say"),
        ("routes = { equal = [] }", "`on` is missing; write `on = \"node1\"`, say"),
        (
            "capture = { during = { ping = { from = 'a', to = 'b' } }, expect = { min = 1 } }",
            "`on` is missing; write `on = [\"node1:eth0\"]`, say, here or `on = \"node1:eth0\"` in each table of `expect`",
        ),
        ("exec = { on = 'n' }", "`command` is missing; write `command = [\"ip\", \"route\"]`, say"),
        ("links = { on = 'n', include = [{ up = true }] }", "`name` is missing; write `name = \"eth0\"`, say"),
    ] {
        let (code, _, text) = fault(step);
        assert_eq!((code, text.as_str()), ("missing-key", help), "{step}");
    }
}

#[test]
fn a_value_of_another_type_is_written_as_it_should_be() {
    for (step, help) in [
        ("ping = { from = 'a', to = 'b', count = '3' }", "write `3`"),
        ("ping = { from = 'a', to = 'b', df = 'true' }", "write `true`"),
        ("ping = { from = 'a', to = 1.5 }", "write `\"1.5\"`"),
        ("routes = { on = 'n', include = 'default' }", "write `[\"default\"]`"),
        ("exec = { on = 'n', command = 'ip -4 route' }", "write `[\"ip\", \"-4\", \"route\"]`"),
    ] {
        let (code, _, text) = fault(step);
        assert_eq!((code, text.split("; ").nth(1)), ("wrong-type", Some(help)), "{step}");
    }
}

#[test]
fn a_filter_is_read_before_anything_runs() {
    let capture = |filter: &str| {
        fault(&format!(
            "capture = {{ on = ['n:eth0'], during = {{ ping = {{ from = 'a', to = 'b' }} }}, filter = {filter}, expect = {{ min = 1 }} }}"
        ))
    };
    assert_eq!(
        capture("'tcp prot 80'"),
        is(
            "invalid-filter",
            "prot",
            "the filter `tcp prot 80` cannot be read: `prot` follows a complete test; join tests with `and` or `or`"
        )
    );
    // With an escape, words of the filter are not where they seem to be.
    let (code, at, _) = capture(r#""tcp\u0020prot 80""#);
    assert_eq!((code, at.as_str()), ("invalid-filter", r#""tcp\u0020prot 80""#));
}

#[test]
fn the_schema_has_every_verb_and_refuses_other_keys() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let step = &schema["$defs"]["Step"];
    assert_eq!(step["additionalProperties"], false);
    let mut keys: Vec<&str> = step["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "bgp",
            "capture",
            "curl",
            "do",
            "exec",
            "expect",
            "fdb",
            "links",
            "mtu",
            "name",
            "neighbours",
            "ping",
            "routes",
            "wait",
            "within"
        ]
    );
    assert!(!schema.to_string().contains("null"));
    assert!(!schema.to_string().contains("Raw"));
    assert!(!schema.to_string().contains("unsound"));
}

#[test]
fn the_scenarios_that_come_with_the_lab_are_valid() {
    for (name, text, steps) in [
        ("calico-bgp-fullmesh", include_str!("../../scenarios/calico-bgp-fullmesh.toml"), 35),
        ("one-node", include_str!("../../scenarios/one-node.toml"), 10),
        ("bgp-100", include_str!("../../scenarios/bgp-100.toml"), 14),
    ] {
        let scenario = parse(text).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        assert_eq!(scenario.steps.len(), steps, "{name}");
        assert_eq!(scenario.topology.value, format!("../topologies/{name}.toml"));
    }
}
