//! Whether the alerts that we ship are what the scenarios expect.
//!
//! Input: scenarios that were played, and alerts. Output: sentences about what is wrong. The alert of a check is told by its
//! label `check`; that it has the right name is tested in `tests/alert_rules.rs`.

use super::{Alert, Played, Source};
use crate::scenario::{Expected, Then};

/// What is wrong with our alerts; nothing when every expected one fired, was resolved if its violation was, and no other fired.
/// What scenarios expect holds under their own policies, with [`super::Timing::Hurried`].
pub fn check_shipped(played: &[Played<'_>], alerts: &[Alert]) -> Vec<String> {
    let fired: Vec<_> = alerts
        .iter()
        .filter(|alert| alert.source == Source::Shipped && !alert.firing.is_empty())
        .collect();
    let mut errors = Vec::new();
    for one in played {
        let name = &one.scenario.name;
        let expected = &one.scenario.story.expect;
        for expected in expected {
            let of_expected = fired.iter().filter(|alert| is_of(alert, one, expected));
            let of_expected: Vec<_> = of_expected.copied().collect();
            if of_expected.is_empty() {
                errors.push(format!("{name}: no alert fired: {expected}"));
            }
            for alert in of_expected {
                match (expected.then, alert.fires_at(one.until)) {
                    (Then::Stays, false) => errors.push(format!("{name}: no longer fires: {alert}")),
                    (Then::Recovers | Then::Ends, true) => {
                        errors.push(format!("{name}: still fires at {}: {alert}", one.until));
                    }
                    (Then::Stays, true) | (Then::Recovers | Then::Ends, false) => {}
                }
            }
        }
        // Expectations may have a beginning of a Pod's name in common.
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
        let explains = |one: &Played<'_>| {
            let mut expected = one.scenario.story.expect.iter();
            expected.any(|expected| is_of(alert, one, expected))
        };
        if !played.iter().any(explains) {
            errors.push(format!("a false alarm: {alert}"));
        }
    }
    errors
}

fn is_of(alert: &Alert, played: &Played<'_>, expected: &Expected) -> bool {
    let name = &played.scenario.name;
    alert.label("namespace") == name
        && alert
            .label("pod")
            .starts_with(expected.pod.as_ref().unwrap_or(name))
        && alert.label("container") == expected.container
        && alert.label("check") == expected.check.as_str()
        && alert.label("policy") == expected.policy
}

#[cfg(test)]
mod tests {
    use sidewatch::domain::policy::Check;

    use super::super::testing::{alert, at, played, scenario};
    use super::*;
    use crate::scenario::Scenario;

    /// The alert that `flaky` expects, with other labels than it should have.
    fn of(labels: &[(&str, &str)], fired: std::ops::Range<i64>) -> Alert {
        let right = [
            ("namespace", "flaky"),
            ("pod", "flaky-7d9f8-x"),
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
    fn the_alert_of_each_check_fires_and_is_resolved_in_some_scenario() {
        let scenarios = Scenario::all().unwrap();
        let expected: Vec<_> = scenarios
            .iter()
            .flat_map(|scenario| &scenario.story.expect)
            .collect();
        for check in Check::ALL {
            for then in [Then::Stays, Then::Recovers] {
                let somewhere = expected.iter().any(|one| one.check == check && one.then == then);
                assert!(somewhere, "{check:?}: no scenario has one that {then:?}");
            }
        }
    }

    #[test]
    fn every_difference_is_an_error() {
        let expecting = |then: &str| {
            let story = format!("expect: [{{check: NotReady, container: proxy, says: [it], then: {then}}}]");
            scenario("flaky", &story)
        };
        let expect = |then: &str, alerts: &[&Alert], errors: &[&str]| {
            let alerts: Vec<_> = alerts.iter().copied().cloned().collect();
            let found = check_shipped(&played(&[expecting(then)]), &alerts);
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
            ("pod", "other"),
            ("container", "app"),
            ("check", "Flapping"),
            ("policy", "other"),
        ] {
            let wrong = of(&[(label, other)], 20..101);
            expect("Stays", &[&wrong], &["no alert fired", "a false alarm"]);
        }
        let second = of(&[("pod", "flaky-7d9f8-y")], 20..101);
        expect(
            "Stays",
            &[&stays, &second],
            &["2 alerts fired, and 1 were expected"],
        );

        let about_sidewatch = alert(Source::Shipped, "SidewatchDown", &[], 30..40);
        expect(
            "Stays",
            &[&stays, &about_sidewatch],
            &["a false alarm: SidewatchDown"],
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
