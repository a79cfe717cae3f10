//! The alerting rules in `config/prometheus`, checked and run by promtool.
//!
//! Each rule file is a `PrometheusRule` of prometheus-operator, whose `spec` is a rule file of Prometheus. The promtool tests
//! (`config/prometheus/tests/*.test.yaml`) refer to plain rule files, which this test extracts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use e2e::process::Scratch;
use e2e::project::{read_yaml, repository};
use e2e::promtool::{CHECK_RULES, promtool};
use serde_json::Value;
use sidewatch::domain::policy::Check;

const RULES: [&str; 3] = ["rules.yaml", COMMON_CAUSE, "kube-state-metrics.yaml"];
/// The alert that is off by default.
const COMMON_CAUSE: &str = "common-cause.yaml";
/// Base URL of runbooks, followed by their path in this repository.
const SITE: &str = "https://sidewatch.dev/";

/// The alert of each check.
const ALERTS: [(Check, &str); Check::ALL.len()] = [
    (Check::NotReady, "SidecarContainerNotReady"),
    (Check::MainReadySidecarNotReady, "MainContainerReadyButSidecarNot"),
    (Check::FrequentRestarts, "PodRestartingFrequently"),
    (Check::StartupBlocked, "SidecarBlocksStartup"),
    (Check::JobHeldOpen, "SidecarHoldsJobOpen"),
    (Check::OOMKilled, "SidecarOOMKilled"),
    (Check::Flapping, "SidecarFlapping"),
    (Check::SidecarMissing, "SidecarMissing"),
    (Check::VersionDrift, "SidecarVersionDrift"),
];
const OWN_ALERTS: [&str; 9] = [
    "SidewatchDown",
    "SidewatchWatchStale",
    "SidewatchUndecodableObjects",
    "SidewatchNoLeader",
    "SidewatchCheckpointFailing",
    "SidewatchPolicyInvalid",
    "SidewatchPolicyMatchesNothing",
    "SidewatchStatusWritesFailing",
    "SidewatchEventsDropped",
];

/// The rules in a `PrometheusRule`.
fn plain(file: &str) -> Value {
    let mut object = read_yaml(Path::new("config/prometheus").join(file)).unwrap();
    assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1", "{file}");
    assert_eq!(object["kind"], "PrometheusRule", "{file}");
    object["spec"].take()
}

/// Every alert of a file, by name.
fn alerts(file: &str) -> BTreeMap<String, Value> {
    let groups = plain(file)["groups"].take();
    let rules = groups
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let mut alerts = BTreeMap::new();
    for rule in rules.filter(|rule| rule.get("alert").is_some()) {
        let name = rule["alert"].as_str().unwrap().to_owned();
        assert!(
            alerts.insert(name.clone(), rule.clone()).is_none(),
            "duplicate {name} in {file}"
        );
    }
    alerts
}

/// Writes the plain rule files and copies the promtool tests, whose paths are returned.
fn extract(dir: &Path) -> Vec<PathBuf> {
    for file in RULES {
        // JSON is YAML
        fs::write(dir.join(file), plain(file).to_string()).unwrap();
    }
    let mut tests = Vec::new();
    for entry in fs::read_dir(repository().join("config/prometheus/tests")).unwrap() {
        let entry = entry.unwrap();
        let copy = dir.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        if copy.to_string_lossy().ends_with(".test.yaml") {
            tests.push(copy);
        }
    }
    tests.sort();
    assert!(tests.len() >= 3, "{tests:?}");
    tests
}

/// Runs promtool with these arguments and files.
fn run(args: &[&str], files: &[PathBuf]) -> anyhow::Result<()> {
    promtool(
        args.iter()
            .map(Path::new)
            .chain(files.iter().map(PathBuf::as_path)),
    )
}

#[test]
fn the_rules_pass_promtool() {
    let dir = Scratch::new().unwrap();
    let tests = extract(dir.path());
    let files = RULES.map(|file| dir.path().join(file));
    run(&CHECK_RULES, &files).unwrap();
    run(&["test", "rules"], &tests).unwrap();
}

#[test]
fn a_wrong_rule_fails_the_tests() {
    let dir = Scratch::new().unwrap();
    let mut tests = extract(dir.path());
    tests.retain(|test| !test.ends_with("kube-state-metrics.test.yaml"));
    let rules = dir.path().join("rules.yaml");
    let right = fs::read_to_string(&rules).unwrap();
    #[rustfmt::skip]
    let table = [
        (r#"state=\"firing\""#, r#"state=~\".+\""#, "pending violations alert"),
        (r#"mode=\"alert\""#, r#"mode=~\".+\""#, "observed violations alert"),
        ("sum without (image) (", "sum without () (", "a rollout has two alerts"),
        ("max by (cluster", "sum by (cluster", "each replica counts"),
        (r#""keep_firing_for":"3m""#, r#""keep_firing_for":"30s""#, "an alert ends while the operator restarts"),
        (r#"== 0","for":"5m""#, r#"== 0","for":"8m""#, "a stale watch alerts late"),
        (r#"{namespace=\"sidewatch-system\"}"#, "", "another installation hides that one is down"),
        ("min by (cluster", "max by (cluster", "one replica of two is out of sync"),
        (
            "max by (cluster, namespace) (sidewatch_leader)",
            "min by (cluster, namespace) (sidewatch_leader)",
            "a standby alerts",
        ),
        (r#"{outcome=~\"error|timeout\"}"#, "", "checkpoints that are written alert"),
        (r#"== 0","for":"1m""#, r#"== 1","for":"1m""#, "valid policies alert"),
    ];
    for (part, wrong, message) in table {
        assert!(right.contains(part), "{part} is not in the rules");
        fs::write(&rules, right.replace(part, wrong)).unwrap();
        let result = run(&["test", "rules"], &tests);
        assert!(result.is_err(), "no promtool test fails when {message}");
    }
}

#[test]
fn each_check_has_an_alert_without_its_own_limit() {
    let alerts = alerts("rules.yaml");
    let expected: BTreeSet<&str> = ALERTS.iter().map(|(_, alert)| *alert).chain(OWN_ALERTS).collect();
    assert_eq!(
        alerts.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
    assert_eq!(ALERTS.map(|(check, _)| check), Check::ALL);
    for (check, name) in ALERTS {
        let alert = &alerts[name];
        let expr: Vec<_> = alert["expr"].as_str().unwrap().split_whitespace().collect();
        let expected = format!(
            "sum without (image) ( max by (cluster, policy_kind, policy_namespace, policy, check, severity, \
             namespace, workload_kind, workload, container, repository, image, native) ( \
             sidewatch_workload_violations{{check=\"{}\", mode=\"alert\", state=\"firing\"}} ) ) > 0",
            check.as_str()
        );
        assert_eq!(expr.join(" "), expected, "{name}");
        assert_eq!(alert["keep_firing_for"], "3m", "{name}");
        for limit in ["for", "labels"] {
            assert_eq!(
                alert.get(limit),
                None,
                "{name}: the policy decides that, not the rule"
            );
        }
    }
    for name in OWN_ALERTS {
        let severity = alerts[name]["labels"]["severity"].as_str().unwrap();
        assert!(
            ["info", "warning", "critical"].contains(&severity),
            "{name}: {severity}"
        );
    }
}

#[test]
fn each_alert_has_annotations_and_a_runbook() {
    for file in RULES {
        for (name, alert) in alerts(file) {
            let annotations = &alert["annotations"];
            for annotation in ["summary", "description"] {
                let text = annotations[annotation].as_str().unwrap_or_default();
                assert!(
                    !text.is_empty() && !text.contains('\n'),
                    "{name}: {annotation}: {text:?}"
                );
            }
            let url = annotations["runbook_url"].as_str().unwrap_or_default();
            assert_eq!(url, format!("{SITE}docs/runbooks/{name}.md"));
            assert!(
                repository().join(&url[SITE.len()..]).is_file(),
                "{url} is not in this repository"
            );
        }
    }
}

#[test]
fn each_alert_is_tested_with_two_replicas_and_over_a_restart() {
    let dir = Scratch::new().unwrap();
    let mut two_replicas = BTreeSet::new();
    let mut restart = BTreeSet::new();
    for test in extract(dir.path()) {
        for group in groups(&test) {
            let replicas: BTreeSet<_> = group["input_series"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|series| series["series"].as_str().unwrap().split("instance=").nth(1))
                .collect();
            let names = match group["name"].as_str().unwrap().split_once(": ") {
                Some((_, "two replicas")) => &mut two_replicas,
                Some((_, "restart")) => &mut restart,
                _ => continue,
            };
            assert!(replicas.len() > 1, "{}: {replicas:?}", group["name"]);
            names.extend(alerts_of(&group));
        }
    }
    let mut all: BTreeSet<_> = alerts("rules.yaml").into_keys().collect();
    all.extend(alerts(COMMON_CAUSE).into_keys());
    assert_eq!(two_replicas, all);
    assert_eq!(restart, all);
}

/// The groups of a file of promtool tests.
fn groups(tests: &Path) -> Vec<Value> {
    read_yaml(tests).unwrap()["tests"].as_array().unwrap().clone()
}

/// The tests of a kind in a group.
fn cases<'a>(group: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    group.get(kind).and_then(Value::as_array).into_iter().flatten()
}

/// The alerts that a group of promtool tests mentions.
fn alerts_of(group: &Value) -> BTreeSet<String> {
    let of_rules = cases(group, "alert_rule_test").filter_map(|case| case["alertname"].as_str());
    let of_queries = cases(group, "promql_expr_test").filter_map(|case| {
        case["expr"]
            .as_str()?
            .split("alertname=\"")
            .nth(1)?
            .split('"')
            .next()
    });
    of_rules.chain(of_queries).map(str::to_owned).collect()
}

#[test]
fn each_alert_is_tested_firing_and_silent() {
    let dir = Scratch::new().unwrap();
    let mut seen = BTreeSet::new();
    for test in extract(dir.path()) {
        // the corrected alerts have the names of Sidewatch's own
        let of_rules = !test.ends_with("kube-state-metrics.test.yaml");
        for group in groups(&test) {
            for case in cases(&group, "alert_rule_test") {
                let name = case["alertname"].as_str().unwrap().to_owned();
                seen.insert((of_rules, name, !case["exp_alerts"].as_array().unwrap().is_empty()));
            }
        }
    }
    for (file, of_rules) in RULES.into_iter().zip([true, true, false]) {
        for name in alerts(file).into_keys() {
            for fires in [true, false] {
                assert!(
                    seen.contains(&(of_rules, name.clone(), fires)),
                    "{file}: no test has {name} with firing {fires}"
                );
            }
        }
    }
}
