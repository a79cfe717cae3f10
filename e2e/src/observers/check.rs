//! Checks that the shipped alerts fire as the scenarios expect. The label `check` identifies the check of an alert;
//! `tests/alert_rules.rs` tests the names of the alerts.

use super::{Alert, ObservedRun, Source};
use crate::scenario::{Expected, Then};

/// Differences between the shipped alerts and the scenarios: each expected alert must fire, must resolve if its violation
/// resolves, and no other alert may fire. The scenarios are valid for [`super::Timing::Fast`].
pub fn check_shipped(runs: &[ObservedRun<'_>], alerts: &[Alert]) -> Vec<String> {
    let fired: Vec<_> = alerts
        .iter()
        .filter(|alert| alert.source == Source::Shipped && !alert.firing.is_empty())
        .collect();
    let mut errors = Vec::new();
    for run in runs {
        let name = &run.scenario.name;
        let expected = &run.scenario.spec.expect;
        for expected in expected {
            let of_expected = fired.iter().filter(|alert| is_of(alert, run, expected));
            let of_expected: Vec<_> = of_expected.copied().collect();
            if of_expected.is_empty() {
                errors.push(format!("{name}: no alert fired: {expected}"));
            }
            for alert in of_expected {
                match (expected.then, alert.fires_at(run.ended)) {
                    (Then::Stays, false) => errors.push(format!("{name}: no longer fires: {alert}")),
                    (Then::Recovers | Then::Ends, true) => {
                        errors.push(format!("{name}: still fires at {}: {alert}", run.ended));
                    }
                    (Then::Stays, true) | (Then::Recovers | Then::Ends, false) => {}
                }
            }
        }
        // Two expectations may match the same alert, if its workload has both Pods.
        let here = fired
            .iter()
            .filter(|alert| alert.label("namespace") == name)
            .count();
        if here > expected.len() {
            let count = expected.len();
            errors.push(format!("{name}: {here} alerts fired, and {count} were expected"));
        }
    }
    for alert in fired {
        let explains = |run: &ObservedRun<'_>| {
            let mut expected = run.scenario.spec.expect.iter();
            expected.any(|expected| is_of(alert, run, expected))
        };
        if !runs.iter().any(explains) {
            errors.push(format!("false positive: {alert}"));
        }
    }
    errors
}

/// Whether this alert reports the expected violation. An alert names the workload, and a scenario the Pod.
fn is_of(alert: &Alert, run: &ObservedRun<'_>, expected: &Expected) -> bool {
    let name = &run.scenario.name;
    let pod = expected.pod.as_ref().unwrap_or(name);
    let workload = alert.label("workload");
    let is_about = match (&expected.image, &expected.workload) {
        (Some(image), _) => workload.is_empty() && alert.label("repository") == *image,
        (None, Some(expected)) => alert.label("workload_kind") == expected.kind && workload == expected.name,
        (None, None) => !workload.is_empty() && (pod.starts_with(workload) || workload.starts_with(pod)),
    };
    is_about
        && alert.label("namespace") == name
        && alert.label("container") == expected.container
        && alert.label("check") == expected.check.as_str()
        && alert.label("policy") == expected.policy
}

#[cfg(test)]
mod tests {
    use sidewatch::domain::policy::Check;

    use super::super::testing::{alert, at, runs, scenario};
    use super::*;
    use crate::scenario::Scenario;

    /// The alert that `flaky` expects, with some labels replaced.
    fn of(labels: &[(&str, &str)], fired: std::ops::Range<i64>) -> Alert {
        let right = [
            ("namespace", "flaky"),
            ("workload", "flaky"),
            ("container", "proxy"),
            ("check", "NotReady"),
            ("policy", "quick"),
        ];
        alert(
            Source::Shipped,
            "SidecarContainerNotReady",
            &[&right, labels].concat(),
            fired,
        )
    }

    #[test]
    fn each_check_fires_and_recovers_in_some_scenario() {
        let scenarios = Scenario::all().unwrap();
        let expected: Vec<_> = scenarios
            .iter()
            .flat_map(|scenario| &scenario.spec.expect)
            .collect();
        for check in Check::ALL {
            for then in [Then::Stays, Then::Recovers] {
                let covered = expected.iter().any(|one| one.check == check && one.then == then);
                assert!(covered, "{check:?}: no scenario expects {then:?}");
            }
        }
    }

    #[test]
    fn every_difference_is_an_error() {
        let expecting = |then: &str| {
            let spec = "check: NotReady, reason: SidecarContainerNotReady, container: proxy, note: [it]";
            scenario("flaky", &format!("expect: [{{{spec}, then: {then}}}]"))
        };
        let expect = |then: &str, alerts: &[&Alert], errors: &[&str]| {
            let alerts: Vec<_> = alerts.iter().copied().cloned().collect();
            let found = check_shipped(&runs(&[expecting(then)]), &alerts);
            assert_eq!(found.len(), errors.len(), "{then}: {found:?}");
            for (found, error) in found.iter().zip(errors) {
                assert!(found.contains(error), "{then}: {found} instead of {error}");
            }
        };
        let ended = of(&[], 20..60);
        let stays = of(&[], 20..101);
        expect("Stays", &[&stays], &[]);
        expect("Stays", &[&ended], &["no longer fires"]);
        for then in ["Recovers", "Ends"] {
            expect(then, &[&ended], &[]);
            expect(then, &[&stays], &["still fires"]);
        }
        expect("Stays", &[], &["no alert fired: NotReady of proxy under quick"]);
        for (label, other) in [
            ("namespace", "neighbour"),
            ("workload", "other"),
            ("container", "app"),
            ("check", "Flapping"),
            ("policy", "other"),
        ] {
            let wrong = of(&[(label, other)], 20..101);
            expect("Stays", &[&wrong], &["no alert fired", "false positive"]);
        }
        let second = of(&[("workload", "flaky-2")], 20..101);
        expect(
            "Stays",
            &[&stays, &second],
            &["2 alerts fired, and 1 were expected"],
        );

        let about_sidewatch = alert(Source::Shipped, "SidewatchDown", &[], 30..40);
        expect(
            "Stays",
            &[&stays, &about_sidewatch],
            &["false positive: SidewatchDown"],
        );
        let pending = Alert {
            pending: Some(at(30)),
            firing: Vec::new(),
            ..about_sidewatch
        };
        let common = alert(
            Source::Common,
            "SidecarContainerNotReady",
            &[("namespace", "flaky")],
            0..100,
        );
        expect("Stays", &[&stays, &pending, &common], &[]);
    }
}
