//! SidecarMissing: workloads whose Pods lack a sidecar that they must have.

mod presets;
mod stored;

use crate::domain::{
    effects::{Delivery, RECOVERED},
    expected::{Condition, Expected, Rule, Sidecar, Source},
    observation::Phase,
    policy::{Check, Mode, Policy},
    testing::{Harness, Pod, at, cluster_key, key, minutes, policy},
};

/// A Pod of Deployment/web, created at this second, with only the container `app`.
fn bare(name: &str, created: i64) -> Pod {
    Pod::named(name)
        .with(|pod| pod.created = Some(at(created)).into())
        .regular("app")
}

/// The same with the sidecar.
fn injected(name: &str, created: i64) -> Pod {
    Pod::named(name)
        .with(|pod| pod.created = Some(at(created)).into())
        .native("envoy")
        .regular("app")
}

fn label(from: Source, key: &str, value: &str) -> Condition {
    Condition::Metadata {
        from,
        key: key.into(),
        values: vec![value.into()],
    }
}

/// Expects `envoy` in Pods of namespaces with the label `team: pay`, unless the Pod has `mesh: off` or the host network.
pub(super) fn expecting() -> Policy {
    policy().only(Check::SidecarMissing).with(|policy| {
        policy.expected = vec![Expected {
            name: "envoy".into(),
            rule: Rule::Custom {
                sidecar: Sidecar::Name("envoy".into()),
                when: vec![label(Source::NamespaceLabel, "team", "pay")],
                unless: vec![label(Source::PodLabel, "mesh", "off"), Condition::HostNetwork],
            },
            hold_for: minutes(5),
        }];
    })
}

fn harness() -> Harness {
    let mut harness = Harness::with(expecting());
    harness.namespace("pay", "pay");
    harness
}

#[test]
fn a_workload_whose_pods_lack_the_sidecar_fires_after_the_limit_and_resolves() {
    let mut harness = harness();
    harness.at(1000);
    harness
        .pod(&bare("web-1", 1000))
        .pod(&bare("web-2", 1000))
        .finish_work();
    assert_eq!(harness.log(), ["1000 pending envoy SidecarMissing"]);
    assert!(harness.report().violations.is_empty(), "not visible yet");
    harness.at(1075).finish_work();
    assert_eq!(harness.report().summary.pending, 1);
    harness.at(1300);
    assert_eq!(harness.log(), ["1300 firing envoy SidecarMissing"]);
    let [event] = &harness.events()[..] else {
        panic!("one Event");
    };
    assert_eq!(event.reason, "SidecarMissing");
    assert_eq!(
        (&*event.regarding.kind, &*event.regarding.name),
        ("Deployment", "web")
    );
    assert_eq!((&*event.regarding.uid, &*event.regarding.field_path), ("", ""));
    assert!(
        event
            .note
            .starts_with("2 of 2 Pods of Deployment/web lack the sidecar 'envoy' for more than 5m"),
        "{}",
        event.note
    );
    let report = harness.report();
    assert_eq!((report.summary.firing, report.violations.len()), (1, 1));
    let detail = &report.violations[0].detail;
    assert!(
        detail.starts_with("2 of 2 Pods lack the sidecar envoy, such as web-2; created after"),
        "{detail}"
    );
    let message = &report.conditions[1].message;
    assert!(
        message.starts_with("1 workload lacks a sidecar: SidecarMissing 1 (Warning)"),
        "{message}"
    );

    harness.at(1400).delete(&bare("web-1", 1000)).finish_work();
    assert!(harness.detail().starts_with("1 of 1 Pods"));
    harness.pod(&injected("web-3", 1400)).finish_work();
    assert!(harness.log().is_empty(), "a Pod still lacks it");
    harness.delete(&bare("web-2", 1000)).finish_work();
    assert_eq!(harness.log(), ["1400 resolved envoy SidecarMissing"]);
    let events = harness.events();
    assert_eq!(
        events.iter().map(|event| event.reason).collect::<Vec<_>>(),
        [RECOVERED]
    );
    assert_eq!(events[0].recovers, std::slice::from_ref(&event.name));
    assert_eq!(harness.report().summary.firing, 0);
}

#[test]
fn conditions_decide_which_pods_must_have_the_sidecar() {
    let lacks = |change: &dyn Fn(Pod) -> Pod, team: &str| {
        let mut harness = Harness::with(expecting());
        harness.namespace("pay", team);
        harness.pod(&change(bare("web-1", 0))).finish_work();
        !harness.pending().is_empty() || !harness.firing().is_empty()
    };
    assert!(lacks(&|pod| pod, "pay"), "the namespace has the label");
    assert!(!lacks(&|pod| pod, "shop"), "another value");
    assert!(!lacks(&|pod| pod.labels(&[("mesh", "off")]), "pay"), "unless");
    assert!(
        lacks(&|pod| pod.labels(&[("mesh", "on")]), "pay"),
        "another value of unless"
    );
    assert!(
        !lacks(&|pod| pod.with(|pod| pod.host_network = true), "pay"),
        "host network"
    );
    assert!(!lacks(&|pod| pod.native("envoy"), "pay"), "a native sidecar");
    assert!(!lacks(&|pod| pod.regular("envoy"), "pay"), "a regular sidecar");
    assert!(
        lacks(&|pod| pod.init("envoy"), "pay"),
        "a plain init container is none"
    );
    for phase in [Phase::Succeeded, Phase::Failed] {
        assert!(
            !lacks(&|pod| pod.with(|pod| pod.phase = phase), "pay"),
            "{phase:?}"
        );
    }
    assert!(
        !lacks(&|pod| pod.with(|pod| pod.terminating = true), "pay"),
        "terminating"
    );
    assert!(
        lacks(&|pod| pod.with(|pod| pod.scheduled = false), "pay"),
        "not on a node yet"
    );
}

#[test]
fn a_change_and_its_reversal_leave_nothing() {
    type Change = fn(&mut Harness);
    let changes: [(&str, Change); 5] = [
        ("the label of the namespace", |harness| {
            harness.namespace("pay", "pay");
        }),
        ("the label of the Pod", |harness| {
            harness.pod(&bare("web-1", 0));
        }),
        ("the mode", |harness| {
            harness.policy(expecting());
        }),
        ("the entry", |harness| {
            harness.policy(expecting());
        }),
        ("the sidecar", |harness| {
            harness.policy(expecting());
        }),
    ];
    let before: [fn(&mut Harness); 5] = [
        |harness| {
            harness.namespace("pay", "shop");
        },
        |harness| {
            harness.pod(&bare("web-1", 0).labels(&[("mesh", "off")]));
        },
        |harness| {
            harness.policy(expecting().with(|policy| policy.mode = Mode::Off));
        },
        |harness| {
            harness.policy(expecting().with(|policy| policy.expected.clear()));
        },
        |harness| {
            harness.policy(expecting().with(|policy| {
                policy.expected[0].rule = Rule::Custom {
                    sidecar: Sidecar::Name("app".into()),
                    when: Vec::new(),
                    unless: Vec::new(),
                };
            }));
        },
    ];
    for ((what, on), off) in changes.into_iter().zip(before) {
        let mut harness = harness();
        harness.pod(&bare("web-1", 0)).finish_work();
        off(&mut harness);
        harness.finish_work();
        let quiet = (
            harness.pending(),
            harness.firing(),
            harness.report().violations.len(),
        );
        assert_eq!(quiet, (vec![], vec![], 0), "without {what}");
        on(&mut harness);
        harness.finish_work().at(1000).finish_work();
        assert_eq!(harness.firing(), ["envoy SidecarMissing"], "with {what} again");
        harness.delete(&bare("web-1", 0)).finish_work();
        harness.index.assert_no_pods();
    }
}

#[test]
fn an_edit_of_the_limit_keeps_the_onset() {
    let mut harness = harness();
    harness.pod(&bare("web-1", 0)).finish_work().at(200);
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(0.0));
    harness
        .policy(expecting().with(|policy| policy.expected[0].hold_for = minutes(3)))
        .finish_work();
    assert_eq!(harness.firing(), ["envoy SidecarMissing"], "at once");
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(0.0));
    harness.policy(expecting()).finish_work();
    assert_eq!(harness.pending(), ["envoy SidecarMissing"], "pending again");
}

#[test]
fn the_message_distinguishes_pods_created_before_the_policy() {
    let mut harness = Harness::starting();
    harness.resync([]);
    harness.at(500);
    harness.namespace("pay", "pay");
    harness.pod(&bare("web-1", -100)).pod(&bare("web-2", 100));
    harness.policy(expecting()).finish_work();
    let detail = harness.detail();
    assert!(
        detail.contains("1 created before the policy, 1 after it"),
        "{detail}"
    );
    harness.delete(&bare("web-2", 100)).finish_work();
    let detail = harness.detail();
    assert!(
        detail.ends_with("kubectl rollout restart deployment/web -n pay"),
        "{detail}"
    );
    assert!(detail.contains("; created before the policy;"), "{detail}");
}

#[test]
fn the_end_of_a_workload_is_not_a_recovery() {
    let mut harness = harness();
    harness.pod(&bare("web-1", 0)).finish_work().at(400);
    harness.log();
    assert_eq!(harness.events().len(), 1);
    harness.delete(&bare("web-1", 0)).finish_work();
    assert_eq!(harness.log(), ["400 ended envoy SidecarMissing"]);
    assert!(harness.events().is_empty());
    harness.index.assert_no_pods();
}

#[test]
fn nothing_changes_while_the_watch_is_held() {
    let mut harness = harness();
    harness.pod(&bare("web-1", 0)).finish_work().at(100).hold();
    harness.log();
    harness.pod_at(400, &bare("web-2", 400)).finish_work();
    assert!(harness.log().is_empty(), "held");
    harness.at(500).resume().finish_work();
    assert_eq!(harness.log(), ["500 firing envoy SidecarMissing"]);
    assert!(harness.events()[0].note.starts_with("2 of 2 Pods"));
    harness
        .hold()
        .delete(&bare("web-1", 0))
        .pod(&injected("web-2", 400))
        .finish_work();
    assert!(harness.log().is_empty(), "held again");
    harness.resume().finish_work();
    assert_eq!(harness.log(), ["500 resolved envoy SidecarMissing"]);
}

#[test]
fn the_event_is_repeated_while_the_violation_fires() {
    let mut harness = harness();
    harness.pod(&bare("web-1", 0)).finish_work().at(300 + 3000);
    let events = harness.events();
    let deliveries: Vec<_> = events.iter().map(|event| event.delivery).collect();
    assert_eq!(deliveries, [Delivery::Create, Delivery::Repeat(2)]);
    assert_eq!(events[0].name, events[1].name);
}

#[test]
fn modes_decide_about_events_and_the_policy_of_a_namespace_sees_only_its_own() {
    let mut harness = Harness::starting();
    harness.resync([]);
    harness.namespace("pay", "pay").namespace("shop", "pay");
    harness.policy(expecting().check(Check::SidecarMissing, |check| check.mode = Mode::Observe));
    harness
        .pod(&bare("web-1", 0).in_namespace("shop"))
        .finish_work()
        .at(1000)
        .finish_work();
    assert!(harness.firing().is_empty(), "another namespace");
    harness.pod(&bare("web-2", 0)).finish_work();
    assert_eq!(harness.firing().len(), 1);
    assert!(harness.events().is_empty(), "Observe");
    harness.add(cluster_key("all"), expecting()).finish_work();
    assert_eq!(harness.firing().len(), 3, "the cluster's policy sees both");
    let namespaces: Vec<_> = harness
        .events()
        .iter()
        .map(|event| event.namespace.to_string())
        .collect();
    assert_eq!(namespaces, ["pay", "shop"]);
    harness
        .delete_policy(&cluster_key("all"))
        .delete_policy(&key("mesh"))
        .finish_work();
    assert!(harness.firing().is_empty());
}

#[test]
fn the_series_counts_the_pods_of_the_workload() {
    let mut harness = harness();
    for n in 0..3 {
        harness.pod(&bare(&format!("web-{n}"), 0));
    }
    let series = harness.finish_work().at(1001).series();
    let [row] = &series.workloads.rows[..] else {
        panic!("one series");
    };
    let subject = row.subject.as_ref().unwrap();
    assert_eq!(
        (row.count, &*subject.container, &*subject.workload.name),
        (3, "envoy", "web")
    );
    assert_eq!((&*subject.image, row.kind.check), ("", Check::SidecarMissing));
    assert_eq!(series.violations.len(), 1);
}

#[test]
fn a_large_edit_is_done_in_steps_and_announces_the_whole_count() {
    let mut harness = Harness::starting();
    harness.resync([]);
    harness.at(1000);
    harness.namespace("pay", "pay");
    for n in 0..10 {
        harness.pod(&bare(&format!("web-{n}"), 0));
    }
    harness.units_per_step(3).policy(expecting());
    assert!(harness.firing().is_empty(), "the edit has not reached every Pod");
    harness.finish_work();
    let events = harness.events();
    assert_eq!(events.len(), 1);
    assert!(events[0].note.starts_with("10 of 10 Pods"), "{}", events[0].note);
}
