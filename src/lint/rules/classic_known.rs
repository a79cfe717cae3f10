//! SC021: a classic sidecar of a product that supports native sidecars.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC021",
    title: "a classic sidecar that can be a native sidecar",
    severity: Severity::Info,
    check,
};

/// Titles of the catalogue, with the way to a native sidecar.
const PRODUCTS: [(&str, &str); 4] = [
    (
        "Istio proxy",
        "set ENABLE_NATIVE_SIDECARS=true in istiod (the default since Istio 1.27), or the annotation sidecar.istio.io/nativeSidecar: \"true\" on the Pod",
    ),
    (
        "Linkerd proxy",
        "set the annotation config.linkerd.io/proxy-enable-native-sidecar: \"true\" on the Pod or its Namespace (config.beta.linkerd.io in older versions)",
    ),
    (
        "Vault agent",
        "move it to spec.initContainers with restartPolicy: Always",
    ),
    (
        "Cloud SQL proxy",
        "move it to spec.initContainers with restartPolicy: Always, and add a startupProbe",
    ),
];

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    if pod.is_job() {
        // SC004 reports it there.
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar())
        .filter_map(|sidecar| {
            let title = sidecar.product()?.title;
            let (_, help) = PRODUCTS.iter().find(|(product, _)| *product == title)?;
            let draft = Draft::container(
                pod,
                sidecar,
                &sidecar.title(),
                format!(
                    "{} is a classic sidecar: init containers cannot use it, and it can stop before the app",
                    sidecar.name
                ),
                help,
            );
            Some(draft.suggest_native())
        })
        .collect()
}
