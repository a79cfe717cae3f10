//! The rules of the presets, by the tables in the documentation of each project.

use std::collections::BTreeMap;

use super::bare;
use crate::domain::{
    expected::{Expectation, Expected, Preset, Rule},
    observation::NamespaceMetadata,
    testing::{Pod, minutes},
};

/// Checks which values of an annotation of the Pod require the sidecar.
fn check_values(preset: Preset, namespace: &NamespaceMetadata, key: &str, yes: &[&str], no: &[&str]) {
    for value in yes.iter().chain(no) {
        let found = requires(preset, &annotated(&[(key, value)]), namespace);
        assert_eq!(found, yes.contains(value), "{preset:?} {key}: {value:?}");
    }
}

fn annotated(annotations: &[(&str, &str)]) -> Pod {
    bare("web-1", 0).annotations(annotations)
}

/// A namespace with this annotation.
fn annotated_namespace(key: &str, value: &str) -> NamespaceMetadata {
    NamespaceMetadata {
        annotations: [(key, value)].into_iter().collect(),
        ..NamespaceMetadata::default()
    }
}

fn expectation(preset: Preset, pod: &Pod, namespace: &NamespaceMetadata) -> Expectation {
    let expected = [Expected {
        name: "proxy".into(),
        rule: Rule::Preset(preset),
        hold_for: minutes(5),
    }];
    Expectation::of(&expected, &pod.0, Some(namespace))
}

fn requires(preset: Preset, pod: &Pod, namespace: &NamespaceMetadata) -> bool {
    let found = expectation(preset, pod, namespace);
    assert_eq!(found.required, found.lacking, "the Pod has no sidecar");
    found.required == 1
}

/// Checks a table. A row says whether the sidecar is required, and lists labels and annotations of the Pod and of its
/// namespace.
fn check(preset: Preset, table: &str) {
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (answer, metadata) = row.split_once(':').unwrap_or((row, ""));
        let expected = answer == "yes";
        assert!(expected || answer == "no", "{row}");
        let mut by_place: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for item in metadata.split_terminator(';') {
            let (place, pair) = item.trim().rsplit_once(' ').unwrap();
            by_place
                .entry(place)
                .or_default()
                .push(pair.split_once('=').unwrap());
        }
        let mut of = |place| by_place.remove(place).unwrap_or_default();
        let namespace = NamespaceMetadata {
            labels: of("namespace label").into_iter().collect(),
            annotations: of("namespace annotation").into_iter().collect(),
        };
        let pod = annotated(&of("annotation")).labels(&of("label"));
        assert!(by_place.is_empty(), "{row}");
        assert_eq!(requires(preset, &pod, &namespace), expected, "{preset:?} {row}");
        let name = preset.container();
        for sidecar in [pod.clone().regular(name), pod.native(name)] {
            let found = expectation(preset, &sidecar, &namespace);
            let found = (found.required == 1, found.lacking);
            assert_eq!(found, (expected, 0), "{preset:?} with the sidecar: {row}");
        }
    }
}

#[test]
fn istio() {
    check(
        Preset::Istio,
        "
        no
        yes: namespace label istio-injection=enabled
        no: namespace label istio-injection=disabled; label sidecar.istio.io/inject=true
        no: namespace label istio-injection=enabled; label sidecar.istio.io/inject=false
        no: namespace label istio-injection=enabled; annotation sidecar.istio.io/inject=false
        yes: namespace label istio-injection=enabled; label sidecar.istio.io/inject=true; annotation sidecar.istio.io/inject=false
        yes: namespace label istio.io/rev=1-27
        no: namespace label istio.io/rev=1-27; namespace label istio-injection=disabled
        yes: label sidecar.istio.io/inject=true
        yes: label istio.io/rev=1-27
        no: label istio.io/rev=1-27; label sidecar.istio.io/inject=false
        no: annotation sidecar.istio.io/inject=true
        ",
    );
    let injected: NamespaceMetadata = [("istio-injection", "enabled")].into_iter().collect();
    let host = bare("web-1", 0).with(|pod| pod.host_network = true);
    assert!(!requires(Preset::Istio, &host, &injected), "host network");
    for (namespace, expected) in [
        ("kube-node-lease", false),
        ("kube-public", false),
        ("kube-system", false),
        ("local-path-storage", false),
        ("istio-system", true),
    ] {
        let system = bare("web-1", 0).in_namespace(namespace);
        assert_eq!(
            requires(Preset::Istio, &system, &injected),
            expected,
            "{namespace}"
        );
    }
}

#[test]
fn values_of_istio() {
    const INJECT: &str = "sidecar.istio.io/inject";
    let injected: NamespaceMetadata = [("istio-injection", "enabled")].into_iter().collect();
    let (yes, no) = (
        ["true", "True", "y", "YES", "on", ""],
        ["1", "t", "false", "no", "off"],
    );
    check_values(Preset::Istio, &injected, INJECT, &yes, &no);
    for value in yes.into_iter().chain(no) {
        let pod = annotated(&[(INJECT, "false")]).labels(&[(INJECT, value)]);
        assert_eq!(
            requires(Preset::Istio, &pod, &injected),
            yes.contains(&value),
            "{value:?}"
        );
    }
    // Without a label of the namespace the webhook is called for one text only.
    let none = NamespaceMetadata::default();
    for value in yes.into_iter().chain(no) {
        let pod = bare("web-1", 0).labels(&[(INJECT, value)]);
        assert_eq!(requires(Preset::Istio, &pod, &none), value == "true", "{value:?}");
        let pod = bare("web-1", 0).labels(&[(INJECT, value), ("istio.io/rev", "canary")]);
        assert_eq!(
            requires(Preset::Istio, &pod, &none),
            yes.contains(&value),
            "revision {value:?}"
        );
    }
}

#[test]
fn linkerd() {
    check(
        Preset::Linkerd,
        "
        no
        yes: namespace annotation linkerd.io/inject=enabled
        yes: namespace annotation linkerd.io/inject=ingress
        yes: namespace annotation linkerd.io/inject=enabled; annotation linkerd.io/inject=enabled
        no: namespace annotation linkerd.io/inject=enabled; annotation linkerd.io/inject=disabled
        yes: namespace annotation linkerd.io/inject=disabled; annotation linkerd.io/inject=enabled
        no: namespace annotation linkerd.io/inject=disabled
        yes: annotation linkerd.io/inject=enabled
        no: annotation linkerd.io/inject=yes
        no: namespace label config.linkerd.io/admission-webhooks=disabled; namespace annotation linkerd.io/inject=enabled
        no: namespace label linkerd.io/inject=enabled
        ",
    );
    let host = annotated(&[("linkerd.io/inject", "enabled")]).with(|pod| pod.host_network = true);
    let none = NamespaceMetadata::default();
    assert!(!requires(Preset::Linkerd, &host, &none), "host network");
}

#[test]
fn pods_that_linkerd_excludes() {
    const INJECT: &str = "linkerd.io/inject";
    let none = NamespaceMetadata::default();
    let (yes, no) = (["enabled", "ingress"], ["disabled", "Enabled", "true", ""]);
    check_values(Preset::Linkerd, &none, INJECT, &yes, &no);
    let invalid = annotated_namespace(INJECT, "true");
    check_values(Preset::Linkerd, &invalid, INJECT, &[], &["enabled"]);

    let pod = annotated(&[(INJECT, "enabled")]);
    assert!(requires(Preset::Linkerd, &pod, &none));
    for namespace in ["cert-manager", "kube-system"] {
        let pod = pod.clone().in_namespace(namespace);
        assert!(!requires(Preset::Linkerd, &pod, &none), "{namespace}");
    }
    for label in ["linkerd.io/cni-resource", "linkerd.io/control-plane-component"] {
        let pod = pod.clone().labels(&[(label, "destination")]);
        assert!(!requires(Preset::Linkerd, &pod, &none), "{label}");
    }
    for istio in [
        pod.clone().regular("istio-proxy"),
        pod.clone().native("istio-proxy"),
        pod.clone().init("istio-init"),
    ] {
        assert!(!requires(Preset::Linkerd, &istio, &none), "beside Istio");
    }
}

#[test]
fn vault() {
    const INJECT: &str = "vault.hashicorp.com/agent-inject";
    check(
        Preset::Vault,
        "
        no
        yes: annotation vault.hashicorp.com/agent-inject=true
        no: annotation vault.hashicorp.com/agent-inject=false
        no: annotation vault.hashicorp.com/agent-inject=true; annotation vault.hashicorp.com/agent-pre-populate-only=true
        yes: annotation vault.hashicorp.com/agent-inject=true; annotation vault.hashicorp.com/agent-pre-populate-only=false
        no: namespace annotation vault.hashicorp.com/agent-inject=true
        ",
    );
    let none = NamespaceMetadata::default();
    let yes = ["1", "t", "T", "true", "TRUE", "True"];
    let no = ["tRUE", "yes", "on", "0", "F", ""];
    check_values(Preset::Vault, &none, INJECT, &yes, &no);
    for value in yes.into_iter().chain(no) {
        let pod = annotated(&[
            (INJECT, "true"),
            ("vault.hashicorp.com/agent-pre-populate-only", value),
        ]);
        let expected = !yes.contains(&value);
        assert_eq!(requires(Preset::Vault, &pod, &none), expected, "{value:?}");
    }
    for namespace in ["kube-public", "kube-system"] {
        let pod = annotated(&[(INJECT, "true")]).in_namespace(namespace);
        assert!(!requires(Preset::Vault, &pod, &none), "{namespace}");
    }
}

#[test]
fn dapr() {
    check(
        Preset::Dapr,
        "
        no
        yes: annotation dapr.io/enabled=true
        yes: annotation dapr.io/enabled=yes
        no: annotation dapr.io/enabled=false
        no: namespace annotation dapr.io/enabled=true
        ",
    );
    let yes = ["y", "Yes", "TRUE", "t", "on", "1", " true "];
    let no = ["enabled", "0", "n", ""];
    let none = NamespaceMetadata::default();
    check_values(Preset::Dapr, &none, "dapr.io/enabled", &yes, &no);
}

#[test]
fn opentelemetry() {
    const INJECT: &str = "sidecar.opentelemetry.io/inject";
    check(
        Preset::OpenTelemetry,
        "
        no
        yes: annotation sidecar.opentelemetry.io/inject=true
        yes: annotation sidecar.opentelemetry.io/inject=my-collector
        no: annotation sidecar.opentelemetry.io/inject=False
        yes: namespace annotation sidecar.opentelemetry.io/inject=true
        no: namespace annotation sidecar.opentelemetry.io/inject=true; annotation sidecar.opentelemetry.io/inject=false
        yes: namespace annotation sidecar.opentelemetry.io/inject=false; annotation sidecar.opentelemetry.io/inject=true
        no: namespace annotation sidecar.opentelemetry.io/inject=false
        ",
    );
    let preset = Preset::OpenTelemetry;
    let yes = ["true", "TRUE", "collector", "observability/collector", "no"];
    for namespace in ["true", "false", "collector", ""] {
        let namespace = annotated_namespace(INJECT, namespace);
        check_values(preset, &namespace, INJECT, &yes, &["false", "FALSE"]);
    }
    check_values(
        preset,
        &annotated_namespace(INJECT, "collector"),
        INJECT,
        &[""],
        &[],
    );
    check_values(preset, &annotated_namespace(INJECT, "False"), INJECT, &[], &[""]);
    // Auto-instrumentation injects an init container, not a sidecar.
    let java = "instrumentation.opentelemetry.io/inject-java";
    check_values(preset, &NamespaceMetadata::default(), java, &[], &["true"]);
}
