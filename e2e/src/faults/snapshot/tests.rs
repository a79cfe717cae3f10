use serde_json::json;

use super::*;

const START: i64 = 1_800_000_000;
const STRICT: Tolerance = Tolerance {
    onset: Duration::from_secs(2),
    sent: Duration::from_secs(2),
    restarted: false,
};

/// Reports of a run that starts at `start` in `namespace`: one firing violation with one Event.
struct Run {
    namespace: &'static str,
    start: i64,
    metrics: String,
    events: Value,
    status: Value,
}

fn run(namespace: &'static str, start: i64) -> Run {
    let clock = Timestamp::from_second(start + 7).unwrap();
    let of_day = clock.to_string().split_off(11);
    let policy = format!(r#"policy_kind="SidecarPolicy",policy_namespace="{namespace}",policy="fast""#);
    let violation = format!(
        r#"{policy},check="NotReady",severity="warning",mode="alert",state="firing",namespace="{namespace}",pod="web""#
    );
    let metrics = format!(
        "# HELP sidewatch_violation A check that fails.\n\
         sidewatch_violation{{{violation}}} 1\n\
         sidewatch_violation_onset_timestamp_seconds{{{violation}}} {}\n\
         sidewatch_violations_total{{{policy},check=\"NotReady\"}} 1\n\
         sidewatch_violation_duration_seconds_bucket{{le=\"1\"}} 3\n\
         sidewatch_violation_duration_seconds_sum {start}\n\
         sidewatch_violation_duration_seconds_count 4\n\
         sidewatch_tracked_pods 3\n\
         sidewatch_watch_events_total {start}\n\
         process_cpu_seconds_total {start}\n",
        start + 7
    );
    Run {
        namespace,
        start,
        metrics,
        events: json!([{
            "metadata": {"name": format!("web.{start:016x}"), "resourceVersion": start.to_string()},
            "eventTime": format!("2027-01-15T{}", of_day.replace('Z', ".000000Z")),
            "type": "Warning",
            "reason": "SidecarContainerNotReady",
            "regarding": {"kind": "Pod", "name": "web", "fieldPath": "spec.initContainers{proxy}",
                          "uid": format!("{start:08x}-aaaa-bbbb-cccc-0123456789ab")},
            "related": {"kind": "SidecarPolicy", "name": "fast"},
            "note": format!("Sidecar 'proxy' has not been ready since {of_day} (5s allowed by SidecarPolicy {namespace}/fast) \
                             in Pod {start:08x}-aaaa-bbbb-cccc-0123456789ab after 1m{}s, limit 3", start % 60),
        }]),
        status: json!({
            "observedGeneration": 1,
            "summary": {"pods": 2, "firing": 1},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": clock.to_string()}],
            "violations": [{"pod": "web", "namespace": namespace, "since": clock.to_string()}],
        }),
    }
}

impl Run {
    fn snapshot(&self) -> Snapshot {
        let events: Vec<Event> = serde_json::from_value(self.events.clone()).unwrap();
        let policy = json!({"apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy",
                            "metadata": {"name": "fast"}, "status": self.status});
        let policies = [serde_json::from_value(policy).unwrap()];
        let sources = Sources {
            namespace: self.namespace,
            metrics: &self.metrics,
            events: &events,
            policies: &policies,
        };
        Snapshot::new(&sources, |_, _| Timestamp::from_second(self.start).unwrap()).unwrap()
    }
}

fn swap(run: &mut Run, from: &str, to: &str) {
    assert!(run.metrics.contains(from), "{from}: {}", run.metrics);
    run.metrics = run.metrics.replace(from, to);
}

fn differences(change: impl FnOnce(&mut Run)) -> String {
    let undisturbed = run("undisturbed-1", START).snapshot();
    let mut faulted = run("faulted-12", START + 4321);
    change(&mut faulted);
    faulted.snapshot().differences(&undisturbed, STRICT).to_string()
}

#[test]
fn the_worst_violation_can_be_left_out() {
    let snapshot = |worst: &str| {
        let mut run = run("soak-1", START);
        let message =
            format!("2 of 4 sidecars in 2 of 2 Pods fail: NotReady 2 (Warning); worst: Pod/{worst} proxy");
        run.status["conditions"][0]["message"] = json!(message);
        run.snapshot()
    };
    let [web, cart] = ["web", "cart"].map(snapshot);
    assert!(!web.differences(&cart, STRICT).is_empty());
    let [web, cart] = [web, cart].map(Snapshot::without_worst);
    assert!(web.differences(&cart, STRICT).is_empty());
}

#[test]
fn two_equal_runs_have_no_differences() {
    assert_eq!(differences(|_| {}), "");
}

#[test]
fn every_relevant_difference_is_found() {
    type Change = fn(&mut Run);
    #[rustfmt::skip]
    let table: [(&str, Change, &[&str]); 14] = [
        ("a violation in another state", |run| swap(run, "firing", "pending"),
            &["sidewatch_violation{", "firing alert", "pending alert"]),
        ("a lost violation", |run| swap(run, "sidewatch_violation{", "sidewatch_build_info{"),
            &["sidewatch_violation{", "missing"]),
        ("a later onset", |run| swap(run, "} 1800004328", "} 1800004331"), &["onset", "7.0 s after", "10.0 s after"]),
        ("a counter", |run| swap(run, "check=\"NotReady\"} 1", "check=\"NotReady\"} 2"),
            &["sidewatch_violations_total"]),
        ("a gauge", |run| swap(run, "tracked_pods 3", "tracked_pods 4"), &["sidewatch_tracked_pods"]),
        ("the number of durations", |run| swap(run, "_count 4", "_count 3"),
            &["sidewatch_violation_duration_seconds_count"]),
        (
            "a second Event of another name",
            |run| {
                let mut again = run.events[0].clone();
                again["metadata"]["name"] = json!("web.0123456789abcdef");
                run.events.as_array_mut().unwrap().push(again);
            },
            &["SidecarContainerNotReady", "#2"],
        ),
        ("no Event", |run| run.events = json!([]), &["SidecarContainerNotReady", "missing"]),
        ("another note", |run| run.events[0]["note"] = json!("Sidecar 'proxy' is fine"), &["is fine"]),
        ("another type", |run| run.events[0]["type"] = json!("Normal"), &["Warning 1", "Normal 1"]),
        (
            "another count",
            |run| {
                run.events[0]["series"] =
                    json!({"count": 2, "lastObservedTime": "2027-01-15T08:00:00.000000Z"});
            },
            &["Warning 2"],
        ),
        ("another container", |run| run.events[0]["regarding"]["fieldPath"] = json!("spec.containers{app}"),
            &["spec.containers{app}"]),
        ("a status", |run| run.status["summary"]["firing"] = json!(0), &["SidecarPolicy fast: .summary.firing"]),
        ("a condition", |run| run.status["conditions"][0]["status"] = json!("False"), &["conditions[Ready].status"]),
    ];
    for (name, change, expected) in table {
        let found = differences(change);
        for part in expected {
            assert!(found.contains(part), "{name}: {part:?} in {found:?}");
        }
    }
}

#[test]
fn times_may_differ_by_the_tolerance() {
    let undisturbed = run("undisturbed-1", START).snapshot();
    let mut later = run("later-2", START);
    later.metrics = later.metrics.replace("} 1800000007", "} 1800000012");
    later.events[0]["eventTime"] = json!("2027-01-15T08:00:13.000000Z");
    let later = later.snapshot();
    let with = |onset, sent| {
        let [onset, sent] = [onset, sent].map(Duration::from_secs);
        later
            .differences(
                &undisturbed,
                Tolerance {
                    onset,
                    sent,
                    restarted: false,
                },
            )
            .to_string()
            .matches("undisturbed:")
            .count()
    };
    assert_eq!([with(0, 0), with(5, 0), with(5, 6), with(4, 6)], [2, 1, 0, 1]);
}

#[test]
fn only_counters_may_be_lower_after_a_restart() {
    let undisturbed = run("undisturbed-1", START).snapshot();
    let restarted = Tolerance {
        restarted: true,
        ..STRICT
    };
    let table = [
        ("lower", "_count 4", "_count 1", ""),
        ("gone", "sidewatch_violations_total", "process_other_total", ""),
        ("higher", "_count 4", "_count 5", "_count"),
        ("a gauge", "tracked_pods 3", "tracked_pods 1", "tracked_pods"),
    ];
    for (name, from, to, expected) in table {
        let mut run = run("restarted-3", START);
        swap(&mut run, from, to);
        let run = run.snapshot();
        let found = run.differences(&undisturbed, restarted).to_string();
        assert!(
            found.contains(expected) && found.is_empty() == expected.is_empty(),
            "{name}: {found}"
        );
        assert!(!run.differences(&undisturbed, STRICT).is_empty(), "{name}");
    }
}

#[test]
fn variable_parts_of_texts_are_replaced() {
    let texts = Normalizer::new("shop-1").unwrap();
    let table = [
        ("since 10:42:07Z (5m allowed)", "since TIME (DURATION allowed)"),
        ("ready again after 7m12s", "ready again after DURATION"),
        ("2026-11-20T10:42:07.123Z", "TIME"),
        ("within 1h30m, limit 3, 137", "within DURATION, limit 3, 137"),
        ("SidecarPolicy shop-1/mesh", "SidecarPolicy NAMESPACE/mesh"),
        (
            "pod=web_shop-1(0a1b2c3d-0000-1111-2222-333344445555)",
            "pod=web_NAMESPACE(UID)",
        ),
        ("64Mi of app5s", "64Mi of app5s"),
    ];
    for (text, expected) in table {
        assert_eq!(texts.normalize(text), expected, "{text}");
    }
}
