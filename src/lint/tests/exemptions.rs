//! Exemptions: what the API server refuses, and an end in the past.

use std::collections::BTreeSet;

use super::{super::Linter, now};

/// The findings in an exemption with this spec, as `code path`. `WEB` and `END` in the spec are replaced.
fn found(spec: &str) -> Vec<String> {
    let spec = spec.replace("WEB", WEB).replace("END", END);
    let text = format!(
        "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarExemption\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}\n"
    );
    findings(&text)
}

fn findings(text: &str) -> Vec<String> {
    let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new(), now()).unwrap();
    let report = linter.lint(text);
    assert!(report.errors.is_empty(), "{:?}\n{text}", report.errors);
    let findings = report.findings.iter();
    findings
        .map(|finding| format!("{} {}", finding.code, finding.path))
        .collect()
}

const WEB: &str = "workload: {kind: Deployment, name: web}";
const END: &str = "reason: vendor, until: 2026-03-02T12:00:00Z";

#[test]
fn a_valid_exemption_has_no_finding() {
    for spec in [
        "{WEB, END}",
        "{workload: {kind: CloneSet, name: web.v1}, END}",
        "{selector: {}, END}",
        "{selector: {matchLabels: {app: web}, matchExpressions: [{key: a, operator: Exists}]}, END}",
        "{WEB, END, containers: [a, istio-proxy], checks: [NotReady, OOMKilled]}",
        "{WEB, reason: 'x', until: \"2026-03-01T14:00:01+02:00\"}",
    ] {
        assert_eq!(found(spec), [""; 0], "{spec}");
    }
}

#[test]
fn what_the_api_server_refuses_is_a_finding_at_its_field() {
    let long = format!(
        "{{WEB, reason: {}, until: 2026-03-02T12:00:00Z}}",
        "r".repeat(1025)
    );
    let table = [
        ("null", ""),
        ("{END}", "spec"),
        ("{WEB, selector: {}, END}", "spec"),
        ("{WEB, END, container: [a]}", "spec.container"),
        (
            "{workload: {kind: deployment, name: web}, END}",
            "spec.workload.kind",
        ),
        (
            "{workload: {kind: Deployment, name: deployment/web}, END}",
            "spec.workload.name",
        ),
        ("{workload: {kind: Deployment}, END}", "spec.workload"),
        ("{WEB, END, containers: [a, 'istio-.*']}", "spec.containers[1]"),
        ("{WEB, END, containers: [a, a]}", "spec.containers[1]"),
        ("{WEB, END, checks: [SidecarMissing]}", "spec.checks[0]"),
        ("{WEB, END, checks: [Flapping, Flapping]}", "spec.checks[1]"),
        ("{WEB, END, checks: [Broken]}", "spec.checks[0]"),
        ("{WEB, until: 2026-03-02T12:00:00Z}", "spec"),
        ("{WEB, reason: ' ', until: 2026-03-02T12:00:00Z}", "spec.reason"),
        (&long, "spec.reason"),
        ("{WEB, reason: vendor}", "spec"),
        ("{WEB, reason: vendor, until: 2h}", "spec.until"),
        (
            "{WEB, reason: vendor, until: '2026-03-02T12:00:00'}",
            "spec.until",
        ),
        (
            "{selector: {matchExpressions: [{key: a, operator: In}]}, END}",
            "spec.selector.matchExpressions[0]",
        ),
        (
            "{selector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}, END}",
            "spec.selector.matchExpressions[0]",
        ),
        ("{selector: {labels: {app: web}}, END}", "spec.selector.labels"),
    ];
    for (spec, path) in table {
        assert_eq!(found(spec), [format!("SC030 {path}")], "{spec}");
    }
}

#[test]
fn an_exemption_that_has_ended_is_a_finding() {
    for until in [
        "2026-03-01T12:00:00Z",
        "2026-03-01T13:59:59+02:00",
        "2020-01-01T00:00:00Z",
    ] {
        let spec = format!("{{WEB, reason: vendor, until: '{until}'}}");
        assert_eq!(found(&spec), ["SC031 spec.until"], "{until}");
    }
}

#[test]
fn exemptions_are_found_in_lists_and_by_their_group() {
    let item = format!("{{kind: SidecarExemption, metadata: {{name: a}}, spec: {{{WEB}}}}}");
    assert_eq!(
        findings(&format!("kind: List\nitems:\n- {item}\n- {{kind: ConfigMap}}\n")).len(),
        2
    );
    let item = format!("{{metadata: {{name: a}}, spec: {{{WEB}}}}}");
    assert_eq!(
        findings(&format!("kind: SidecarExemptionList\nitems: [{item}]\n")).len(),
        2
    );
    let other = "apiVersion: example.com/v1\nkind: SidecarExemption\nspec: {}\n";
    assert_eq!(findings(other), [""; 0]);
}

#[test]
fn a_disabled_rule_finds_nothing() {
    let text = format!("kind: SidecarExemption\nspec: {{{WEB}, until: 2020-01-01T00:00:00Z}}\n");
    assert_eq!(findings(&text), ["SC030 spec", "SC031 spec.until"]);
    let mut linter = Linter::new(["SC030", "SC031"].into(), Vec::new(), Vec::new(), now()).unwrap();
    assert_eq!(linter.lint(&text).findings.len(), 0);
}
