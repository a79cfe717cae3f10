//! The views of the violations that an exemption hides.

use super::{bad, failing, not_ready};
use crate::domain::{
    index::HidingExemption,
    index::check_states::State,
    policy::{AllowedExemptions, Check},
    selector::Selector,
    testing::{Harness, at, cluster_key, edited_exemption, exemption, seconds},
};

/// The violations that are hidden.
fn hidden(harness: &Harness) -> Vec<String> {
    let hidden = harness.index.hidden_violations();
    let text = hidden.map(|violation| {
        let state = if violation.firing { "firing" } else { "pending" };
        format!(
            "{state} {} {}",
            violation.subject.container(),
            violation.check.as_str()
        )
    });
    text.collect()
}

/// The state of NotReady, and the exemption that hides it with its end and reason.
fn state(harness: &Harness) -> (State, Option<String>) {
    let pod = harness.index.matched_pods().next().unwrap().pod;
    let states = harness.index.check_states("pay", &pod.uid);
    let states = states.into_iter().filter(|state| state.check == Check::NotReady);
    let states: Vec<_> = states.collect();
    assert_eq!(states.len(), 1, "{states:?}");
    let text = |HidingExemption { key, until, reason }: HidingExemption<'_>| {
        format!("{key} until {}: {reason}", until.duration_since(at(0)).as_secs())
    };
    (states[0].state, states[0].hidden_by.map(text))
}

#[test]
fn a_hidden_violation_has_its_exemption_until_the_end() {
    let mut harness = failing(not_ready());
    assert_eq!((hidden(&harness).len(), state(&harness).1), (0, None));
    harness.exempt(exemption("snooze"));
    let pending = State::Pending {
        onset: at(10),
        fires_at: at(70),
    };
    let snooze = Some("SidecarExemption pay/snooze until 1000: vendor".to_owned());
    assert_eq!(state(&harness), (pending, snooze.clone()));
    assert_eq!(hidden(&harness), ["pending envoy NotReady"]);
    assert_eq!(harness.index.violations().count(), 0);

    let firing = State::Firing {
        onset: at(10),
        since: at(70),
    };
    harness.at(999);
    assert_eq!(state(&harness), (firing, snooze));
    assert_eq!(hidden(&harness), ["firing envoy NotReady"]);
    let violation = harness.index.hidden_violations().next().unwrap();
    assert!(
        harness
            .index
            .cause(&violation)
            .is_some_and(|cause| !cause.is_empty())
    );

    harness.at(1000);
    assert_eq!(state(&harness), (firing, None));
    assert_eq!(
        (hidden(&harness).len(), harness.index.violations().count()),
        (0, 1)
    );
}

#[test]
fn of_two_exemptions_the_one_that_hides_is_named() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("first"));
    harness.exempt(edited_exemption("longer", |spec| {
        spec.until = at(2000);
        spec.reason = "not yet".into();
    }));
    let named = |text: &str| Some(format!("SidecarExemption pay/{text}"));
    assert_eq!(state(&harness).1, named("longer until 2000: not yet"));
    harness.end_exemption("longer");
    assert_eq!(state(&harness).1, named("first until 1000: vendor"));
}

#[test]
fn the_end_is_the_one_that_the_policy_allows() {
    let policy = not_ready().with(|policy| {
        policy.exemptions = Some(AllowedExemptions {
            namespaces: Selector::default(),
            max_duration: seconds(300),
        });
    });
    let mut harness = Harness::starting();
    harness.resync([]).add(cluster_key("all"), policy);
    harness.pod(&bad().ready("envoy")).pod_at(10, &bad());
    harness.exempt(exemption("snooze")).at(299);
    let snooze = Some("SidecarExemption pay/snooze until 300: vendor".to_owned());
    assert_eq!(state(&harness).1, snooze);
    harness.at(300);
    assert_eq!(state(&harness).1, None);
}
