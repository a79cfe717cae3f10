//! What an exemption hides, and what is announced at its end.

mod cluster_policies;
mod histories;
mod limits;
mod restarts;
mod status;
mod views;

use super::events::brief;
use crate::domain::{
    effects::Event,
    exemption::{ExemptedPods, Exemption, ExemptionUpdate},
    observation::Workload,
    policy::{Check, Policy},
    testing::{Harness, Pod, at, edited_exemption, exemption, one_of, only, web},
};

/// An exemption until this second.
fn until(name: &str, second: i64) -> ExemptionUpdate {
    edited_exemption(name, |spec| spec.until = at(second))
}

/// The Events about Pods since the last call.
fn pod_events(harness: &mut Harness) -> Vec<Event> {
    let mut events = harness.events();
    events.retain(|event| &*event.regarding.kind == "Pod");
    events
}

fn not_ready() -> Policy {
    only(Check::NotReady, 60)
}

fn bad() -> Pod {
    web().labels(&[("app", "web")]).unready("envoy")
}

/// A change of an exemption.
type Edit = fn(&mut Exemption);

/// Envoy is unready since second 10.
fn failing(policy: Policy) -> Harness {
    let mut harness = Harness::with(policy);
    harness.pod(&bad().ready("envoy")).pod_at(10, &bad());
    harness
}

#[test]
fn a_violation_that_begins_under_an_exemption_is_announced_at_its_end() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(999);
    assert_eq!(pod_events(&mut harness), []);
    assert_eq!((harness.firing(), harness.pending()), (Vec::new(), Vec::new()));
    assert_eq!((harness.exempted(), harness.fired()), (1, 0));
    let report = harness.report();
    assert_eq!((report.summary.firing, report.violations.len()), (0, 0));
    let series = harness.series();
    assert_eq!((series.violations.len(), series.workloads.rows.len()), (0, 0));
    harness.at(1000);
    let events = pod_events(&mut harness);
    assert_eq!(brief(&events), ["SidecarContainerNotReady Create"]);
    assert_eq!(events[0].at, at(1000), "the end is a deadline of its own");
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(10.0));
    assert_eq!((harness.exempted(), harness.fired()), (0, 1));
    assert_eq!(
        harness.log(),
        ["10 pending envoy NotReady", "70 firing envoy NotReady"],
        "it was evaluated as always"
    );
}

#[test]
fn a_violation_that_was_announced_is_announced_again() {
    let mut harness = failing(not_ready());
    harness.at(100);
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady Create"]
    );
    harness.changed();
    harness.exempt(exemption("snooze"));
    assert_eq!(
        (harness.firing(), pod_events(&mut harness)),
        (Vec::new(), Vec::new())
    );
    assert_eq!(harness.changed().len(), 1, "the status changes");
    harness.at(200).end_exemption("snooze").end_exemption("snooze");
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady CreateOrRaise(2)"]
    );
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(harness.fired(), 1, "the violation counts once");
    harness.pod_at(300, &bad().ready("envoy")).at(900);
    assert_eq!(brief(&pod_events(&mut harness)), ["SidecarRecovered Create"]);
}

#[test]
fn a_violation_that_ends_under_an_exemption_has_no_event() {
    let mut harness = failing(not_ready());
    harness.at(100).events();
    harness
        .exempt(exemption("snooze"))
        .pod_at(200, &bad().ready("envoy"));
    harness.at(2000);
    assert_eq!(pod_events(&mut harness), []);
    assert_eq!((harness.exempted(), harness.index.next_deadline()), (0, None));
}

#[test]
fn an_exemption_covers_only_its_pods_containers_and_checks() {
    fn of(kind: &str, name: &str) -> ExemptedPods {
        ExemptedPods::Of(Workload {
            kind: kind.into(),
            name: name.into(),
        })
    }
    #[rustfmt::skip]
    let table: [(&str, Edit, bool); 8] = [
        ("all", |_| (), true),
        ("labels", |e| e.pods = ExemptedPods::Selected(one_of("app", "db")), false),
        ("its workload", |e| e.pods = of("Deployment", "web"), true),
        ("another workload", |e| e.pods = of("Deployment", "other"), false),
        ("its container", |e| e.containers = vec!["envoy".into()], true),
        ("another container", |e| e.containers = vec!["app".into()], false),
        ("its check", |e| e.checks = vec![Check::Flapping, Check::NotReady], true),
        ("another check", |e| e.checks = vec![Check::Flapping], false),
    ];
    for (why, edit, is_covered) in table {
        let mut harness = failing(not_ready());
        harness.exempt(edited_exemption("snooze", edit)).at(100);
        assert_eq!(harness.firing().is_empty(), is_covered, "{why}");
        assert_eq!(pod_events(&mut harness).is_empty(), is_covered, "{why}");
        assert_eq!(harness.exempted(), u32::from(is_covered), "{why}");
    }
}

#[test]
fn another_namespace_is_not_affected() {
    let mut harness = failing(not_ready());
    let mut elsewhere = exemption("snooze");
    elsewhere.key.namespace = "shop".into();
    harness.exempt(elsewhere).at(100);
    assert_eq!((harness.firing().len(), harness.exempted()), (1, 0));
}

#[test]
fn an_edit_moves_the_end() {
    let mut harness = failing(not_ready());
    harness
        .exempt(until("snooze", 1000))
        .at(500)
        .exempt(until("snooze", 700))
        .at(699);
    assert_eq!(pod_events(&mut harness), []);
    harness.at(700);
    assert_eq!(pod_events(&mut harness).len(), 1, "an earlier end");
    harness.exempt(until("snooze", 2000)).at(1999);
    assert_eq!(
        (pod_events(&mut harness), harness.firing()),
        (Vec::new(), Vec::new()),
        "a new end"
    );
    harness.exempt(until("another", 2500));
    harness.at(2499);
    assert_eq!(pod_events(&mut harness), [], "the later of two ends");
    harness.at(2500);
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady CreateOrRaise(2)"]
    );
}

#[test]
fn a_list_ends_the_exemptions_that_it_does_not_contain() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(100);
    for (scope, listed, is_announced) in [
        (Some("shop".into()), None, false),
        (None, Some("snooze"), false),
        (None, Some("another"), false),
        (Some("pay".into()), None, true),
    ] {
        harness.index.begin_exemption_resync(&scope);
        if let Some(name) = listed {
            harness.exempt(exemption(name));
        }
        harness.finish_exemptions(&scope);
        assert_eq!(!harness.firing().is_empty(), is_announced, "{scope:?} {listed:?}");
        assert_eq!(
            pod_events(&mut harness).len(),
            usize::from(is_announced),
            "{scope:?} {listed:?}"
        );
    }
    harness.finish_exemptions(&None);
    assert_eq!(pod_events(&mut harness), [], "no list is in progress");
}
