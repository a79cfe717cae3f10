//! The versions of Kubernetes whose components can be built.

use std::env;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use super::go::module_version;

/// Variable that selects the version of the components of a test cluster, such as `1.30`.
const VARIABLE: &str = "KUBERNETES_VERSION";

/// A minor version of Kubernetes. Its patch version is in the go.mod of its family of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubernetesVersion {
    minor: u32,
}

impl KubernetesVersion {
    /// The version of all tests that do not select another one; its family is `e2e/tools/kubernetes`.
    pub const NEWEST: Self = Self { minor: 37 };
    /// All versions, the oldest first. The families of the older ones are `e2e/tools/kubernetes-<version>`.
    pub const ALL: [Self; 5] = [
        Self { minor: 30 },
        Self { minor: 32 },
        Self { minor: 34 },
        Self { minor: 36 },
        Self::NEWEST,
    ];

    /// The versions whose kubelet runs the scenarios: the oldest, the middle and the newest one.
    pub const WITH_NODE: [Self; 3] = [Self { minor: 30 }, Self { minor: 34 }, Self::NEWEST];

    /// The version that `KUBERNETES_VERSION` names, or the newest one.
    pub fn selected() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(version) if !version.is_empty() => version
                .parse()
                .with_context(|| format!("invalid value of {VARIABLE}")),
            _ => Ok(Self::NEWEST),
        }
    }

    /// The variable and the value that select this version.
    pub fn variable(self) -> (&'static str, String) {
        (VARIABLE, self.to_string())
    }

    /// The minor version, such as 30.
    pub fn minor(self) -> u32 {
        self.minor
    }

    /// The version with its patch, such as `v1.30.4`.
    pub fn patch(self) -> Result<String> {
        module_version(&self.family(), "k8s.io/kubernetes")
    }

    /// Directory of its Go module in `e2e/tools`.
    pub(super) fn family(self) -> String {
        if self == Self::NEWEST {
            "kubernetes".to_owned()
        } else {
            format!("kubernetes-{self}")
        }
    }

    /// The version of containerd of a node, such as `v2.4.2`.
    pub fn containerd_patch(self) -> Result<String> {
        let (family, module) = self.containerd();
        module_version(family, module)
    }

    /// The containerd of that time: its directory in `e2e/tools`, and its Go module. Versions whose kubelet runs no scenarios
    /// have the newest one.
    pub(super) fn containerd(self) -> (&'static str, &'static str) {
        match self.minor {
            30 => ("containerd-1.7", "github.com/containerd/containerd"),
            34 => ("containerd-2.1", "github.com/containerd/containerd/v2"),
            _ => ("containerd", "github.com/containerd/containerd/v2"),
        }
    }

    /// Version of Kubernetes, set as in its own build; without it, a server reports `v0.0.0`.
    pub(super) fn ldflags(self) -> Result<String> {
        let (minor, patch) = (self.minor, self.patch()?);
        Ok(format!(
            "-s -w -X k8s.io/component-base/version.gitVersion={patch} \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={minor} \
             -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion={patch}"
        ))
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl FromStr for KubernetesVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|version| version.to_string() == text);
        let Some(found) = found else {
            let known = Self::ALL.map(|version| version.to_string());
            bail!("{text} is none of {}", known.join(", "));
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_a_module_of_this_version() {
        for version in KubernetesVersion::ALL {
            let patch = version.patch().unwrap();
            assert!(patch.starts_with(&format!("v{version}.")), "{version}: {patch}");
            assert!(version.ldflags().unwrap().contains(&patch));
            version.containerd_patch().unwrap();
        }
    }

    #[test]
    fn a_version_is_parsed_as_it_is_printed() {
        for version in KubernetesVersion::ALL {
            assert_eq!(version.to_string().parse::<KubernetesVersion>().unwrap(), version);
        }
        let error = "1.29".parse::<KubernetesVersion>().unwrap_err().to_string();
        assert_eq!(error, "1.29 is none of 1.30, 1.32, 1.34, 1.36, 1.37");
    }
}
