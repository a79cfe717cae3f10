//! What older versions of Kubernetes lack, and the tests that need it.

use std::ops::RangeInclusive;

use anyhow::Result;

use crate::tools::KubernetesVersion;

/// A feature of Kubernetes that is on by default only in some of the supported versions.
#[derive(Debug)]
pub struct Feature {
    /// Its name on the page.
    pub name: &'static str,
    /// The minor versions that lack it.
    lacking: &'static [RangeInclusive<u32>],
    /// What follows for a user of Sidewatch.
    pub consequence: &'static str,
    /// The tests that need it: test binary and name.
    pub tests: &'static [(&'static str, &'static str)],
}

impl Feature {
    /// Reports whether the feature is on by default in this version.
    pub fn is_in(&self, version: KubernetesVersion) -> bool {
        self.is_in_minor(version.minor())
    }

    /// Reports whether the feature is on by default in Kubernetes 1 with this minor version.
    pub fn is_in_minor(&self, minor: u32) -> bool {
        !self.lacking.iter().any(|range| range.contains(&minor))
    }

    /// Reports whether the feature is on by default in the version that `KUBERNETES_VERSION` selects, for tests that expect
    /// something else without it.
    pub fn is_selected(&self) -> Result<bool> {
        Ok(self.is_in(KubernetesVersion::selected()?))
    }

    /// The versions that lack it, such as `1.30, 1.31 and 1.33`.
    pub fn lacking(&self) -> String {
        let minors: Vec<String> = self
            .lacking
            .iter()
            .cloned()
            .flatten()
            .map(|n| format!("1.{n}"))
            .collect();
        match minors.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, .., last] if self.lacking.len() == 1 => format!("{first} to {last}"),
            [others @ .., last] => format!("{} and {last}", others.join(", ")),
        }
    }

    /// The feature that a test needs.
    pub fn of_test(binary: &str, test: &str) -> Option<&'static Self> {
        let mut features = FEATURES.into_iter();
        features.find(|feature| feature.tests.contains(&(binary, test)))
    }
}

/// Selectable fields of custom resources: the feature gate `CustomResourceFieldSelectors`.
pub const SELECTABLE_FIELDS: Feature = Feature {
    name: "selectable fields of custom resources",
    lacking: &[30..=30],
    consequence: "`kubectl get scpol --field-selector=spec.mode=Off` is refused; nothing else uses them. The API server removes \
                  them from the CRDs, so each apply of the CRDs changes them again, and GitOps tools report a difference",
    tests: &[(
        "cluster",
        "policy_specs::presentation::kubectl_selects_policies_by_mode",
    )],
};

/// Streaming lists: the feature gate `WatchList` of the API server.
pub const STREAMING_LISTS: Feature = Feature {
    name: "streaming lists",
    lacking: &[30..=31, 33..=33],
    consequence: "the operator lists Pods in pages",
    tests: &[],
};

/// `observedGeneration` in the status of Pods: the feature gate `PodObservedGenerationTracking`.
pub const OBSERVED_GENERATION: Feature = Feature {
    name: "`observedGeneration` in the status of Pods",
    lacking: &[30..=33],
    consequence: "the operator orders changes of a condition by the seconds of `lastTransitionTime`",
    tests: &[],
};

/// Restart policy and restart rules of containers: the feature gate `ContainerRestartRules`.
pub const RESTART_RULES: Feature = Feature {
    name: "restart policy and restart rules of main containers",
    lacking: &[30..=34],
    consequence: "the main containers of a Pod have its restart policy",
    tests: &[
        ("node", "always-in-containers"),
        ("node", "restart-policy-init"),
        ("node", "restart-rules-regular"),
    ],
};

/// The action `RestartAllContainers`: the feature gate `RestartAllContainersOnContainerExits`.
pub const RESTART_ALL: Feature = Feature {
    name: "`RestartAllContainers` in restart rules",
    lacking: &[30..=35],
    consequence: "no container restarts all containers of its Pod",
    tests: &[("node", "restart-all")],
};

/// Resize in place: the feature gate `InPlacePodVerticalScaling`.
const RESIZE: Feature = Feature {
    name: "resize of a Pod in place",
    lacking: &[30..=32],
    consequence: "no container restarts because of a resize",
    tests: &[("node", "resize-restart")],
};

/// The kubelet reports the sandbox as ready before it starts the first container, not after it.
const SANDBOX_REPORTED_AT_ONCE: Feature = Feature {
    name: "`PodReadyToStartContainers=True` before the first container starts",
    lacking: &[30..=35],
    consequence: "StartupBlocked does not find a postStart hook that hangs in the first container that starts: the Pod looks \
                  like one without a sandbox. FrequentRestarts can miss the restart of a first run that ended within a second, \
                  if the operator did not observe it running",
    tests: &[("node", "classic-poststart-hangs"), ("node", "probe-poststart")],
};

/// All features. The versions are those of the feature gates in `kube_features.go`, and of `OnPodSandboxReady` in `kubelet.go`.
pub const FEATURES: [&Feature; 7] = [
    &SELECTABLE_FIELDS,
    &STREAMING_LISTS,
    &OBSERVED_GENERATION,
    &RESTART_RULES,
    &RESTART_ALL,
    &RESIZE,
    &SANDBOX_REPORTED_AT_ONCE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lacking_versions_are_listed() {
        let is_in = |feature: &Feature, minor: u32| {
            feature.is_in(
                KubernetesVersion::ALL
                    .into_iter()
                    .find(|v| v.minor() == minor)
                    .unwrap(),
            )
        };
        assert_eq!(STREAMING_LISTS.lacking(), "1.30, 1.31 and 1.33");
        assert!(!is_in(&STREAMING_LISTS, 30) && is_in(&STREAMING_LISTS, 32));
        assert_eq!(SELECTABLE_FIELDS.lacking(), "1.30");
        assert_eq!(RESTART_RULES.lacking(), "1.30 to 1.34");
        assert!(!is_in(&RESTART_RULES, 34) && is_in(&RESTART_RULES, 36));
    }
}
