mod identity;

use crate::kubernetes::decode::custom::Checked;
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    checks::{
        Check, Checks, Common, Settings, flapping, frequent_restarts, job_held_open,
        main_ready_sidecar_not_ready, not_ready, oom_killed, sidecar_missing, startup_blocked, version_drift,
    },
    expected::{Expected, Preset, Rule},
    observation::Labels,
    pattern::Repository,
    policy::Severity,
    testing,
};

pub(super) fn read<K: PolicyObject + serde::de::DeserializeOwned>(object: Value) -> PolicyUpdate {
    policy_update::<K>(&serde_json::from_value(object).unwrap()).unwrap()
}

pub(super) fn namespaced(spec: &Value) -> PolicyUpdate {
    read::<SidecarPolicy>(json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy",
        "metadata": {"name": "mesh", "namespace": "pay", "uid": "u-1", "generation": 3},
        "spec": spec,
    }))
}

fn cluster(spec: &Value) -> PolicyUpdate {
    read::<ClusterSidecarPolicy>(json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "ClusterSidecarPolicy",
        "metadata": {"name": "platform", "uid": "u-2"},
        "spec": spec,
    }))
}

/// Returns the object with these fields changed or added.
pub(super) fn with(mut object: Value, changes: &Value) -> Value {
    let changes = changes.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(changes);
    object
}

pub(super) fn error(update: PolicyUpdate) -> String {
    update.spec.unwrap_err().to_string()
}

#[test]
fn an_empty_spec_has_the_defaults() {
    let expected = testing::policy();
    assert_eq!(namespaced(&json!({})).spec, Ok(expected.clone()));
    assert_eq!(cluster(&json!({})).spec, Ok(expected));
}

#[test]
fn each_check_has_the_default_severity_warning() {
    let policy = namespaced(&json!({})).spec.unwrap();
    for check in Check::ALL {
        assert_eq!(
            policy.checks.common(check).severity,
            Severity::Warning,
            "{}",
            check.as_str()
        );
    }
}

fn observe<L>(limits: L) -> Settings<L> {
    let common = Common {
        mode: Mode::Observe,
        severity: Severity::Info,
    };
    Settings { common, limits }
}

#[test]
fn every_field_is_decoded() {
    let common = json!({"mode": "Observe", "severity": "Info"});
    let check = |settings: Value| with(with(common.clone(), &json!({"keepFiringFor": "7s"})), &settings);
    let spec = json!({
        "mode": "Observe",
        "namespaceSelector": {"matchLabels": {"team": "a"}},
        "exemptions": {
            "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a", "b"]}]},
            "maxDuration": "36h",
        },
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
        "sidecars": {
            "native": "Exclude", "wellKnown": "Exclude", "names": ["my-agent"], "namePattern": "helper-.*",
            "images": ["fluent/*"], "exclude": {"names": ["not-me"], "namePattern": "never-.*"},
        },
        "mainContainers": {"names": ["app", "worker"]},
        "expected": [
            {"name": "mesh", "preset": "Linkerd", "for": "8s"},
        ],
        "checks": {
            "notReady": check(json!({"for": "1s"})),
            "mainReadySidecarNotReady": check(json!({"for": "2s"})),
            "frequentRestarts": check(json!({"count": 4, "window": "44s", "slow": {"count": 7, "window": "7h"}, "scope": "AllContainers"})),
            "startupBlocked": check(json!({"for": "3s", "initContainersFor": "33s"})),
            "jobHeldOpen": check(json!({"for": "4s"})),
            "oomKilled": check(json!({})),
            "flapping": check(json!({"count": 5, "window": "55s"})),
            "sidecarMissing": common,
            "versionDrift": with(common.clone(), &json!({"for": "65s"})),
        },
        "events": {"repeatPeriod": "1h30m", "onRecovery": "Disabled"},
        "runbookURL": "https://example.com/runbook",
    });
    let policy = cluster(&spec).spec.unwrap();
    let seconds = SignedDuration::from_secs;
    let keep_firing_for = seconds(7);
    let label = |key: &str, operator| {
        Selector::from_iter([Requirement {
            key: key.into(),
            operator,
        }])
    };
    let expected = Policy {
        mode: Mode::Observe,
        namespaces: label("team", Operator::In(vec!["a".into()])),
        exemptions: Some(AllowedExemptions {
            namespaces: label("team", Operator::NotIn(vec!["a".into(), "b".into()])),
            max_duration: SignedDuration::from_hours(36),
        }),
        pods: label("app", Operator::Exists),
        sidecars: SidecarRules {
            native: false,
            well_known: false,
            names: ["my-agent".into()].into(),
            name_pattern: Some(Pattern::parse("helper-.*").unwrap()),
            images: vec![Glob::new("fluent/*")],
            exclude_names: ["not-me".into()].into(),
            exclude_pattern: Some(Pattern::parse("never-.*").unwrap()),
        },
        mains: ["app".into(), "worker".into()].into(),
        expected: vec![Expected {
            name: "mesh".into(),
            rule: Rule::Preset(Preset::Linkerd),
            hold_for: seconds(8),
        }],
        checks: Checks {
            not_ready: observe(not_ready::Limits {
                hold_for: seconds(1),
                keep_firing_for,
            }),
            main_ready_sidecar_not_ready: observe(main_ready_sidecar_not_ready::Limits {
                hold_for: seconds(2),
                keep_firing_for,
            }),
            frequent_restarts: observe(frequent_restarts::Limits {
                count: 4,
                window: seconds(44),
                slow: frequent_restarts::Slow {
                    count: 7,
                    window: SignedDuration::from_hours(7),
                },
                keep_firing_for,
                scope: frequent_restarts::Scope::AllContainers,
            }),
            startup_blocked: observe(startup_blocked::Limits {
                hold_for: seconds(3),
                init_containers_for: seconds(33),
                keep_firing_for,
            }),
            job_held_open: observe(job_held_open::Limits {
                hold_for: seconds(4),
                keep_firing_for,
            }),
            oom_killed: observe(oom_killed::Limits { keep_firing_for }),
            flapping: observe(flapping::Limits {
                count: 5,
                window: seconds(55),
                keep_firing_for,
            }),
            sidecar_missing: observe(sidecar_missing::Limits),
            version_drift: observe(version_drift::Limits {
                hold_for: seconds(65),
            }),
        },
        repeat_period: SignedDuration::from_mins(90),
        recovery_events: false,
        runbook_url: "https://example.com/runbook".into(),
    };
    assert_eq!(policy, expected);
    let image = Repository::of("fluent/fluent-bit:3");
    assert!(policy.sidecars.images[0].matches(&image), "a glob matches");
}

#[test]
fn modes_and_severities_are_decoded() {
    for (written, expected) in [
        ("Alert", Mode::Alert),
        ("Observe", Mode::Observe),
        ("Off", Mode::Off),
    ] {
        let spec = json!({"mode": written, "checks": {"flapping": {"mode": written}}});
        let policy = namespaced(&spec).spec.unwrap();
        assert_eq!(policy.mode, expected, "the policy's mode {written}");
        assert_eq!(
            policy.checks.flapping.common.mode, expected,
            "a check's mode {written}"
        );
        assert_eq!(
            policy.mode_of(Check::NotReady),
            expected,
            "the policy's mode applies to its checks"
        );
    }
    for (written, expected) in [
        ("Info", Severity::Info),
        ("Warning", Severity::Warning),
        ("Critical", Severity::Critical),
    ] {
        let spec = json!({"checks": {"oomKilled": {"severity": written}}});
        let policy = namespaced(&spec).spec.unwrap();
        assert_eq!(
            policy.checks.oom_killed.common.severity, expected,
            "severity {written}"
        );
    }
}

#[test]
fn a_selector_matches_as_in_kubernetes() {
    let spec = json!({"podSelector": {
        "matchLabels": {"app": "web", "tier": ""},
        "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["a", "b"]},
            {"key": "stage", "operator": "NotIn", "values": ["test"]},
            {"key": "team", "operator": "Exists"},
            {"key": "legacy", "operator": "DoesNotExist", "values": []},
        ],
    }});
    let selector = namespaced(&spec).spec.unwrap().pods;
    let matching = [
        ("app", "web"),
        ("tier", ""),
        ("zone", "b"),
        ("stage", "prod"),
        ("team", "x"),
    ];
    assert!(
        selector.matches(&Labels::from_iter(matching)),
        "labels that meet all requirements"
    );
    let table = [
        (("app", Some("db")), "another value of a label in matchLabels"),
        (
            ("tier", None),
            "an empty value is required, so the label must exist",
        ),
        (("zone", Some("c")), "none of the values of In"),
        (("zone", None), "In needs the label"),
        (("stage", Some("test")), "a value of NotIn"),
        (("team", None), "Exists needs the label"),
        (("legacy", Some("")), "DoesNotExist forbids the label"),
    ];
    for ((key, value), why) in table {
        let labels = matching
            .into_iter()
            .filter(|(k, _)| *k != key)
            .chain(value.map(|v| (key, v)));
        assert!(!selector.matches(&labels.collect()), "{why}");
    }
}

#[test]
fn a_sidecar_policy_has_no_field_about_other_namespaces() {
    let spec = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
    assert!(namespaced(&spec).spec.unwrap().namespaces.is_empty());
    let spec = json!({"exemptions": {"maxDuration": "1h"}});
    assert_eq!(namespaced(&spec).spec.unwrap().exemptions, None);
}

#[test]
fn errors_name_the_field_and_the_correction() {
    let checks = |check: &str, settings: Value| json!({"checks": {check: settings}});
    let pods = |requirement: Value| {
        json!({"podSelector": {"matchExpressions": [
            {"key": "a", "operator": "Exists"}, requirement,
        ]}})
    };
    #[rustfmt::skip]
    let table = [
        (checks("frequentRestarts", json!({"count": 0})),
            "spec.checks.frequentRestarts.count: 0 is not between 1 and 1000"),
        (checks("flapping", json!({"count": 1001})), "spec.checks.flapping.count: 1001 is not between 1 and 1000"),
        (checks("frequentRestarts", json!({"slow": {"window": "9s999ms"}})),
            "spec.checks.frequentRestarts.slow.window: 9s999ms is not between 10s and 24h"),
        (checks("flapping", json!({"window": "9s999ms"})),
            "spec.checks.flapping.window: 9s999ms is not between 10s and 24h"),
        (json!({"events": {"repeatPeriod": "14m"}}), "spec.events.repeatPeriod: 14m is not between 15m and 24h"),
        (
            json!({"sidecars": {"namePattern": "helper-("}}),
            "spec.sidecars.namePattern: \"helper-(\" is not a valid regular expression, such as helper-.*: \
             unclosed group",
        ),
        (
            json!({"sidecars": {"exclude": {"namePattern": "((a{99}){99}){99}"}}}),
            "spec.sidecars.exclude.namePattern: \"((a{99}){99}){99}\" is not a valid regular expression, such \
             as helper-.*: Compiled regex exceeds size limit of 28672 bytes.",
        ),
        (pods(json!({"key": "b", "operator": "In"})),
            "spec.podSelector.matchExpressions[1].values: operator In needs at least one value"),
        (pods(json!({"key": "b", "operator": "NotIn", "values": []})),
            "spec.podSelector.matchExpressions[1].values: operator NotIn needs at least one value"),
        (
            pods(json!({"key": "b", "operator": "Exists", "values": ["x"]})),
            "spec.podSelector.matchExpressions[1].values: operator Exists takes no values: remove them, or use In \
             or NotIn",
        ),
        (
            pods(json!({"key": "b", "operator": "DoesNotExist", "values": ["x"]})),
            "spec.podSelector.matchExpressions[1].values: operator DoesNotExist takes no values: remove them, or \
             use In or NotIn",
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(error(namespaced(&spec)), expected, "{spec}");
    }
    let spec = json!({"namespaceSelector": {"matchExpressions": [{"key": "b", "operator": "In"}]}});
    let expected = "spec.namespaceSelector.matchExpressions[0].values: operator In needs at least one value";
    assert_eq!(error(cluster(&spec)), expected);
    let spec = json!({"exemptions": {"maxDuration": "30s"}});
    let expected = "spec.exemptions.maxDuration: 30s is not between 1m and 8760h";
    assert_eq!(error(cluster(&spec)), expected);
}

#[test]
fn every_duration_is_parsed_and_bounded() {
    let fields = [
        ("notReady", "for keepFiringFor"),
        ("mainReadySidecarNotReady", "for keepFiringFor"),
        ("frequentRestarts", "window keepFiringFor"),
        ("startupBlocked", "for initContainersFor keepFiringFor"),
        ("jobHeldOpen", "for keepFiringFor"),
        ("oomKilled", "keepFiringFor"),
        ("flapping", "window keepFiringFor"),
    ];
    for (check, durations) in fields {
        for field in durations.split(' ') {
            let error = |written: &str| {
                let spec = json!({"checks": {check: {field: written}}});
                self::error(namespaced(&spec))
            };
            let path = format!("spec.checks.{check}.{field}");
            let expected = format!("{path}: \"5x\" is not a duration such as 90s, 5m or 1h30m");
            assert_eq!(error("5x"), expected);
            let least = if field == "window" { "10s" } else { "0s" };
            let expected = format!("{path}: 24h1ms is not between {least} and 24h");
            assert_eq!(error("24h1ms"), expected);
        }
    }
    let spec = json!({"events": {"repeatPeriod": "5x"}});
    let error = error(namespaced(&spec));
    assert!(error.starts_with("spec.events.repeatPeriod: \"5x\""), "{error}");
}
