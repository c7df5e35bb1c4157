//! Routes: the whole table, or that some are in it and others are not.

use super::{DiffLine, Verdict, count};
use crate::net::Route;
use crate::scenario::model::{RouteExpectation, Routes};

/// Compares table main with what the step expects. The order of routes means nothing; two equal routes are two.
pub fn routes(expected: &Routes, observed: &[Route]) -> Verdict {
    match &expected.want {
        RouteExpectation::Equal(wanted) => {
            let among: Vec<&Route> =
                observed.iter().filter(|route| expected.proto.is_none_or(|proto| route.proto == proto)).collect();
            equal(expected, wanted, among)
        }
        RouteExpectation::Among { include, exclude } => {
            let missing: Vec<&Route> = include.iter().filter(|route| !observed.contains(route)).collect();
            let present: Vec<&Route> =
                observed.iter().filter(|route| exclude.iter().any(|pattern| pattern.fits(route))).collect();
            if missing.is_empty() && present.is_empty() {
                return Verdict::Pass;
            }
            // Beside a missing route stands what there is towards the same destination.
            let instead = observed.iter().filter(|route| missing.iter().any(|want| want.dst == route.dst));
            let mut found: Vec<&Route> = present.iter().copied().chain(instead).collect();
            found.sort();
            found.dedup();
            let on = &expected.on.value;
            let wish = match (include.len(), exclude.len()) {
                (some, 0) => format!("{} among the routes of {on}", count(some, "route")),
                (0, _) => format!("no such route on {on}"),
                (some, _) => format!("{} among the routes of {on}, and others absent", count(some, "route")),
            };
            let fact = match (missing.len(), present.len()) {
                (0, present) => format!("{} that must not be there", count(present, "route")),
                (missing, 0) => format!("{missing} missing"),
                (missing, present) => format!("{missing} missing, {present} that must not be there"),
            };
            Verdict::fail(wish, fact, difference(missing, found))
        }
    }
}

fn equal(expected: &Routes, wanted: &[Route], mut observed: Vec<&Route>) -> Verdict {
    let mut missing = Vec::new();
    let number = observed.len();
    for route in wanted {
        match observed.iter().position(|found| *found == route) {
            Some(position) => drop(observed.remove(position)),
            None => missing.push(route),
        }
    }
    if missing.is_empty() && observed.is_empty() {
        return Verdict::Pass;
    }
    let whose = match expected.proto {
        Some(proto) => format!("proto {proto} on {}", expected.on.value),
        None => format!("on {}", expected.on.value),
    };
    let wish = format!("exactly {} {whose}", count(wanted.len(), "route"));
    let fact = format!("{}: {} missing, {} unexpected", count(number, "route"), missing.len(), observed.len());
    Verdict::fail(wish, fact, difference(missing, observed))
}

/// Missing and unexpected routes by destination, so that the two forms of one route are neighbours.
fn difference(missing: Vec<&Route>, unexpected: Vec<&Route>) -> Vec<DiffLine> {
    let missing = missing.into_iter().map(|route| (route.dst, DiffLine::missing(route)));
    let unexpected = unexpected.into_iter().map(|route| (route.dst, DiffLine::unexpected(route)));
    let mut lines: Vec<_> = missing.chain(unexpected).collect();
    lines.sort_by_key(|(dst, _)| *dst);
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::scenario::{StateCheck, Verb};

    const TABLE: [&str; 4] = [
        "default via 172.18.0.1 dev eth0",
        "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
        "blackhole 10.244.140.128/26 proto bird",
        "172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2",
    ];

    fn verdict(text: &str) -> Vec<String> {
        let Verb::State(StateCheck::Routes(expected)) = step(text).verb else { panic!("routes") };
        let observed: Vec<Route> = TABLE.iter().map(|line| line.parse().unwrap()).collect();
        shown(routes(&expected, &observed))
    }

    #[test]
    fn equal_compares_the_routes_of_the_protocol_in_any_order() {
        let same = "routes = { on = 'n', proto = 'bird', equal = [\
            'blackhole 10.244.140.128/26', '10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird'] }";
        assert_eq!(verdict(same), Vec::<String>::new());
    }

    #[test]
    fn equal_without_a_protocol_compares_the_whole_table() {
        let whole = format!("routes = {{ on = 'n', equal = {TABLE:?} }}");
        assert_eq!(verdict(&whole), Vec::<String>::new());
        assert_eq!(
            verdict("routes = { on = 'n', equal = ['default via 172.18.0.1 dev eth0'] }"),
            [
                "exactly 1 route on n | 4 routes: 0 missing, 3 unexpected",
                "+ 10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
                "+ blackhole 10.244.140.128/26 proto bird",
                "+ 172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2",
            ]
        );
    }

    #[test]
    fn the_two_forms_of_one_route_stand_side_by_side() {
        let wrong = "routes = { on = 'n', proto = 'bird', equal = [\
            'blackhole 10.244.140.128/26', '10.244.73.64/26 via 172.18.0.4 dev eth0'] }";
        assert_eq!(
            verdict(wrong),
            [
                "exactly 2 routes proto bird on n | 2 routes: 1 missing, 1 unexpected",
                "- 10.244.73.64/26 via 172.18.0.4 dev eth0 proto bird",
                "+ 10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
            ]
        );
    }

    #[test]
    fn a_route_expected_twice_is_there_once() {
        let twice = "routes = { on = 'n', proto = 'kernel', equal = [\
            '172.18.0.0/16 dev eth0 scope link src 172.18.0.2', '172.18.0.0/16 dev eth0 scope link src 172.18.0.2'] }";
        assert_eq!(
            verdict(twice),
            [
                "exactly 2 routes proto kernel on n | 1 route: 1 missing, 0 unexpected",
                "- 172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2",
            ]
        );
    }

    #[test]
    fn include_shows_what_there_is_instead() {
        assert_eq!(
            verdict("routes = { on = 'n', include = ['10.244.73.64/26 dev eth0', '10.9.0.0/16 dev eth0'] }"),
            [
                "2 routes among the routes of n | 2 missing",
                "- 10.9.0.0/16 dev eth0",
                "- 10.244.73.64/26 dev eth0",
                "+ 10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
            ]
        );
    }

    #[test]
    fn exclude_takes_a_destination_for_every_route_to_it() {
        assert_eq!(
            verdict("routes = { on = 'n', exclude = ['10.244.73.64/26'] }"),
            [
                "no such route on n | 1 route that must not be there",
                "+ 10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
            ]
        );
        assert_eq!(verdict("routes = { on = 'n', exclude = ['10.244.83.128/26'] }"), Vec::<String>::new());
        assert_eq!(
            verdict("routes = { on = 'n', proto = 'static', exclude = ['10.244.73.64/26'] }"),
            Vec::<String>::new()
        );
    }
}
