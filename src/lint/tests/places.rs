//! The places of findings, and the bounds.

use super::{Linter, lint, now};
use crate::lint::MAX_FINDINGS;

const TEXT: &str = "\
# Source: chart/templates/a.yaml
apiVersion: v1
kind: ConfigMap
data:
  a: b
---
# Source: chart/templates/b.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  template:
    spec:
      containers:
      - name: app
      - image: istio/proxyv2:latest
        name: istio-proxy
";

#[test]
fn a_finding_has_its_place() {
    let findings = lint(TEXT);
    let image = findings.iter().find(|finding| finding.code == "SC011").unwrap();
    assert_eq!((image.location.line, image.location.column), (18, 16));
    assert_eq!(&TEXT[image.location.range()], "istio/proxyv2:latest");
    assert_eq!(image.path, "spec.template.spec.containers[1].image");
    assert_eq!(image.object.to_string(), "Deployment/web in shop");
    assert_eq!(image.container.as_deref(), Some("istio-proxy"));
}

#[test]
fn findings_are_in_the_order_of_the_text() {
    let lines: Vec<_> = lint(TEXT).iter().map(|f| (f.location.line, f.code)).collect();
    assert_eq!(
        lines,
        [(18, "SC011"), (19, "SC005"), (19, "SC010"), (19, "SC021")]
    );
}

#[test]
fn the_number_of_findings_is_bounded() {
    let pod =
        "---\n{kind: Pod, spec: {containers: [{name: app}, {name: istio-proxy, image: 'own/proxy:1'}]}}\n";
    let mut linter = Linter::new([].into(), Vec::new(), Vec::new(), now()).unwrap();
    let report = linter.lint(&pod.repeat(MAX_FINDINGS));
    assert!(report.is_truncated);
    assert_eq!(report.findings.len(), MAX_FINDINGS);
}

#[test]
fn a_document_with_a_value_of_a_wrong_type_is_an_error() {
    let text = format!("{{kind: Pod, spec: {{containers: [{{name: 1}}]}}}}\n---\n{TEXT}");
    let mut linter = Linter::new([].into(), Vec::new(), Vec::new(), now()).unwrap();
    let report = linter.lint(&text);
    let error = report.errors.first().unwrap();
    assert_eq!((error.location.line, error.location.column), (1, 40));
    assert!(
        error
            .message
            .starts_with("spec.containers[0].name is the number 1"),
        "{error}"
    );
    assert!(!report.findings.is_empty(), "the other documents are examined");
}

#[test]
fn unusual_values_are_no_problem() {
    for spec in [
        "containers: [{name: 1, image: [], ports: x, resources: 3}, {name: istio-proxy, command: {a: b}}]",
        "containers: [null, 3, {name: istio-proxy, livenessProbe: x, readinessProbe: {httpGet: 4}}]",
        "containers: [{}, {name: istio-proxy, env: [3], lifecycle: {preStop: {sleep: {seconds: x}}}}]",
        "initContainers: {}, containers: [{name: a, ports: [{containerPort: 99999}, {containerPort: 80, hostPort: 3}]}]",
    ] {
        // A kind without a schema.
        lint(&super::object("Rollout", spec));
    }
}
