//! What alerts were worth to the person who got them.
//!
//! Input: a scenario that was played, and alerts. Output: a [`Verdict`] on each set of alerts. Must not: render anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Alert, Played, Source};

/// A container that alerts named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) container: &'a str,
    /// The first alert that did.
    pub(super) alert: &'a str,
    /// How long that was after the scenario's objects had been applied.
    pub(super) after: Duration,
}

/// What one set of alerts made of one scenario.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Something is wrong, and an alert names the container that somebody has to repair. Others may name others.
    NamedIt { it: Named<'a>, others: Vec<Named<'a>> },
    /// Something is wrong, and every alert names another container.
    NamedAnother(Vec<Named<'a>>),
    /// Something is wrong, and no alert fired.
    SawNothing,
    /// Nothing is wrong, and an alert fired.
    CriedWolf(Vec<Named<'a>>),
    /// Nothing is wrong, and no alert fired.
    Quiet,
}

/// What the alerts of one source made of a scenario: of those that fired in its namespace, from its beginning to
/// its end.
pub(super) fn verdict<'a>(played: &Played<'a>, alerts: &'a [Alert], source: Source) -> Verdict<'a> {
    let mut named: BTreeMap<&str, Named<'_>> = BTreeMap::new();
    let here = |alert: &&Alert| alert.source == source && alert.label("namespace") == played.scenario.name;
    for alert in alerts.iter().filter(here) {
        let Some(fired) = alert.fired_between(played.began, played.until) else {
            continue;
        };
        let container = alert.label("container");
        let one = Named {
            container,
            alert: &alert.name,
            after: fired.duration_since(played.began).unsigned_abs(),
        };
        match named.get(container) {
            Some(earlier) if earlier.after <= one.after => {}
            _ => drop(named.insert(container, one)),
        }
    }
    let it = played
        .scenario
        .story
        .wrong
        .as_ref()
        .map(|wrong| named.remove(wrong.container.as_str()));
    let mut others: Vec<_> = named.into_values().collect();
    others.sort_by_key(|one| one.after);
    match (it, others.is_empty()) {
        (None, true) => Verdict::Quiet,
        (None, false) => Verdict::CriedWolf(others),
        (Some(None), true) => Verdict::SawNothing,
        (Some(None), false) => Verdict::NamedAnother(others),
        (Some(Some(it)), _) => Verdict::NamedIt { it, others },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alert, played, scenario};
    use super::*;

    #[test]
    fn who_named_it_who_named_another_and_who_cried_wolf() {
        let wrong = [scenario("pod", "wrong: {container: proxy, what: fails}")];
        let well = [scenario("pod", "")];
        let (wrong, well) = (played(&wrong), played(&well));
        let fired = |name: &str, container: &str, times: std::ops::Range<i64>| {
            let labels = [("namespace", "pod"), ("container", container)];
            alert(Source::Common, name, &labels, times)
        };
        let named = |container: &'static str, alert: &'static str, after: u64| Named {
            container,
            alert,
            after: Duration::from_secs(after),
        };
        let expect = |alerts: &[Alert], of_wrong: Verdict<'_>, of_well: Verdict<'_>| {
            assert_eq!(verdict(&wrong[0], alerts, Source::Common), of_wrong);
            assert_eq!(verdict(&well[0], alerts, Source::Common), of_well);
        };

        expect(&[], Verdict::SawNothing, Verdict::Quiet);
        expect(
            &[fired("X", "proxy", 20..30), fired("Y", "proxy", 10..12)],
            Verdict::NamedIt {
                it: named("proxy", "Y", 10),
                others: vec![],
            },
            Verdict::CriedWolf(vec![named("proxy", "Y", 10)]),
        );
        expect(
            &[fired("X", "worker", 9..30), fired("X", "app", 8..30)],
            Verdict::NamedAnother(vec![named("app", "X", 8), named("worker", "X", 9)]),
            Verdict::CriedWolf(vec![named("app", "X", 8), named("worker", "X", 9)]),
        );
        expect(
            &[fired("X", "app", 8..30), fired("Y", "proxy", 10..11)],
            Verdict::NamedIt {
                it: named("proxy", "Y", 10),
                others: vec![named("app", "X", 8)],
            },
            Verdict::CriedWolf(vec![named("app", "X", 8), named("proxy", "Y", 10)]),
        );

        let too_late = fired("X", "proxy", 101..110);
        let elsewhere = alert(
            Source::Common,
            "X",
            &[("namespace", "other"), ("container", "proxy")],
            1..9,
        );
        let of_others = Alert {
            source: Source::Shipped,
            ..fired("X", "proxy", 1..9)
        };
        let pending = Alert {
            firing: vec![],
            ..fired("X", "proxy", 1..9)
        };
        for alert in [too_late, elsewhere, of_others, pending] {
            expect(&[alert], Verdict::SawNothing, Verdict::Quiet);
        }
    }
}
