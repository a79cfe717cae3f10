//! The schema of exemptions with a real API server: accepted and rejected specs, status, and output of kubectl.

use std::collections::BTreeSet;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sidewatch::api::{
    CheckName, EXEMPTED_CHECKS, HiddenViolation, MAX_HIDDEN, MAX_SHOWN, SidecarExemption,
    SidecarExemptionSpec, SidecarExemptionStatus,
};
use sidewatch::lint::Linter;

use crate::policy_specs::{Kind, causes, condition, plane, try_create, words};

const EXEMPTION: Kind = (
    "SidecarExemption",
    "/apis/sidewatch.dev/v1alpha1/namespaces/default/sidecarexemptions",
);
const UNTIL: &str = "2030-01-02T03:04:05Z";

/// A valid spec with these fields. A field that is null is removed.
fn spec(changes: Value) -> Value {
    let mut spec = json!({
        "workload": {"kind": "Deployment", "name": "checkout"}, "reason": "the vendor fixes it", "until": UNTIL,
    });
    let fields = spec.as_object_mut().unwrap();
    let Value::Object(changes) = changes else {
        panic!("{changes}")
    };
    for (field, value) in changes {
        if value.is_null() {
            fields.remove(&field);
        } else {
            fields.insert(field, value);
        }
    }
    spec
}

#[rustfmt::skip]
fn accepted() -> Vec<(&'static str, Value)> {
    let names: Vec<String> = (0..64).map(|i| format!("c{i}")).collect();
    let labels: serde_json::Map<_, _> = (0..64).map(|i| (format!("k{i}"), json!("v".repeat(63)))).collect();
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
    ]});
    vec![
        ("a workload", json!({})),
        ("a Rollout", json!({"workload": {"kind": "Rollout", "name": "web.v1"}})),
        ("a selector", json!({"workload": null, "selector": selector})),
        ("all Pods", json!({"workload": null, "selector": {}})),
        ("the largest selector", json!({"workload": null, "selector": {"matchLabels": labels}})),
        ("containers", json!({"containers": ["istio-proxy", "a"]})),
        ("many containers", json!({"containers": names})),
        ("all checks by name", json!({"checks": EXEMPTED_CHECKS})),
        ("empty lists", json!({"checks": [], "containers": []})),
        ("a time zone", json!({"until": "2030-01-02T03:04:05+05:30"})),
        ("fractions of a second", json!({"until": "2030-01-02T03:04:05.123Z"})),
        ("the past", json!({"until": "2020-01-02T03:04:05Z"})),
        ("a long reason", json!({"reason": "ä".repeat(1024)})),
        ("a reason with lines", json!({"reason": "\none\ntwo"})),
        ("the longest name", json!({"workload": {"kind": "K".repeat(63), "name": "w".repeat(253)}})),
    ]
}

#[tokio::test]
async fn valid_exemptions_are_accepted_and_decoded() {
    let (_, client) = plane().await;
    for (why, changes) in accepted() {
        let spec = spec(changes);
        let created = try_create(&client, EXEMPTION, &json!({"spec": spec})).await;
        let created = created.unwrap_or_else(|status| panic!("{why}: {status:?}"));
        assert_eq!(created["spec"], spec, "{why}: there are no defaults");
        let decoded: SidecarExemptionSpec = serde_json::from_value(created["spec"].clone()).unwrap();
        let exemption = sidewatch::kubernetes::decode::exemption::exemption(&decoded);
        assert!(exemption.is_ok(), "{why}: {exemption:?}");
        assert_eq!(lint(&spec), BTreeSet::new(), "{why}");
    }
}

#[rustfmt::skip]
fn rejected() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    const ONE: &str = "an exemption has exactly one of selector and workload";
    const KIND: &str = "kind is the kind of a workload in singular, such as Deployment";
    const NAME: &str = "name has lower-case letters, digits, '-' and '.'";
    const CONTAINER: &str = "a container name has at most 63 lower-case letters, digits and '-'";
    const REASON: &str = "reason says why the violations are hidden, and is not empty";
    const CHECKS: &str = "supported values: \"NotReady\", \"MainReadySidecarNotReady\", \"FrequentRestarts\", \
        \"StartupBlocked\", \"JobHeldOpen\", \"OOMKilled\", \"Flapping\"";
    const TIME: &str = "must be of type date-time";
    let numbered: Vec<String> = (0..65).map(|i| format!("c{i}")).collect();
    let workload = |kind: &str, name: &str| json!({"workload": {"kind": kind, "name": name}});
    vec![
        ("neither", json!({"workload": null}), "spec", ONE),
        ("both", json!({"selector": {}}), "spec", ONE),
        ("no reason", json!({"reason": null}), "spec.reason", "Required value"),
        ("no until", json!({"until": null}), "spec.until", "Required value"),
        ("no kind", json!({"workload": {"name": "web"}}), "spec.workload.kind", "Required value"),
        ("no name", json!({"workload": {"kind": "Deployment"}}), "spec.workload.name", "Required value"),
        ("an empty reason", json!({"reason": ""}), "spec.reason", REASON),
        ("a blank reason", json!({"reason": " \t\n"}), "spec.reason", REASON),
        ("a long reason", json!({"reason": "a".repeat(1025)}), "spec.reason", "may not be"),
        ("an end in words", json!({"until": "tomorrow"}), "spec.until", TIME),
        ("a duration", json!({"until": "2h"}), "spec.until", TIME),
        ("a date", json!({"until": "2030-01-02"}), "spec.until", TIME),
        ("no time zone", json!({"until": "2030-01-02T03:04:05"}), "spec.until", TIME),
        ("a kind as kubectl takes it", workload("deployment", "web"), "spec.workload.kind", KIND),
        ("an empty kind", workload("", "web"), "spec.workload.kind", KIND),
        ("a long kind", workload(&"K".repeat(64), "web"), "spec.workload.kind", "may not be"),
        ("a name with its kind", workload("Deployment", "deployment/web"), "spec.workload.name", NAME),
        ("an empty name", workload("Deployment", ""), "spec.workload.name", NAME),
        ("a long name", workload("Deployment", &"w".repeat(254)), "spec.workload.name", "may not be"),
        ("a pattern", json!({"containers": ["istio-.*"]}), "spec.containers[0]", CONTAINER),
        ("a long container", json!({"containers": ["a".repeat(64)]}), "spec.containers[0]", "may not be"),
        ("a container twice", json!({"containers": ["a", "a"]}), "spec.containers[1]", "Duplicate value"),
        ("many containers", json!({"containers": numbered}), "spec.containers", "must have at most 64 items"),
        ("an unknown check", json!({"checks": ["Broken"]}), "spec.checks[0]", CHECKS),
        ("a check about workloads", json!({"checks": ["SidecarMissing"]}), "spec.checks[0]", CHECKS),
        ("a check about images", json!({"checks": ["VersionDrift"]}), "spec.checks[0]", CHECKS),
        ("a check twice", json!({"checks": ["NotReady", "NotReady"]}), "spec.checks[1]", "Duplicate value"),
        ("a label that is none", json!({"workload": null, "selector": {"matchLabels": {"my app": "web"}}}),
            "spec.selector.matchLabels", "is not a label key"),
        ("an operator without values", json!({"workload": null, "selector": {"matchExpressions": [
            {"key": "app", "operator": "In"},
        ]}}), "spec.selector.matchExpressions[0].values", "operators In and NotIn need at least one value"),
        ("a misspelt field", json!({"container": ["a"]}), "", "unknown field \"spec.container\""),
    ]
}

/// The rules of lint that find something in an exemption with this spec, without its end in the past.
fn lint(spec: &Value) -> BTreeSet<&'static str> {
    let long_ago = "2000-01-01T00:00:00Z".parse().unwrap();
    let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new(), long_ago).unwrap();
    let object = json!({"apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarExemption", "spec": spec});
    let report = linter.lint(&object.to_string());
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn invalid_exemptions_are_rejected_with_the_field() {
    let (_, client) = plane().await;
    let mut wrong = Vec::new();
    for (why, changes, field, says) in rejected() {
        let changed = spec(changes);
        let found = match try_create(&client, EXEMPTION, &json!({"spec": changed})).await {
            Ok(_) => Vec::new(),
            Err(status) => causes(&status),
        };
        let is_right = matches!(&*found, [(at, message)] if at == field && message.contains(says));
        if !is_right {
            wrong.push(format!("{why}: expected {field}: {says}, found {found:?}"));
        }
        // Lint does not examine the keys and values of labels.
        if !says.contains("label key") && lint(&changed) != BTreeSet::from(["SC030"]) {
            wrong.push(format!("{why}: lint finds {:?}", lint(&changed)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A status with the maximum lengths of the schema.
fn full_status() -> SidecarExemptionStatus {
    let hidden = HiddenViolation {
        pod: "p".repeat(253),
        container: "c".repeat(63),
        check: CheckName::OomKilled,
        policy_kind: "ClusterSidecarPolicy".to_owned(),
        policy: "n".repeat(253),
        since: serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap(),
    };
    SidecarExemptionStatus {
        observed_generation: Some(1),
        conditions: serde_json::from_value(json!([condition("Active", "True", "")])).unwrap(),
        workload: "ä".repeat(MAX_SHOWN),
        checks: "ä".repeat(MAX_SHOWN),
        hides: 11,
        hidden: vec![hidden; MAX_HIDDEN],
    }
}

#[tokio::test]
async fn the_status_is_written_and_read_back_as_it_is() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("exemption-status").await.unwrap();
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    let spec = serde_json::from_value(spec(json!({}))).unwrap();
    let exemption = SidecarExemption::new("vendor", spec);
    api.create(&PostParams::default(), &exemption).await.unwrap();
    let apply = async |status: &SidecarExemptionStatus| {
        let patch =
            json!({ "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarExemption", "status": status });
        let params = PatchParams::apply("sidewatch").force();
        api.patch_status("vendor", &params, &Patch::Apply(patch))
            .await
            .unwrap()
    };
    let written = apply(&full_status()).await;
    assert_eq!(written.status, Some(full_status()));
    assert_eq!(
        written.metadata.generation,
        Some(1),
        "a status is no change of the spec"
    );
    let again = apply(&full_status()).await;
    assert_eq!(
        again.resource_version(),
        written.resource_version(),
        "the same is no write"
    );
    let quiet = SidecarExemptionStatus {
        hides: 0,
        hidden: Vec::new(),
        ..full_status()
    };
    assert_eq!(apply(&quiet).await.status, Some(quiet), "removed fields are gone");
}

#[tokio::test]
async fn kubectl_shows_what_an_exemption_hides() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("exemptions").await.unwrap();
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    let exemption = spec(json!({"checks": ["NotReady", "OOMKilled"]}));
    let exemption = SidecarExemption::new("vendor", serde_json::from_value(exemption).unwrap());
    let (workload, checks) = (exemption.spec.shown_workload(), exemption.spec.shown_checks());
    api.create(&PostParams::default(), &exemption).await.unwrap();
    let get = async |args: &str| {
        let line = format!("get --namespace {namespace} {args}");
        plane.kubectl_line(&line).await.unwrap()
    };
    let header = ["NAME", "WORKLOAD", "CHECKS", "UNTIL", "ACTIVE", "HIDES", "AGE"];
    let printed = get("scex").await;
    assert_eq!(words(&printed)[0], header, "{printed}");
    assert_eq!(
        words(&printed)[1][..2],
        ["vendor", UNTIL],
        "unknown values are empty: {printed}"
    );

    let status = json!({ "status": {
        "conditions": [condition("Active", "True", "")], "workload": workload, "checks": checks, "hides": 3,
    }});
    api.patch_status("vendor", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let printed = get("sidecarexemptions").await;
    let expected = [
        "vendor",
        "Deployment/checkout",
        "NotReady,OOMKilled",
        UNTIL,
        "True",
        "3",
    ];
    assert_eq!(words(&printed)[1][..6], expected, "{printed}");
    let printed = get("scex --output=wide").await;
    assert_eq!(words(&printed)[0][7..], ["REASON"], "{printed}");
    assert!(printed.trim_end().ends_with("the vendor fixes it"), "{printed}");
    let category = get("sidecars --output=name").await;
    assert!(
        category.contains("sidecarexemption.sidewatch.dev/vendor"),
        "{category}"
    );
    let explained = plane.kubectl_line("explain scex.spec.until").await.unwrap();
    let explained = words(&explained).concat().join(" ");
    assert!(
        explained.contains("The time at which the exemption ends"),
        "{explained}"
    );
}
