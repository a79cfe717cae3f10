//! The rules of the presets, by the tables in the documentation of each project.

use super::bare;
use crate::domain::{
    expected::{Expectation, Expected, Preset, Rule},
    observation::NamespaceMetadata,
    testing::{Pod, minutes},
};

type Pairs = &'static [(&'static str, &'static str)];

/// The labels and annotations of a namespace, those of a Pod, and whether the sidecar is required.
type Row = (Pairs, Pairs, Pairs, Pairs, bool);

fn requires(preset: Preset, pod: &Pod, namespace: &NamespaceMetadata) -> bool {
    let expected = [Expected {
        name: "proxy".into(),
        rule: Rule::Preset(preset),
        hold_for: minutes(5),
    }];
    let found = Expectation::of(&expected, &pod.0, Some(namespace));
    assert_eq!(found.required, found.lacking, "the Pod has no sidecar");
    found.required == 1
}

fn check(preset: Preset, table: &[Row]) {
    for (labels, annotations, pod_labels, pod_annotations, expected) in table {
        let namespace = NamespaceMetadata {
            labels: labels.iter().copied().collect(),
            annotations: annotations.iter().copied().collect(),
        };
        let pod = bare("web-1", 0)
            .labels(pod_labels)
            .with(|pod| pod.annotations = std::sync::Arc::new(pod_annotations.iter().copied().collect()));
        let row = (labels, annotations, pod_labels, pod_annotations);
        assert_eq!(
            requires(preset, &pod, &namespace),
            *expected,
            "{preset:?} {row:?}"
        );
        let sidecar = pod.regular(preset.container());
        let entry = Expected {
            name: "proxy".into(),
            rule: Rule::Preset(preset),
            hold_for: minutes(5),
        };
        let found = Expectation::of(&[entry], &sidecar.0, Some(&namespace));
        assert_eq!(
            (found.required == 1, found.lacking),
            (*expected, 0),
            "with the sidecar: {row:?}"
        );
    }
}

#[test]
fn istio() {
    const INJECT: &str = "sidecar.istio.io/inject";
    check(
        Preset::Istio,
        &[
            (&[], &[], &[], &[], false),
            (&[("istio-injection", "enabled")], &[], &[], &[], true),
            (
                &[("istio-injection", "disabled")],
                &[],
                &[(INJECT, "true")],
                &[],
                false,
            ),
            (
                &[("istio-injection", "enabled")],
                &[],
                &[(INJECT, "false")],
                &[],
                false,
            ),
            (
                &[("istio-injection", "enabled")],
                &[],
                &[],
                &[(INJECT, "false")],
                false,
            ),
            (
                &[("istio-injection", "enabled")],
                &[],
                &[(INJECT, "true")],
                &[(INJECT, "false")],
                true,
            ),
            (&[("istio.io/rev", "1-27")], &[], &[], &[], true),
            (
                &[("istio.io/rev", "1-27"), ("istio-injection", "disabled")],
                &[],
                &[],
                &[],
                false,
            ),
            (&[], &[], &[(INJECT, "true")], &[], true),
            (&[], &[], &[("istio.io/rev", "1-27")], &[], true),
            (
                &[],
                &[],
                &[("istio.io/rev", "1-27"), (INJECT, "false")],
                &[],
                false,
            ),
            (&[], &[], &[], &[(INJECT, "true")], false),
        ],
    );
    let injected: NamespaceMetadata = [("istio-injection", "enabled")].into_iter().collect();
    let host = bare("web-1", 0).with(|pod| pod.host_network = true);
    assert!(!requires(Preset::Istio, &host, &injected), "host network");
    let system = bare("web-1", 0).in_namespace("kube-system");
    assert!(!requires(Preset::Istio, &system, &injected), "kube-system");
}

#[test]
fn linkerd() {
    const INJECT: &str = "linkerd.io/inject";
    check(
        Preset::Linkerd,
        &[
            (&[], &[], &[], &[], false),
            (&[], &[(INJECT, "enabled")], &[], &[], true),
            (&[], &[(INJECT, "ingress")], &[], &[], true),
            (&[], &[(INJECT, "enabled")], &[], &[(INJECT, "enabled")], true),
            (&[], &[(INJECT, "enabled")], &[], &[(INJECT, "disabled")], false),
            (&[], &[(INJECT, "disabled")], &[], &[(INJECT, "enabled")], true),
            (&[], &[(INJECT, "disabled")], &[], &[], false),
            (&[], &[], &[], &[(INJECT, "enabled")], true),
            (&[], &[], &[], &[(INJECT, "yes")], false),
            (
                &[("config.linkerd.io/admission-webhooks", "disabled")],
                &[(INJECT, "enabled")],
                &[],
                &[],
                false,
            ),
            (&[(INJECT, "enabled")], &[], &[], &[], false),
        ],
    );
    let host = bare("web-1", 0).with(|pod| {
        pod.host_network = true;
        pod.annotations = std::sync::Arc::new([(INJECT, "enabled")].into_iter().collect());
    });
    assert!(
        !requires(Preset::Linkerd, &host, &NamespaceMetadata::default()),
        "host network"
    );
}

#[test]
fn vault() {
    const INJECT: &str = "vault.hashicorp.com/agent-inject";
    const INIT_ONLY: &str = "vault.hashicorp.com/agent-pre-populate-only";
    check(
        Preset::Vault,
        &[
            (&[], &[], &[], &[], false),
            (&[], &[], &[], &[(INJECT, "true")], true),
            (&[], &[], &[], &[(INJECT, "false")], false),
            (&[], &[], &[], &[(INJECT, "true"), (INIT_ONLY, "true")], false),
            (&[], &[], &[], &[(INJECT, "true"), (INIT_ONLY, "false")], true),
            (&[], &[(INJECT, "true")], &[], &[], false),
        ],
    );
}

#[test]
fn dapr() {
    const ENABLED: &str = "dapr.io/enabled";
    check(
        Preset::Dapr,
        &[
            (&[], &[], &[], &[], false),
            (&[], &[], &[], &[(ENABLED, "true")], true),
            (&[], &[], &[], &[(ENABLED, "yes")], true),
            (&[], &[], &[], &[(ENABLED, "false")], false),
            (&[], &[(ENABLED, "true")], &[], &[], false),
        ],
    );
}

#[test]
fn opentelemetry() {
    const INJECT: &str = "sidecar.opentelemetry.io/inject";
    check(
        Preset::OpenTelemetry,
        &[
            (&[], &[], &[], &[], false),
            (&[], &[], &[], &[(INJECT, "true")], true),
            (&[], &[], &[], &[(INJECT, "my-collector")], true),
            (&[], &[], &[], &[(INJECT, "False")], false),
            (&[], &[(INJECT, "true")], &[], &[], true),
            (&[], &[(INJECT, "true")], &[], &[(INJECT, "false")], false),
            (&[], &[(INJECT, "false")], &[], &[(INJECT, "true")], true),
            (&[], &[(INJECT, "false")], &[], &[], false),
        ],
    );
}
