//! The rules by which projects inject their sidecars. `docs/expected.md` lists them with their sources.

use crate::domain::observation::{NamespaceMetadata, Observation, Shape};

/// A project that injects a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Istio: `istio-proxy`.
    Istio,
    /// Linkerd: `linkerd-proxy`.
    Linkerd,
    /// The agent injector of Vault: `vault-agent`.
    Vault,
    /// Dapr: `daprd`.
    Dapr,
    /// The OpenTelemetry operator: `otc-container`.
    OpenTelemetry,
}

const ISTIO_INJECT: &str = "sidecar.istio.io/inject";
const ISTIO_REVISION: &str = "istio.io/rev";
const LINKERD_INJECT: &str = "linkerd.io/inject";
const VAULT_INJECT: &str = "vault.hashicorp.com/agent-inject";
const VAULT_INIT_ONLY: &str = "vault.hashicorp.com/agent-pre-populate-only";
const DAPR_ENABLED: &str = "dapr.io/enabled";
const OTEL_INJECT: &str = "sidecar.opentelemetry.io/inject";

/// The annotations that are decoded, of Pods and of namespaces. All others are dropped, because most are large or different
/// for each Pod. In the order of their bytes.
pub const ANNOTATIONS: [&str; 6] = [
    DAPR_ENABLED,
    LINKERD_INJECT,
    ISTIO_INJECT,
    OTEL_INJECT,
    VAULT_INJECT,
    VAULT_INIT_ONLY,
];

/// The namespaces in which Istio never injects.
const ISTIO_IGNORED: [&str; 4] = [
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "local-path-storage",
];
/// The namespaces that the webhook of Linkerd excludes.
const LINKERD_IGNORED: [&str; 2] = ["cert-manager", "kube-system"];
/// The labels of Pods that the webhook of Linkerd excludes.
const LINKERD_COMPONENT: [&str; 2] = ["linkerd.io/cni-resource", "linkerd.io/control-plane-component"];
/// The namespaces into which the injector of Vault refuses to inject.
const VAULT_IGNORED: [&str; 2] = ["kube-public", "kube-system"];

impl Preset {
    /// The name of the sidecar's container.
    pub const fn container(self) -> &'static str {
        match self {
            Self::Istio => "istio-proxy",
            Self::Linkerd => "linkerd-proxy",
            Self::Vault => "vault-agent",
            Self::Dapr => "daprd",
            Self::OpenTelemetry => "otc-container",
        }
    }

    pub(super) const fn reads_namespace(self) -> bool {
        matches!(self, Self::Istio | Self::Linkerd | Self::OpenTelemetry)
    }

    /// Whether the project injects its sidecar into a Pod like this one.
    pub(super) fn is_required(self, pod: &Observation, namespace: Option<&NamespaceMetadata>) -> bool {
        match self {
            Self::Istio => istio(pod, namespace),
            Self::Linkerd => linkerd(pod, namespace),
            Self::Vault => {
                let annotation = |key| pod.annotations.get(key).is_some_and(is_go_true);
                let is_refused = VAULT_IGNORED.contains(&&*pod.namespace);
                annotation(VAULT_INJECT) && !annotation(VAULT_INIT_ONLY) && !is_refused
            }
            Self::Dapr => pod.annotations.get(DAPR_ENABLED).is_some_and(|value| {
                let value = value.trim().to_ascii_lowercase();
                ["1", "on", "t", "true", "y", "yes"].contains(&&*value)
            }),
            Self::OpenTelemetry => {
                let own = pod.annotations.get(OTEL_INJECT).filter(|value| !value.is_empty());
                let of_namespace = namespace.and_then(|namespace| namespace.annotations.get(OTEL_INJECT));
                let value = own.or(of_namespace).unwrap_or_default();
                !value.is_empty() && !value.eq_ignore_ascii_case("false")
            }
        }
    }
}

/// The labels decide whether the webhook is called. The label or annotation of the Pod decides what the webhook does.
fn istio(pod: &Observation, namespace: Option<&NamespaceMetadata>) -> bool {
    if pod.host_network || ISTIO_IGNORED.contains(&&*pod.namespace) {
        return false;
    }
    let label = pod.labels.get(ISTIO_INJECT);
    let of_namespace = |key| namespace.and_then(|namespace| namespace.labels.get(key));
    let is_revised = || of_namespace(ISTIO_REVISION).is_some() || pod.labels.get(ISTIO_REVISION).is_some();
    let is_called = of_namespace("istio-injection").map_or_else(
        || is_revised() || label == Some("true"),
        |value| value == "enabled",
    );
    let wish = label
        .or_else(|| pod.annotations.get(ISTIO_INJECT))
        .unwrap_or_default();
    let wish = wish.to_ascii_lowercase();
    is_called && ["", "on", "true", "y", "yes"].contains(&&*wish)
}

fn linkerd(pod: &Observation, namespace: Option<&NamespaceMetadata>) -> bool {
    let webhooks =
        namespace.and_then(|namespace| namespace.labels.get("config.linkerd.io/admission-webhooks"));
    let is_excluded = LINKERD_IGNORED.contains(&&*pod.namespace)
        || webhooks == Some("disabled")
        || LINKERD_COMPONENT.iter().any(|key| pod.labels.get(key).is_some());
    if pod.host_network || is_excluded || has_istio(&pod.shape) {
        return false;
    }
    let own = pod.annotations.get(LINKERD_INJECT).unwrap_or_default();
    let of_namespace = namespace.and_then(|namespace| namespace.annotations.get(LINKERD_INJECT));
    let of_namespace = of_namespace.unwrap_or_default();
    let is_valid = |value| ["", "disabled", "enabled", "ingress"].contains(&value);
    let is_on = |value| ["enabled", "ingress"].contains(&value);
    is_valid(own) && is_valid(of_namespace) && is_on(if own.is_empty() { of_namespace } else { own })
}

/// Linkerd injects nothing beside the containers of Istio.
fn has_istio(shape: &Shape) -> bool {
    let mut names = shape.containers.iter().map(|container| &*container.name);
    names.any(|name| ["istio-init", "istio-proxy"].contains(&name))
}

/// The texts that `strconv.ParseBool` of Go reads as true.
fn is_go_true(value: &str) -> bool {
    ["1", "T", "TRUE", "True", "t", "true"].contains(&value)
}
