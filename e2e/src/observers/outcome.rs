//! Classifies how one set of alerts reported one scenario.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Alert, ObservedRun, Source};

/// A container that an alert names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) container: &'a str,
    /// The first alert that names it.
    pub(super) alert: &'a str,
    /// Time between the start of the scenario and the alert.
    pub(super) after: Duration,
}

/// Result of one set of alerts in one scenario.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// An alert names the faulty container. Other alerts may name other containers.
    Correct { it: Named<'a>, others: Vec<Named<'a>> },
    /// All alerts name other containers than the faulty one.
    WrongContainer(Vec<Named<'a>>),
    /// There is a fault and no alert fired.
    Missed,
    /// There is no fault and an alert fired.
    FalsePositive(Vec<Named<'a>>),
    /// There is no fault and no alert fired.
    NoAlert,
}

/// Classifies the alerts of one source that fired in the namespace of a scenario, from its start to its end.
pub(super) fn outcome<'a>(run: &ObservedRun<'a>, alerts: &'a [Alert], source: Source) -> Outcome<'a> {
    let mut named: BTreeMap<&str, Named<'_>> = BTreeMap::new();
    let here = |alert: &&Alert| alert.source == source && alert.label("namespace") == run.scenario.name;
    for alert in alerts.iter().filter(here) {
        let Some(fired) = alert.fired_between(run.started, run.ended) else {
            continue;
        };
        let container = alert.label("container");
        let one = Named {
            container,
            alert: &alert.name,
            after: fired.duration_since(run.started).unsigned_abs(),
        };
        match named.get(container) {
            Some(earlier) if earlier.after <= one.after => {}
            _ => drop(named.insert(container, one)),
        }
    }
    let it = run
        .scenario
        .spec
        .wrong
        .as_ref()
        .map(|wrong| named.remove(wrong.container.as_str()));
    let mut others: Vec<_> = named.into_values().collect();
    others.sort_by_key(|one| one.after);
    match (it, others.is_empty()) {
        (None, true) => Outcome::NoAlert,
        (None, false) => Outcome::FalsePositive(others),
        (Some(None), true) => Outcome::Missed,
        (Some(None), false) => Outcome::WrongContainer(others),
        (Some(Some(it)), _) => Outcome::Correct { it, others },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alert, runs, scenario};
    use super::*;

    #[test]
    fn every_outcome_is_recognized() {
        let wrong = [scenario("pod", "wrong: {container: proxy, what: fails}")];
        let well = [scenario("pod", "")];
        let (wrong, well) = (runs(&wrong), runs(&well));
        let fired = |name: &str, container: &str, times: std::ops::Range<i64>| {
            let labels = [("namespace", "pod"), ("container", container)];
            alert(Source::Common, name, &labels, times)
        };
        let named = |container: &'static str, alert: &'static str, after: u64| Named {
            container,
            alert,
            after: Duration::from_secs(after),
        };
        let expect = |alerts: &[Alert], of_wrong: Outcome<'_>, of_well: Outcome<'_>| {
            assert_eq!(outcome(&wrong[0], alerts, Source::Common), of_wrong);
            assert_eq!(outcome(&well[0], alerts, Source::Common), of_well);
        };

        expect(&[], Outcome::Missed, Outcome::NoAlert);
        expect(
            &[fired("X", "proxy", 20..30), fired("Y", "proxy", 10..12)],
            Outcome::Correct {
                it: named("proxy", "Y", 10),
                others: vec![],
            },
            Outcome::FalsePositive(vec![named("proxy", "Y", 10)]),
        );
        expect(
            &[fired("X", "worker", 9..30), fired("X", "app", 8..30)],
            Outcome::WrongContainer(vec![named("app", "X", 8), named("worker", "X", 9)]),
            Outcome::FalsePositive(vec![named("app", "X", 8), named("worker", "X", 9)]),
        );
        expect(
            &[fired("X", "app", 8..30), fired("Y", "proxy", 10..11)],
            Outcome::Correct {
                it: named("proxy", "Y", 10),
                others: vec![named("app", "X", 8)],
            },
            Outcome::FalsePositive(vec![named("app", "X", 8), named("proxy", "Y", 10)]),
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
            expect(&[alert], Outcome::Missed, Outcome::NoAlert);
        }
    }
}
