//! The same history with and without exemptions: everything that they do not cover is equal.

use proptest::{collection, prelude::*};

use crate::domain::{
    effects::{Event, Transition},
    policy::{AllowedExemptions, Check, Policy},
    testing::{Harness, Pod, at, cluster_key, edited_exemption, one_of, policy, seconds},
};

#[derive(Clone, Debug)]
enum Step {
    Pod(u8, bool),
    Delete(u8),
    /// The number and the end of an exemption of `app: web`, perhaps of one check.
    Exempt(u8, i64, bool),
    EndExemption(u8),
    /// Whether the cluster policy allows exemptions, and for how long after their creation.
    Allow(Option<i64>),
    /// The label of the namespace, which decides whether the cluster policy allows its exemptions.
    Label(bool),
    Hold,
    Resume,
    Wait(i64),
    Work,
}

/// The odd Pods have the label that exemptions select.
fn pod(number: u8, ready: bool) -> Pod {
    let app = if number.is_multiple_of(2) { "db" } else { "web" };
    let pod = Pod::named(&format!("web-{number}"))
        .regular("app")
        .native("envoy")
        .labels(&[("app", app)]);
    if ready { pod } else { pod.unready("envoy") }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6u8, any::<bool>()).prop_map(|(number, ready)| Step::Pod(number, ready)),
        1 => (0..6u8).prop_map(Step::Delete),
        3 => (0..3u8, 0..2000i64, any::<bool>()).prop_map(|(n, until, all)| Step::Exempt(n, until, all)),
        2 => (0..3u8).prop_map(Step::EndExemption),
        2 => proptest::option::of(1..1500i64).prop_map(Step::Allow),
        1 => any::<bool>().prop_map(Step::Label),
        1 => Just(Step::Hold),
        2 => Just(Step::Resume),
        6 => (1..200i64).prop_map(Step::Wait),
        2 => Just(Step::Work),
    ]
}

fn spec() -> Policy {
    policy().hold_for(Check::NotReady, seconds(60))
}

/// The same for all namespaces. It allows the exemptions of the namespaces of team `pay` for this number of seconds.
fn cluster_spec(allowed_for: Option<i64>) -> Policy {
    let exemptions = allowed_for.map(|n| AllowedExemptions {
        namespaces: one_of("team", "pay"),
        max_duration: seconds(n),
    });
    spec().with(|policy| policy.exemptions = exemptions)
}

/// The transitions, the Events that exemptions never cover, and the violations that they never cover.
#[derive(Debug, PartialEq)]
struct Outcome {
    transitions: Vec<(Transition, &'static str)>,
    events: Vec<Event>,
    violations: Vec<String>,
}

fn run(steps: &[Step], units: usize, exempts: bool, allows: bool) -> (Outcome, Vec<String>, u32) {
    let mut harness = Harness::with(spec());
    harness.add(cluster_key("all"), cluster_spec(None));
    harness.units_per_step(units);
    let mut now = 0;
    for step in steps {
        match step {
            Step::Pod(number, ready) => harness.pod(&pod(*number, *ready)),
            Step::Delete(number) => harness.delete(&pod(*number, true)),
            Step::Exempt(number, until, all) if exempts => {
                let checks = if *all { Vec::new() } else { vec![Check::NotReady] };
                harness.exempt(edited_exemption(&format!("e{number}"), |spec| {
                    (spec.until, spec.checks) = (at(*until), checks);
                }))
            }
            Step::EndExemption(number) if exempts => harness.end_exemption(&format!("e{number}")),
            Step::Allow(allowed_for) if allows => harness.add(cluster_key("all"), cluster_spec(*allowed_for)),
            Step::Label(is_allowed) => harness.namespace("pay", if *is_allowed { "pay" } else { "other" }),
            Step::Exempt(..) | Step::EndExemption(_) | Step::Allow(_) => &mut harness,
            Step::Hold => harness.hold(),
            Step::Resume => harness.resume(),
            Step::Wait(n) => {
                now += n;
                harness.at(now)
            }
            Step::Work => harness.work(),
        };
        // Both histories have done the same work.
        harness.finish_work();
    }
    let never_covered =
        |policy: &str, pod: &str| (policy == "all" && !allows) || ["web-0", "web-2", "web-4"].contains(&pod);
    let events = harness.events();
    let events = events
        .into_iter()
        .filter(|event| &*event.regarding.kind == "Pod")
        .filter(|event| never_covered(&event.policy.name, &event.regarding.name))
        .collect();
    let transitions = harness.transitions().into_iter().map(|mut transition| {
        let change = transition.to.as_str();
        // An exempt violation is not shown, but the log has it.
        transition.violation.visible = true;
        (transition, change)
    });
    let transitions = transitions.collect();
    let text = |violation: &_| format!("{violation:?}");
    let all = harness.index.violations();
    let violations = all
        .filter(|violation| never_covered(&violation.policy.name, violation.subject.pod()))
        .map(text)
        .collect();
    // Exemptions that have ended leave nothing behind.
    harness
        .end_exemption("e0")
        .end_exemption("e1")
        .end_exemption("e2");
    harness.resume().finish_work();
    let left = harness.index.violations().map(text).collect();
    let exempted = harness.index.policies().flat_map(|policy| policy.exempted);
    let exempted = exempted.map(|(_, n)| n).sum();
    (
        Outcome {
            transitions,
            events,
            violations,
        },
        left,
        exempted,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_exemption_changes_only_what_it_covers(
        steps in collection::vec(step(), 1..50), units in 1..40usize, allows: bool,
    ) {
        // The harness compares all counts with a recount after each step.
        let (with, left, exempted) = run(&steps, units, true, allows);
        let (without, all, _) = run(&steps, units, false, allows);
        prop_assert_eq!(with, without);
        prop_assert_eq!(left, all, "after the end everything is as it was without");
        prop_assert_eq!(exempted, 0);
    }
}
