//! What an exemption hides, and what speaks when it ends.

mod cluster_policies;
mod histories;
mod limits;
mod restarts;
mod status;
mod views;

use super::events::brief;
use crate::domain::{
    effects::Event,
    exemption::{ExemptedPods, Exemption, ExemptionKey, ExemptionUpdate, Shown},
    index::series::SeriesLimits,
    observation::Workload,
    policy::{Check, Policy},
    testing::{Harness, Pod, at, one_of, policy, seconds, web},
};

/// The Pods with `app: web`, until second 1000.
fn spec() -> Exemption {
    Exemption {
        pods: ExemptedPods::Selected(one_of("app", "web")),
        containers: Vec::new(),
        checks: Vec::new(),
        reason: "vendor".into(),
        until: at(1000),
    }
}

/// An exemption of the namespace `pay`, the older the lower its name is in the alphabet.
fn exemption(name: &str) -> ExemptionUpdate {
    ExemptionUpdate {
        key: key_of(name),
        uid: format!("uid-{name}").into(),
        created: at(0),
        generation: 1,
        spec: Ok(spec()),
        shown: Shown::default(),
        hid: None,
    }
}

fn key_of(name: &str) -> ExemptionKey {
    ExemptionKey {
        namespace: "pay".into(),
        name: name.into(),
    }
}

/// An exemption until this second.
fn until(name: &str, second: i64) -> ExemptionUpdate {
    edited(name, |spec| spec.until = at(second))
}

fn edited(name: &str, edit: impl FnOnce(&mut Exemption)) -> ExemptionUpdate {
    let mut spec = spec();
    edit(&mut spec);
    ExemptionUpdate {
        spec: Ok(spec),
        ..exemption(name)
    }
}

/// The Events about Pods since the last call.
fn spoken(harness: &mut Harness) -> Vec<Event> {
    let mut events = harness.events();
    events.retain(|event| &*event.regarding.kind == "Pod");
    events
}

fn not_ready() -> Policy {
    policy()
        .only(Check::NotReady)
        .check(Check::NotReady, |c| c.hold_for = seconds(60))
}

fn bad() -> Pod {
    web().labels(&[("app", "web")]).unready("envoy")
}

/// A change of the exemption of a test case.
type Edit = Box<dyn Fn(&mut Exemption)>;

/// Envoy is unready since second 10.
fn failing(policy: Policy) -> Harness {
    let mut harness = Harness::with(policy);
    harness.pod(&bad().ready("envoy")).at(10).pod(&bad());
    harness
}

fn exempted(harness: &Harness) -> u32 {
    let policies = harness.index.policies();
    policies.flat_map(|policy| policy.exempted).map(|(_, n)| n).sum()
}

fn fired(harness: &Harness) -> u64 {
    let policies = harness.index.policies();
    policies.flat_map(|policy| policy.fired).map(|(_, n)| n).sum()
}

#[test]
fn a_violation_that_begins_under_an_exemption_speaks_when_its_time_is_over() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(999);
    assert_eq!(spoken(&mut harness), []);
    assert_eq!((harness.firing(), harness.pending()), (Vec::new(), Vec::new()));
    assert_eq!((exempted(&harness), fired(&harness)), (1, 0));
    let report = harness.report();
    assert_eq!((report.summary.firing, report.violations.len()), (0, 0));
    let series = harness.index.series(&SeriesLimits::default(), at(999));
    assert_eq!((series.violations.len(), series.workloads.rows.len()), (0, 0));
    harness.at(1000);
    let events = spoken(&mut harness);
    assert_eq!(brief(&events), ["SidecarContainerNotReady Create"]);
    assert_eq!(events[0].at, at(1000), "the end is a deadline of its own");
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(10.0));
    assert_eq!((exempted(&harness), fired(&harness)), (0, 1));
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
    assert_eq!(brief(&spoken(&mut harness)), ["SidecarContainerNotReady Create"]);
    harness.changed();
    harness.exempt(exemption("snooze"));
    assert_eq!((harness.firing(), spoken(&mut harness)), (Vec::new(), Vec::new()));
    assert_eq!(harness.changed().len(), 1, "the status changes");
    harness.at(200).end_exemption("snooze").end_exemption("snooze");
    assert_eq!(
        brief(&spoken(&mut harness)),
        ["SidecarContainerNotReady CreateOrRaise(2)"]
    );
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(fired(&harness), 1, "the violation counts once");
    harness.at(300).pod(&bad().ready("envoy")).at(900);
    assert_eq!(brief(&spoken(&mut harness)), ["SidecarRecovered Create"]);
}

#[test]
fn a_violation_that_ends_under_an_exemption_says_nothing() {
    let mut harness = failing(not_ready());
    harness.at(100).events();
    harness
        .exempt(exemption("snooze"))
        .at(200)
        .pod(&bad().ready("envoy"));
    harness.at(2000);
    assert_eq!(spoken(&mut harness), []);
    assert_eq!((exempted(&harness), harness.index.next_deadline()), (0, None));
}

#[test]
fn an_exemption_covers_what_it_names() {
    let of = |kind: &str, name: &str| {
        ExemptedPods::Of(Workload {
            kind: kind.into(),
            name: name.into(),
        })
    };
    let workload = web().0.workload;
    let table: [(&str, Edit, bool); 8] = [
        ("all", Box::new(|_| ()), true),
        (
            "labels",
            Box::new(|e| e.pods = ExemptedPods::Selected(one_of("app", "db"))),
            false,
        ),
        (
            "its workload",
            Box::new(move |e| e.pods = of(&workload.kind, &workload.name)),
            true,
        ),
        (
            "another workload",
            Box::new(move |e| e.pods = of("Deployment", "other")),
            false,
        ),
        (
            "its container",
            Box::new(|e| e.containers = vec!["envoy".into()]),
            true,
        ),
        (
            "another container",
            Box::new(|e| e.containers = vec!["app".into()]),
            false,
        ),
        (
            "its check",
            Box::new(|e| e.checks = vec![Check::Flapping, Check::NotReady]),
            true,
        ),
        (
            "another check",
            Box::new(|e| e.checks = vec![Check::Flapping]),
            false,
        ),
    ];
    for (why, edit, is_covered) in table {
        let mut harness = failing(not_ready());
        harness.exempt(edited("snooze", edit)).at(100);
        assert_eq!(harness.firing().is_empty(), is_covered, "{why}");
        assert_eq!(spoken(&mut harness).is_empty(), is_covered, "{why}");
        assert_eq!(exempted(&harness), u32::from(is_covered), "{why}");
    }
}

#[test]
fn another_namespace_is_not_affected() {
    let mut harness = failing(not_ready());
    let mut elsewhere = exemption("snooze");
    elsewhere.key.namespace = "shop".into();
    harness.exempt(elsewhere).at(100);
    assert_eq!((harness.firing().len(), exempted(&harness)), (1, 0));
}

#[test]
fn an_edit_moves_the_end() {
    let mut harness = failing(not_ready());
    harness
        .exempt(until("snooze", 1000))
        .at(500)
        .exempt(until("snooze", 700))
        .at(699);
    assert_eq!(spoken(&mut harness), []);
    harness.at(700);
    assert_eq!(spoken(&mut harness).len(), 1, "an earlier end");
    harness.exempt(until("snooze", 2000)).at(1999);
    assert_eq!(
        (spoken(&mut harness), harness.firing()),
        (Vec::new(), Vec::new()),
        "a new end"
    );
    harness.exempt(until("another", 2500));
    harness.at(2499);
    assert_eq!(spoken(&mut harness), [], "the later of two ends");
    harness.at(2500);
    assert_eq!(
        brief(&spoken(&mut harness)),
        ["SidecarContainerNotReady CreateOrRaise(2)"]
    );
}

#[test]
fn a_list_ends_the_exemptions_that_it_does_not_contain() {
    let mut harness = failing(not_ready());
    harness.exempt(exemption("snooze")).at(100);
    for (scope, listed, speaks) in [
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
        assert_eq!(!harness.firing().is_empty(), speaks, "{scope:?} {listed:?}");
        assert_eq!(
            spoken(&mut harness).len(),
            usize::from(speaks),
            "{scope:?} {listed:?}"
        );
    }
    harness.finish_exemptions(&None);
    assert_eq!(spoken(&mut harness), [], "no list is in progress");
}
