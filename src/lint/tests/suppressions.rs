//! Suppression of findings.

use std::collections::BTreeSet;

use super::{Linter, lint, now};
use crate::{
    domain::pattern::Pattern,
    lint::{suppression::Ignore, yaml::Location},
};

/// A Deployment whose sidecar has findings of SC005, SC010 and SC021.
fn deployment(annotations: &str, template_annotations: &str) -> String {
    format!(
        "{{kind: Deployment, metadata: {{name: web, annotations: {{{annotations}}}}}, spec: {{template: {{metadata: {{annotations: {{{template_annotations}}}}}, spec: {{containers: [{{name: app}}, {{name: istio-proxy, image: 'own/proxy:1'}}]}}}}}}}}"
    )
}

fn codes(text: &str) -> Vec<&'static str> {
    lint(text).iter().map(|finding| finding.code).collect()
}

/// Returns the annotation with these entries.
fn ignore(entries: &str) -> String {
    format!("sidewatch.dev/ignore: '{entries}'")
}

#[test]
fn an_annotation_suppresses_findings() {
    assert_eq!(codes(&deployment("", "")), ["SC005", "SC010", "SC021"]);
    let table: [(&str, &[&str]); 8] = [
        ("SC010: sized by VPA", &["SC005", "SC021"]),
        ("SC010: sized by VPA; SC021: old nodes", &["SC005"]),
        ("SC010/istio-proxy: sized by VPA", &["SC005", "SC021"]),
        ("SC010/app: sized by VPA", &["SC901", "SC005", "SC010", "SC021"]),
        ("SC010", &["SC900", "SC005", "SC010", "SC021"]),
        ("SC010: ", &["SC900", "SC005", "SC010", "SC021"]),
        ("SC999: unknown", &["SC900", "SC005", "SC010", "SC021"]),
        ("SC003: not needed", &["SC901", "SC005", "SC010", "SC021"]),
    ];
    for (entries, expected) in table {
        let annotation = ignore(entries);
        let places = [deployment(&annotation, ""), deployment("", &annotation)];
        assert_eq!(places.map(|text| codes(&text)), [expected; 2], "{entries}");
    }
}

#[test]
fn an_unused_annotation_for_a_disabled_rule_is_no_finding() {
    let text = deployment(&ignore("SC003: not needed"), "");
    let disabled = BTreeSet::from(["SC003", "SC005"]);
    let mut linter = Linter::new(disabled, Vec::new(), Vec::new(), now()).unwrap();
    let codes: Vec<_> = linter.lint(&text).findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["SC010", "SC021"]);
}

#[test]
fn an_entry_of_the_configuration_suppresses_findings() {
    let ignore = |name: &str| Ignore {
        code: "SC010",
        kind: Some("Deployment".to_owned()),
        namespace: None,
        name: Some(Pattern::parse(name).unwrap()),
        container: Some(Pattern::parse("istio-.*").unwrap()),
        is_used: false,
        location: Location::default(),
    };
    let ignores = vec![ignore("we."), ignore("other")];
    let mut linter = Linter::new(BTreeSet::new(), Vec::new(), ignores, now()).unwrap();
    let report = linter.lint(&deployment("", ""));
    let codes: Vec<_> = report.findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["SC005", "SC021"]);
    let unused: Vec<_> = linter.unused_ignores().map(|i| i.unused().code).collect();
    assert_eq!(unused, ["SC901"], "the entry for another name");
}

#[test]
fn a_suppression_for_one_container_leaves_the_others_in_the_finding_of_the_pod() {
    let pod = |ignored: &str| {
        let annotations = ignore(ignored);
        let containers = ["app", "istio-proxy", "fluent-bit", "vault-agent"];
        let list = containers
            .map(|name| format!("{{name: {name}, image: 'own/image:1'}}"))
            .join(", ");
        format!("{{kind: Pod, metadata: {{annotations: {{{annotations}}}}}, spec: {{containers: [{list}]}}}}")
    };
    let message = |ignored: &str| -> Vec<String> {
        let findings = lint(&pod(ignored))
            .into_iter()
            .filter(|finding| finding.code == "SC010");
        findings.map(|finding| finding.message).collect()
    };
    let lacks = "no request for cpu, request for memory and limit for memory";
    assert_eq!(
        message("SC010/istio-proxy: injected"),
        [format!("sidecars fluent-bit and vault-agent have {lacks}")]
    );
    assert_eq!(
        message("SC010/istio-proxy: injected; SC010/fluent-bit: x"),
        [format!("sidecar vault-agent has {lacks}")]
    );
    assert_eq!(message("SC010: sized by VPA"), [""; 0]);
}
