//! Neighbour and forwarding entries: that some are there and others are not.

use std::fmt::Display;

use super::{DiffLine, Verdict, count};
use crate::net::{FdbEntry, Neighbour};
use crate::scenario::model::{Fdb, Neighbours};

/// Compares the neighbour table with what the step expects.
pub fn neighbours(expected: &Neighbours, observed: &[Neighbour]) -> Verdict {
    let on = format!("neighbours of {}", expected.on.value);
    entries(
        &on,
        &expected.include,
        &expected.exclude,
        observed,
        |pattern, entry| pattern.fits(entry),
        |pattern, entry| entry.dst == pattern.dst,
    )
}

/// Compares forwarding entries with what the step expects.
pub fn fdb(expected: &Fdb, observed: &[FdbEntry]) -> Verdict {
    let on = format!("forwarding entries of {}", expected.on.value);
    entries(
        &on,
        &expected.include,
        &expected.exclude,
        observed,
        |pattern, entry| pattern.fits(entry),
        |pattern, entry| entry.mac == pattern.mac,
    )
}

/// `same`: the entry is about the same neighbour as the pattern, and is shown where the pattern fits none.
fn entries<P: Display, E: Display + PartialEq>(
    on: &str,
    include: &[P],
    exclude: &[P],
    observed: &[E],
    fits: impl Fn(&P, &E) -> bool,
    same: impl Fn(&P, &E) -> bool,
) -> Verdict {
    let missing: Vec<&P> =
        include.iter().filter(|pattern| !observed.iter().any(|entry| fits(pattern, entry))).collect();
    let present: Vec<&E> = observed.iter().filter(|entry| exclude.iter().any(|pattern| fits(pattern, entry))).collect();
    if missing.is_empty() && present.is_empty() {
        return Verdict::Pass;
    }
    let mut difference = Vec::new();
    for pattern in &missing {
        difference.push(DiffLine::missing(pattern));
        difference.extend(observed.iter().filter(|entry| same(pattern, entry)).map(DiffLine::unexpected));
    }
    for entry in &present {
        let line = DiffLine::unexpected(entry);
        if !difference.contains(&line) {
            difference.push(line);
        }
    }
    let wish = match (include.len(), exclude.len()) {
        (0, _) => format!("no such entry among the {on}"),
        (some, 0) => format!("{} among the {on}", count(some, "entry")),
        (some, _) => format!("{} among the {on}, and others absent", count(some, "entry")),
    };
    let fact = format!("{} missing, {} that must not be there", missing.len(), present.len());
    Verdict::fail(wish, fact, difference)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::net::{IfName, MacAddr};
    use crate::scenario::{StateCheck, Verb};

    fn neighbour(mac: Option<MacAddr>, state: &str) -> Neighbour {
        Neighbour { dst: [169, 254, 1, 1].into(), dev: IfName::eth(0), lladdr: mac, state: state.into() }
    }

    fn verdict(text: &str, observed: &[Neighbour]) -> Vec<String> {
        let Verb::State(StateCheck::Neighbours(expected)) = step(text).verb else { panic!("neighbours") };
        shown(neighbours(&expected, observed))
    }

    #[test]
    fn the_state_of_an_entry_does_not_matter_unless_it_is_said() {
        let resolved = [neighbour(Some(MacAddr::CALICO_HOST), "STALE")];
        let plain = "neighbours = { on = 'p', include = ['169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee'] }";
        assert_eq!(verdict(plain, &resolved), Vec::<String>::new());
        let said = "neighbours = { on = 'p', include = ['169.254.1.1 dev eth0 PERMANENT'] }";
        assert_eq!(
            verdict(said, &resolved),
            [
                "1 entry among the neighbours of p | 1 missing, 0 that must not be there",
                "- 169.254.1.1 dev eth0 PERMANENT",
                "+ 169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee STALE",
            ]
        );
    }

    #[test]
    fn an_unresolved_entry_has_no_address() {
        let unresolved = [neighbour(None, "INCOMPLETE")];
        let plain = "neighbours = { on = 'p', include = ['169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee'] }";
        assert_eq!(verdict(plain, &unresolved).len(), 3);
    }

    #[test]
    fn an_excluded_entry_is_shown() {
        let text =
            "fdb = { on = 'n', include = ['66:69:94:f0:87:f7 dst 10.0.0.201'], exclude = ['ee:ee:ee:ee:ee:ee'] }";
        let Verb::State(StateCheck::Fdb(expected)) = step(text).verb else { panic!("fdb") };
        let entry = |mac: &str| FdbEntry {
            mac: mac.parse().unwrap(),
            dev: IfName::new("vxlan.calico").unwrap(),
            dst: Some([10, 0, 0, 201].into()),
            permanent: true,
        };
        assert_eq!(fdb(&expected, &[entry("66:69:94:f0:87:f7")]), Verdict::Pass);
        assert_eq!(
            shown(fdb(&expected, &[entry("66:69:94:f0:87:f7"), entry("ee:ee:ee:ee:ee:ee")])),
            [
                "1 entry among the forwarding entries of n, and others absent | 0 missing, 1 that must not be there",
                "+ ee:ee:ee:ee:ee:ee dev vxlan.calico dst 10.0.0.201 self permanent",
            ]
        );
    }
}
