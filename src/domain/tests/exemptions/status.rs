//! The status of exemptions and their Events.

use super::{Edit, bad, failing, not_ready, until};
use crate::domain::{
    exemption::{
        EXEMPTION_ACTIVE, EXEMPTION_ENDED, ExemptedPods, ExemptionReport, ExemptionState, ExemptionUpdate,
        LISTED_HIDDEN,
    },
    policy::{Check, InvalidSpec},
    testing::{Harness, Pod, at, edited_exemption, exemption, exemption_key, one_of, web},
};

fn report(harness: &Harness) -> ExemptionReport {
    harness.index.exemption_report(&exemption_key("snooze")).unwrap()
}

/// The Events about the exemption since the last call.
fn exemption_events(harness: &mut Harness) -> Vec<(&'static str, String)> {
    let mut events = harness.events();
    events.retain(|event| &*event.regarding.kind == "SidecarExemption");
    for event in &events {
        assert_eq!((&*event.namespace, &*event.regarding.uid), ("pay", "uid-snooze"));
        assert_eq!(&*event.policy.name, "mesh");
        assert_eq!(&*event.policy_uid, "uid-of-SidecarPolicy pay/mesh");
        assert!(
            !event.warning && event.note.ends_with(" Reason: vendor"),
            "{event:?}"
        );
    }
    events
        .into_iter()
        .map(|event| (event.reason, event.note))
        .collect()
}

#[test]
fn a_report_lists_what_is_hidden_now() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(69);
    assert_eq!(report(&harness).hides, 0, "the violation is pending");
    assert_eq!(report(&harness).state, ExemptionState::Active(at(1000)));
    harness.changed_exemptions();
    harness.at(70);
    assert_eq!(harness.changed_exemptions(), [exemption_key("snooze")]);
    let listed = report(&harness);
    assert_eq!(listed.hides, 1);
    let hidden = &listed.hidden[0];
    assert_eq!((&*hidden.pod, &*hidden.container), (&*web().0.name, "envoy"));
    assert_eq!(
        (hidden.check, &*hidden.policy.name, hidden.since),
        (Check::NotReady, "mesh", at(10))
    );
    for n in 0..LISTED_HIDDEN {
        let pod = Pod::named(&format!("more-{n}")).regular("app").native("envoy");
        let pod = pod.labels(&[("app", "web")]).unready("envoy");
        harness.pod(&pod.containers_unready_since(20));
    }
    harness.at(200);
    let listed = report(&harness);
    assert_eq!((listed.hides, listed.hidden.len()), (11, 10));
    assert_eq!(listed.hidden[0].since, at(10), "the oldest");
    harness.pod(&bad().ready("envoy")).at(900);
    assert_eq!(report(&harness).hides, 10);
    harness.at(1000);
    let ended = report(&harness);
    assert_eq!((ended.state, ended.hides), (ExemptionState::Ended(at(1000)), 0));
    assert_eq!(ended.hidden, []);
}

#[test]
fn an_exemption_without_pods_ends_too() {
    let mut harness = Harness::with(not_ready());
    harness.exempt(exemption("snooze")).changed_exemptions();
    harness.at(999);
    assert_eq!(harness.changed_exemptions(), []);
    harness.at(1000);
    assert_eq!(harness.changed_exemptions(), [exemption_key("snooze")]);
    assert_eq!(report(&harness).state, ExemptionState::Ended(at(1000)));
    assert_eq!(harness.events(), [], "it has hidden nothing");
    assert_eq!(harness.index.next_deadline(), None);
}

#[test]
fn an_exemption_has_an_event_when_it_begins_to_hide_and_when_it_ends() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(69);
    assert_eq!(exemption_events(&mut harness), []);
    harness.at(70);
    let note = format!(
        "It hides firing violations of SidecarPolicy pay/mesh until {}; the first is NotReady of container 'envoy' in \
         Pod {}, since {}. Reason: vendor",
        at(1000),
        web().0.name,
        at(10)
    );
    assert_eq!(exemption_events(&mut harness), [(EXEMPTION_ACTIVE, note)]);
    // A violation that comes and goes has no further Event.
    harness.pod(&bad().ready("envoy")).pod_at(200, &bad()).at(400);
    harness.exempt(until("snooze", 2000)).at(1999);
    assert_eq!(
        (exemption_events(&mut harness), report(&harness).hides),
        (Vec::new(), 1)
    );
    harness.at(2000);
    let ended = exemption_events(&mut harness);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].0, EXEMPTION_ENDED);
    assert!(ended[0].1.contains(&at(2000).to_string()), "{ended:?}");
    harness.exempt(until("snooze", 3000)).at(2500);
    assert_eq!(exemption_events(&mut harness).len(), 1, "it begins again");
    harness.end_exemption("snooze").at(4000);
    assert_eq!(
        exemption_events(&mut harness),
        [],
        "a deleted object has no Event"
    );
}

#[test]
fn an_edit_that_ends_an_exemption_has_an_event() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(100);
    exemption_events(&mut harness);
    harness.exempt(until("snooze", 90));
    let reasons: Vec<_> = exemption_events(&mut harness)
        .into_iter()
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(reasons, [EXEMPTION_ENDED]);
    assert_eq!(report(&harness).state, ExemptionState::Ended(at(90)));
    assert_eq!(harness.firing(), ["envoy NotReady"]);
}

#[test]
fn an_invalid_exemption_has_no_effect() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(100);
    let error = InvalidSpec::Undecodable("checks".to_owned());
    harness.exempt(ExemptionUpdate {
        spec: Err(error.clone()),
        generation: 2,
        ..exemption("snooze")
    });
    let listed = report(&harness);
    assert_eq!(
        (listed.generation, listed.state),
        (2, ExemptionState::Invalid(error))
    );
    assert_eq!((listed.hides, harness.firing().len()), (0, 1));
    harness.exempt(exemption("snooze"));
    assert_eq!((report(&harness).hides, harness.firing().len()), (1, 0));
}

#[test]
fn an_edit_and_its_reversal_change_nothing() {
    let edits: [Edit; 5] = [
        |spec| spec.pods = ExemptedPods::Selected(one_of("app", "db")),
        |spec| spec.containers = vec!["other".into()],
        |spec| spec.checks = vec![Check::Flapping],
        |spec| spec.until = at(50),
        |spec| spec.reason = "another".into(),
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut harness = failing(not_ready());
        harness.exempt(exemption("snooze")).at(100);
        let before = (report(&harness), harness.firing());
        harness.exempt(edited_exemption("snooze", edit));
        let is_reason = n == 4;
        assert_eq!(report(&harness).hides, u32::from(is_reason), "edit {n}");
        harness.exempt(exemption("snooze"));
        assert_eq!((report(&harness), harness.firing()), before, "edit {n}");
        harness.at(999);
        assert_eq!(report(&harness).hides, 1, "edit {n}");
        harness.at(1000);
        assert_eq!(
            (report(&harness).hides, harness.firing().len()),
            (0, 1),
            "edit {n}"
        );
    }
}
