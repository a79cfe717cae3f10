//! The rules of the presets, by the tables in the documentation of each project.

use super::bare;
use crate::domain::{
    expected::{Expectation, Expected, Preset, Rule},
    observation::NamespaceMetadata,
    testing::{Pod, minutes},
};

/// Which values of an annotation of the Pod require the sidecar, in a namespace with these labels and annotations.
fn check_values(preset: Preset, namespace: &NamespaceMetadata, key: &str, values: &[(&str, bool)]) {
    for (value, expected) in values {
        let pod = annotated(&[(key, value)]);
        let found = requires(preset, &pod, namespace);
        assert_eq!(found, *expected, "{preset:?} {key}: {value:?}");
    }
}

fn annotated(annotations: &[(&str, &str)]) -> Pod {
    bare("web-1", 0).with(|pod| pod.annotations = std::sync::Arc::new(annotations.iter().copied().collect()))
}

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
        let name = preset.container();
        for sidecar in [pod.clone().regular(name), pod.native(name)] {
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
    for ignored in [
        "kube-node-lease",
        "kube-public",
        "kube-system",
        "local-path-storage",
    ] {
        let system = bare("web-1", 0).in_namespace(ignored);
        assert!(!requires(Preset::Istio, &system, &injected), "{ignored}");
    }
    let control_plane = bare("web-1", 0).in_namespace("istio-system");
    assert!(requires(Preset::Istio, &control_plane, &injected));
}

#[test]
fn values_of_istio() {
    const INJECT: &str = "sidecar.istio.io/inject";
    let injected: NamespaceMetadata = [("istio-injection", "enabled")].into_iter().collect();
    let values = [
        ("true", true),
        ("True", true),
        ("y", true),
        ("YES", true),
        ("on", true),
        ("", true),
        ("1", false),
        ("t", false),
        ("false", false),
        ("no", false),
        ("off", false),
    ];
    check_values(Preset::Istio, &injected, INJECT, &values);
    for (value, expected) in values {
        let pod = annotated(&[(INJECT, "false")]).labels(&[(INJECT, value)]);
        assert_eq!(requires(Preset::Istio, &pod, &injected), expected, "{value:?}");
    }
    // Without a label of the namespace the webhook is called for one text only.
    let none = NamespaceMetadata::default();
    for (value, _) in values {
        let pod = bare("web-1", 0).labels(&[(INJECT, value)]);
        assert_eq!(requires(Preset::Istio, &pod, &none), value == "true", "{value:?}");
        let pod = bare("web-1", 0).labels(&[(INJECT, value), ("istio.io/rev", "canary")]);
        let expected = !["1", "t", "false", "no", "off"].contains(&value);
        assert_eq!(
            requires(Preset::Istio, &pod, &none),
            expected,
            "revision {value:?}"
        );
    }
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
fn what_linkerd_excludes() {
    const INJECT: &str = "linkerd.io/inject";
    let none = NamespaceMetadata::default();
    check_values(
        Preset::Linkerd,
        &none,
        INJECT,
        &[
            ("enabled", true),
            ("ingress", true),
            ("disabled", false),
            ("Enabled", false),
            ("true", false),
            ("", false),
        ],
    );
    let invalid = NamespaceMetadata {
        annotations: [(INJECT, "true")].into_iter().collect(),
        ..NamespaceMetadata::default()
    };
    check_values(Preset::Linkerd, &invalid, INJECT, &[("enabled", false)]);

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
    let none = NamespaceMetadata::default();
    let values = [
        ("1", true),
        ("t", true),
        ("T", true),
        ("true", true),
        ("TRUE", true),
        ("True", true),
        ("tRUE", false),
        ("yes", false),
        ("on", false),
        ("0", false),
        ("F", false),
        ("", false),
    ];
    check_values(Preset::Vault, &none, INJECT, &values);
    for (value, is_true) in values {
        let pod = annotated(&[(INJECT, "true"), (INIT_ONLY, value)]);
        assert_eq!(requires(Preset::Vault, &pod, &none), !is_true, "{value:?}");
    }
    for namespace in ["kube-public", "kube-system"] {
        let pod = annotated(&[(INJECT, "true")]).in_namespace(namespace);
        assert!(!requires(Preset::Vault, &pod, &none), "{namespace}");
    }
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
    check_values(
        Preset::Dapr,
        &NamespaceMetadata::default(),
        ENABLED,
        &[
            ("y", true),
            ("Yes", true),
            ("TRUE", true),
            ("t", true),
            ("on", true),
            ("1", true),
            (" true ", true),
            ("enabled", false),
            ("0", false),
            ("n", false),
            ("", false),
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
    let of_namespace = |value: &str| NamespaceMetadata {
        annotations: [(INJECT, value)].into_iter().collect(),
        ..NamespaceMetadata::default()
    };
    let values = [
        ("true", true),
        ("TRUE", true),
        ("collector", true),
        ("observability/collector", true),
        ("no", true),
        ("false", false),
        ("FALSE", false),
    ];
    for namespace in ["true", "false", "collector", ""] {
        check_values(Preset::OpenTelemetry, &of_namespace(namespace), INJECT, &values);
    }
    check_values(
        Preset::OpenTelemetry,
        &of_namespace("collector"),
        INJECT,
        &[("", true)],
    );
    check_values(
        Preset::OpenTelemetry,
        &of_namespace("False"),
        INJECT,
        &[("", false)],
    );
    // Auto-instrumentation injects an init container, no sidecar.
    check_values(
        Preset::OpenTelemetry,
        &NamespaceMetadata::default(),
        "instrumentation.opentelemetry.io/inject-java",
        &[("true", false)],
    );
}
