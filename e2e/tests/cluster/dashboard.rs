//! The Grafana dashboard: every panel uses the variables, and its values are correct with several replicas and clusters.

use std::collections::{BTreeMap, BTreeSet};

use e2e::project::{read, read_yaml};
use e2e::promtool::test_rules;
use regex::Regex;
use serde_json::{Value, json};

const VARIABLES: [&str; 4] = ["cluster", "namespace", "policy", "severity"];

pub(crate) fn dashboard() -> Value {
    read_yaml("config/prometheus/dashboard.json").unwrap()
}

/// Titles of panels, with their expressions.
pub(crate) fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// Replaces the variables of Grafana. Variables that `selected` lacks have the value All.
pub(crate) fn substituted(expression: &str, selected: &[(&str, &str)]) -> String {
    let mut expression = expression
        .replace("$__rate_interval", "5m")
        .replace("$__range", "5m");
    for variable in VARIABLES {
        let value = selected.iter().find(|(name, _)| *name == variable);
        let value = value.map_or(".*", |(_, value)| value);
        expression = expression.replace(&format!("${variable}"), value);
    }
    assert!(!expression.contains('$'), "an unknown variable: {expression}");
    expression
}

/// Type and labels of each metric, as `docs/metrics.md` lists them.
pub(crate) fn documented_metrics() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let page = read("docs/metrics.md").unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `sidewatch_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        (name, (cells[2].to_owned(), words(cells[3])))
    })
    .collect()
}

/// The matchers that a selector of a metric with these labels must have. Every target has the label `cluster`, or none has.
/// A policy without a namespace is a ClusterSidecarPolicy; it belongs to every namespace.
fn matchers(labels: &BTreeSet<String>) -> Vec<&'static str> {
    let mut matchers = vec![r#"cluster=~"$cluster""#];
    if labels.contains("namespace") {
        matchers.push(r#"namespace=~"$namespace""#);
    } else if labels.contains("policy_namespace") {
        matchers.push(r#"policy_namespace=~"$namespace|""#);
    }
    if labels.contains("policy") {
        matchers.push(r#"policy=~"$policy""#);
    }
    if labels.contains("severity") {
        matchers.push(r#"severity=~"$severity""#);
    }
    matchers
}

#[test]
fn every_selector_uses_every_variable_that_its_metric_has_a_label_for() {
    let documented = documented_metrics();
    let metric = Regex::new(r"\b((?:sidewatch|process)_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let mut used = BTreeSet::new();
    for (panel, expression) in expressions(&dashboard()) {
        for found in metric.captures_iter(&expression) {
            let name = &found[1];
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|part| {
                name.strip_suffix(part)
                    .filter(|name| documented.contains_key(*name))
            });
            let (_, labels) = documented
                .get(family.unwrap_or(name))
                .cloned()
                .unwrap_or_default();
            let selector = found.get(2).map_or("", |selector| selector.as_str());
            for matcher in matchers(&labels) {
                assert!(
                    selector.split(", ").any(|part| part == matcher),
                    "{panel}: {name} is not selected by {matcher}: {expression}"
                );
                used.insert(matcher);
            }
        }
    }
    for variable in VARIABLES {
        let reference = format!("${variable}");
        assert!(
            used.iter().any(|matcher| matcher.contains(&reference)),
            "{variable}"
        );
    }
}

#[test]
fn every_variable_is_defined_and_selects_all_by_default() {
    let dashboard = dashboard();
    let defined = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = defined
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [&["datasource"][..], &VARIABLES].concat());
    for variable in &defined[1..] {
        assert_eq!(variable["allValue"], ".*", "{}", variable["name"]);
        assert_eq!(variable["current"]["value"], "$__all", "{}", variable["name"]);
        assert_eq!(variable["multi"], true, "{}", variable["name"]);
    }
}

/// Series of two clusters with two replicas each. The second replica of a cluster is a scrape behind.
fn two_clusters() -> Vec<Value> {
    let mut series = Vec::new();
    for cluster in ["east", "west"] {
        for (replica, late) in [("1", ""), ("2", "_x2 ")] {
            let target = format!(
                "cluster=\"{cluster}\",instance=\"10.244.0.{replica}:8080\",job=\"sidewatch\",endpoint=\"metrics\""
            );
            let own = format!("{target},namespace=\"sidewatch-system\",pod=\"sidewatch-{replica}\"");
            let policy = "policy_kind=\"ClusterSidecarPolicy\",policy=\"platform\"";
            let violation = format!(
                "{policy},check=\"NotReady\",severity=\"warning\",mode=\"alert\",state=\"firing\",namespace=\"pay\",\
                 workload_kind=\"Deployment\",workload=\"web\",container=\"envoy\",native=\"true\""
            );
            let restarts = format!(
                "{policy},namespace=\"pay\",workload_kind=\"Deployment\",workload=\"web\",container=\"envoy\",\
                 reason=\"Error\",{target}"
            );
            let mut add = |name: &str, labels: &str, values: &str| {
                let values = format!("{late}{values}");
                series.push(json!({"series": format!("{name}{{{labels}}}"), "values": values}));
            };
            let images = format!("{violation},{target},repository=\"reg.io/envoy\",image=\"reg.io/envoy");
            add("sidewatch_workload_violations", &format!("{images}:1\""), "2x40");
            add("sidewatch_workload_violations", &format!("{images}:2\""), "1x40");
            let onset = format!("{violation},{target},pod=\"web-1\"");
            add("sidewatch_violation_onset_timestamp_seconds", &onset, "60x40");
            for (ready, count) in [("true", "3x40"), ("false", "1x40")] {
                let containers = format!("{policy},{own},role=\"sidecar\",native=\"true\",ready=\"{ready}\"");
                add("sidewatch_policy_containers", &containers, count);
            }
            add("sidewatch_tracked_pods", &own, "50x40");
            add("sidewatch_policy_ready", &format!("{policy},{own}"), "0x40");
            for (version, pods) in [("1.28.1", "3x40"), ("1.27.4", "1x40")] {
                let image = format!("{policy},{own},repository=\"reg.io/envoy\",version=\"{version}\"");
                add("sidewatch_sidecar_images", &image, pods);
            }
            add(
                "sidewatch_watch_synced",
                &format!("resource=\"pods\",{own}"),
                "1x40",
            );
            let announced = format!("{policy},check=\"NotReady\",{own}");
            add("sidewatch_violations_total", &announced, "0+1x40");
            add("sidewatch_sidecar_restarts_total", &restarts, "0+1x40");
            add("sidewatch_violation_duration_seconds_count", &own, "0+1x40");
            for (le, count) in [("5", "0x40"), ("10", "2x40"), ("+Inf", "2x40")] {
                let starts = format!("container=\"envoy\",until=\"ready\",le=\"{le}\",{own}");
                let values = format!("_x25 {count}");
                add("sidewatch_sidecar_startup_seconds_bucket", &starts, &values);
            }
            add(
                "sidewatch_build_info",
                &format!("version=\"0.1.0\",{own}"),
                "1x40",
            );
        }
    }
    series
}

/// A panel, the selected variables, and the labels and values of the result at minute 15.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, f64)]);

#[test]
fn replicas_count_once_and_clusters_add_up() {
    let expressions: BTreeMap<String, String> = expressions(&dashboard()).into_iter().collect();
    let east = &[("cluster", "east")][..];
    let critical = &[("severity", "critical")][..];
    #[rustfmt::skip]
    let table: [Row; 23] = [
        ("Firing", &[], &[("{}", 6.0)]),
        ("Firing", east, &[("{}", 3.0)]),
        ("Firing", critical, &[("{}", 0.0)]),
        ("Firing", &[("namespace", "shop")], &[("{}", 0.0)]),
        ("Firing", &[("policy", "mesh")], &[("{}", 0.0)]),
        ("Pending", &[], &[("{}", 0.0)]),
        ("Sidecars ready", &[], &[("{}", 0.75)]),
        ("Sidecars ready", &[("namespace", "shop")], &[("{}", 0.75)]),
        ("Native sidecars", &[("policy", "platform")], &[("{}", 1.0)]),
        ("Pods", &[], &[("{}", 100.0)]),
        ("Pods", east, &[("{}", 50.0)]),
        ("Invalid policies", &[], &[("{}", 2.0)]),
        ("Invalid policies", &[("policy", "mesh")], &[("{}", 0.0)]),
        ("Firing by check", &[], &[(r#"{check="NotReady"}"#, 6.0)]),
        ("Sidecars by kind and readiness", east, &[
            (r#"{native="true", ready="false"}"#, 1.0),
            (r#"{native="true", ready="true"}"#, 3.0),
        ]),
        ("Workloads with the most Pods in violation", &[], &[
            (r#"{cluster="east", namespace="pay", workload_kind="Deployment", workload="web"}"#, 3.0),
            (r#"{cluster="west", namespace="pay", workload_kind="Deployment", workload="web"}"#, 3.0),
        ]),
        ("Violations that started firing", east, &[(r#"{check="NotReady"}"#, 10.0)]),
        ("By reason", &[], &[(r#"{reason="Error"}"#, 20.0)]),
        ("Resolved", &[], &[("{}", 20.0)]),
        // A series starts with the first start of a sidecar.
        ("Median until ready", &[], &[(r#"{container="envoy"}"#, 7.5)]),
        ("Pods by version", east, &[
            (r#"{cluster="east", repository="reg.io/envoy", version="1.28.1"}"#, 3.0),
            (r#"{cluster="east", repository="reg.io/envoy", version="1.27.4"}"#, 1.0),
        ]),
        ("Versions per sidecar", east, &[(r#"{cluster="east", repository="reg.io/envoy"}"#, 2.0)]),
        ("Watches in sync", &[], &[
            (r#"{cluster="east", namespace="sidewatch-system", resource="pods"}"#, 1.0),
            (r#"{cluster="west", namespace="sidewatch-system", resource="pods"}"#, 1.0),
        ]),
    ];
    let cases: Vec<_> = table
        .iter()
        .map(|(panel, selected, samples)| {
            let samples: Vec<_> = samples
                .iter()
                .map(|(labels, value)| json!({"labels": labels, "value": value}))
                .collect();
            json!({
                "expr": substituted(&expressions[*panel], selected),
                "eval_time": "15m",
                "exp_samples": samples,
            })
        })
        .collect();
    let tests = json!({
        "evaluation_interval": "30s",
        "tests": [{"interval": "30s", "input_series": two_clusters(), "promql_expr_test": cases}],
    });
    test_rules(&json!({"groups": []}), &tests).unwrap();
}

#[test]
fn workloads_in_tables_link_to_the_dashboard_of_the_workload() {
    let dashboard = dashboard();
    let mut tables = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] != "table" {
            continue;
        }
        tables += 1;
        let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
        let links = |column: &str| -> String {
            let properties = overrides
                .iter()
                .find(|o| o["matcher"]["options"] == column)
                .unwrap();
            let property = &properties["properties"][0];
            assert_eq!(property["id"], "links", "{column}");
            property["value"][0]["url"].as_str().unwrap().to_owned()
        };
        for (column, variable) in [("workload", "var-workload"), ("pod", "var-pod")] {
            let url = links(column);
            let parts = [
                "var-cluster=${__data.fields.cluster}".to_owned(),
                "var-namespace=${__data.fields.namespace}".to_owned(),
                format!("{variable}=${{__data.fields.{column}}}"),
            ];
            for part in parts {
                assert!(url.contains(&part), "{}: {column}: {url}", panel["title"]);
            }
        }
    }
    assert_eq!(tables, 1);
}
