//! The alerts and the permissions of Prometheus as the chart renders them.

use std::collections::{BTreeMap, BTreeSet};

use e2e::ControlPlane;
use e2e::cluster::is_permitted;
use e2e::project::read_yaml;
use e2e::promtool::{check_rules, test_rules};
use serde_json::{Value, json};

use crate::helm::{CHART, Helm, NAMESPACE, VERSIONS, objects, of_kind};

/// The `spec` of the rendered PrometheusRule.
async fn rules(flags: &[&str]) -> Value {
    let enabled = ["--set", "prometheusRule.enabled=true"];
    let objects = objects(&[&enabled, flags].concat()).await;
    let [rule] = of_kind(&objects, "PrometheusRule")[..] else {
        panic!("not one PrometheusRule: {objects:?}")
    };
    rule["spec"].clone()
}

/// The rules of all groups, by name.
fn by_name(spec: &Value) -> BTreeMap<String, Value> {
    let groups = spec["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())))
        .collect()
}

/// The rules of the repository.
fn shipped() -> BTreeMap<String, Value> {
    by_name(&read_yaml("config/prometheus/rules.yaml").unwrap()["spec"])
}

#[tokio::test]
async fn without_values_the_chart_has_the_rules_of_the_repository() {
    assert_eq!(by_name(&rules(&[]).await), shipped());
}

#[tokio::test]
async fn sidewatch_down_fires_for_the_installation_of_the_release() {
    let rendered = rules(&["--namespace", "sidecars", "--set", "prometheusRule.cluster=east"]).await;
    check_rules(&rendered).unwrap();
    let series = |cluster: &str, namespace: &str, values: &str| {
        let series = format!("sidewatch_build_info{{cluster=\"{cluster}\", namespace=\"{namespace}\"}}");
        json!({"series": series, "values": values})
    };
    let alert = json!({
        "exp_labels": {"severity": "critical", "cluster": "east", "namespace": "sidecars"},
        "exp_annotations": {
            "summary": "Sidewatch in namespace sidecars is not running or not scraped",
            "description": "Prometheus has not scraped Sidewatch in namespace sidecars for 5 minutes. \
                Faults of sidecars are not reported.",
            "runbook_url": "https://sidewatch.dev/docs/runbooks/SidewatchDown.md",
        },
    });
    let test = json!({
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "30s",
        "tests": [{
            "interval": "30s",
            "input_series": [
                series("east", "sidecars", "1x20 stale"),
                series("west", "sidecars", "1x60"),
                series("east", NAMESPACE, "1x60"),
            ],
            "alert_rule_test": [
                {"eval_time": "10m", "alertname": "SidewatchDown", "exp_alerts": []},
                {"eval_time": "20m", "alertname": "SidewatchDown", "exp_alerts": [alert]},
            ],
        }],
    });
    test_rules(&rendered, &test).unwrap();
}

#[tokio::test]
async fn values_change_all_rules() {
    let values = format!("{CHART}/ci/prometheus-rule-values.yaml");
    let rendered = rules(&["--values", &values]).await;
    check_rules(&rendered).unwrap();
    let (rendered, mut shipped) = (by_name(&rendered), shipped());
    shipped.extend(by_name(
        &read_yaml("config/prometheus/common-cause.yaml").unwrap()["spec"],
    ));
    let names = |rules: &BTreeMap<String, Value>| rules.keys().cloned().collect::<BTreeSet<_>>();
    let disabled = names(&shipped)
        .difference(&names(&rendered))
        .cloned()
        .collect::<Vec<_>>();
    assert_eq!(disabled, ["SidewatchPolicyMatchesNothing"]);
    for (name, rule) in rendered {
        let original = &shipped[&name];
        assert_eq!(rule["labels"]["team"], "platform", "{name}");
        assert_eq!(
            rule["labels"]["severity"], original["labels"]["severity"],
            "{name}: its own labels stay"
        );
        let annotations = &rule["annotations"];
        assert_eq!(
            annotations["runbook_url"],
            format!("https://wiki.example.test/runbooks/{name}.md")
        );
        assert_eq!(
            annotations["dashboard"],
            "https://grafana.example.test/d/sidewatch?var-namespace={{ $labels.namespace }}",
            "{name}: a template of Prometheus"
        );
        assert_eq!(
            annotations["summary"], original["annotations"]["summary"],
            "{name}"
        );
    }
    let own = rules(&["--set", "prometheusRule.ruleLabels.severity=page"]).await;
    assert_eq!(by_name(&own)["SidewatchDown"]["labels"]["severity"], "page");
}

#[tokio::test]
async fn every_alert_can_be_disabled() {
    let shipped = shipped();
    let schema = read_yaml(format!("{CHART}/values.schema.json")).unwrap();
    let allowed = schema
        .pointer("/properties/prometheusRule/properties/disabled/items/enum")
        .and_then(Value::as_array)
        .unwrap();
    let allowed: BTreeSet<&str> = allowed.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(allowed, shipped.keys().map(String::as_str).collect());
    // A group without rules is omitted.
    let sidecars: Vec<_> = shipped
        .keys()
        .filter(|name| !name.starts_with("Sidewatch"))
        .cloned()
        .collect();
    let flag = format!("prometheusRule.disabled={{{}}}", sidecars.join(","));
    let spec = rules(&["--set", &flag]).await;
    let groups = spec["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["name"], "sidewatch-operator");
}

#[tokio::test]
async fn the_role_lets_prometheus_find_the_operator_and_nothing_else() {
    let plane = ControlPlane::start().await.unwrap();
    for namespace in [NAMESPACE, "monitoring"] {
        plane
            .kubectl_line(&format!("create namespace {namespace}"))
            .await
            .unwrap();
    }
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let yaml = helm
        .template(&["--set", "prometheusRole.create=true"])
        .await
        .unwrap();
    plane.apply(&yaml).await.unwrap();
    let client = plane.client().await.unwrap();
    let can = async |namespace, group, resource, verb| {
        let user = "system:serviceaccount:monitoring:prometheus-k8s";
        let permission = (group, resource, verb);
        is_permitted(&client, user, Some(namespace), permission)
            .await
            .unwrap()
    };
    for (group, resource) in [
        ("", "pods"),
        ("", "services"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
    ] {
        for verb in ["get", "list", "watch"] {
            assert!(can(NAMESPACE, group, resource, verb).await, "{verb} {resource}");
        }
        assert!(
            !can("default", group, resource, "list").await,
            "{resource} elsewhere"
        );
    }
    assert!(!can(NAMESPACE, "", "secrets", "list").await, "secrets");
    assert!(!can(NAMESPACE, "", "pods", "delete").await, "delete Pods");
}
