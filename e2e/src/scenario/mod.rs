//! Scenarios: what happens to real Pods, and what Sidewatch must report. Each is a file in `e2e/scenarios`, whose README
//! describes the fields. [`runner`] runs them; [`recorder`] records what the kubelet reports in them.

pub mod recorder;
pub mod runner;
mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sidewatch::domain::policy::Check;

pub use steps::{EndExemption, NodeAction, Step};

use crate::project::repository;

/// Environment variable with another directory of scenarios.
const DIRECTORY: &str = "SIDEWATCH_E2E_SCENARIOS";
/// Names of the files with policies.
const POLICIES: [&str; 3] = ["policy", "patient-policy", "slow-policy"];
/// Factor of the time limits on a node whose processors are emulated.
const SLOWER: u32 = 5;
/// Scenarios whose outcome can depend on the version of cgroups: OOM kills, restarts, probes, termination, resizing.
const CGROUP2: [&str; 19] = [
    "classic-crashloop",
    "healthy-classic",
    "healthy-native",
    "job-native-137",
    "job-native-143",
    "liveness-killed",
    "native-crashloop",
    "native-startup-killed",
    "oom-child",
    "oom-child-survives",
    "oom-sidecar",
    "probe-liveness",
    "probe-readiness",
    "probe-startup",
    "recovers-oom",
    "recovers-restarts",
    "resize-restart",
    "terminating-classic",
    "terminating-native",
];
/// Separates the spec from the objects.
const DOCUMENT: &str = "\n---\n";

/// A test on a real node.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Name of the file, of the namespace, and of the Pod.
    pub name: String,
    /// The first document of the file.
    pub spec: Spec,
    /// The objects, as YAML for `kubectl apply`.
    pub objects: String,
}

/// Steps and expected violations of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Description in one sentence.
    pub about: String,
    /// The fault; absent if there is none.
    pub wrong: Option<Wrong>,
    /// Whether the namespace has the shared policy.
    #[serde(default)]
    pub policy: Policy,
    /// Every violation that fires. No other may.
    #[serde(default)]
    pub expect: Vec<Expected>,
    /// Exemptions that hide a firing violation, and whose time is over at the end. Each has one Event for both.
    #[serde(default)]
    pub exemptions: Vec<String>,
    /// Other metrics of the operator at the end.
    #[serde(default)]
    pub metrics: Vec<ExpectedMetric>,
    /// Steps after the objects are applied.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Whether the result is the same on every kind of node.
    #[serde(default = "yes")]
    pub portable: bool,
    /// Whether it affects other scenarios: it runs after them, one at a time.
    #[serde(default)]
    pub alone: bool,
}

/// The fault of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrong {
    /// The faulty container.
    pub container: String,
    /// Rest of the sentence that begins with its name.
    pub what: String,
    /// Its role. By default Sidewatch reports faults of sidecars, and of init containers that block them.
    #[serde(default)]
    pub role: Role,
    /// Why alerts do not report the fault in the comparison.
    #[serde(default)]
    pub missed: Missed,
}

/// Reasons for missed faults, for the comparison.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Missed {
    /// Why the common alerts miss it. See [`Scenario::missed_by_common_alerts`] for the default.
    pub common_alerts: Option<String>,
    /// Why Sidewatch misses it with its default policy.
    pub sidewatch: Option<String>,
}

/// Role of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Role {
    /// A sidecar.
    #[default]
    Sidecar,
    /// A main container.
    Main,
    /// A plain init container.
    Init,
}

/// Policy of the namespace, in addition to policies among the objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Policy {
    /// The one in `policy.yaml`.
    #[default]
    Shared,
    /// The one in `patient-policy.yaml`, for containers that are unready for a short time: how long depends on the node.
    Patient,
    /// The one in `slow-policy.yaml`, for a node whose processors are emulated.
    #[serde(skip)]
    Slow,
    /// None.
    None,
}

/// A violation that must fire once.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// The check.
    #[serde(deserialize_with = "check")]
    pub check: Check,
    /// The `reason` of its Event.
    pub reason: String,
    /// The container of the Event.
    #[serde(default)]
    pub container: String,
    /// Prefix of the name of the Pod; the name of the scenario by default.
    pub pod: Option<String>,
    /// The workload, if the violation is about it and not about a container of a Pod.
    pub workload: Option<Workload>,
    /// The repository, if the violation is about an image in the Pods of the policy.
    pub image: Option<String>,
    /// Name of the policy; that of the shared policy by default.
    #[serde(default = "shared_policy")]
    pub policy: String,
    /// Parts of the note of the Event that only an API server can show. The texts are tested in `src/domain/tests/notes.rs`.
    #[serde(default)]
    pub note: Vec<String>,
    /// Time limit after the last step.
    #[serde(default = "default_within", deserialize_with = "duration")]
    pub within: Duration,
    /// How it ends.
    #[serde(default)]
    pub then: Then,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// A metric that has a value at the end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedMetric {
    /// The name.
    pub name: String,
    /// The labels that select its series.
    pub labels: BTreeMap<String, String>,
    /// The sum of the selected series.
    pub value: f64,
}

/// The end of a violation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Then {
    /// It fires to the end of the scenario.
    #[default]
    Stays,
    /// It resolves with an Event.
    Recovers,
    /// It ends without an Event, with its Pod or policy.
    Ends,
}

impl Scenario {
    /// The name of its test. A prefix marks the scenarios that affect others, so that a filter can select them.
    pub fn test_name(&self) -> String {
        let prefix = if self.spec.alone { "alone::" } else { "" };
        format!("{prefix}{}", self.name)
    }

    /// All scenarios, sorted by name.
    pub fn all() -> Result<Vec<Self>> {
        let directory = std::env::var_os(DIRECTORY).map_or_else(shipped, Into::into);
        Self::in_directory(&directory)
    }

    /// The scenarios for cgroup v2 with these names, or without names those whose outcome can depend on the version of
    /// cgroups. Files in `cgroup2` replace those with the same name.
    pub fn on_cgroup2(names: &[String]) -> Result<Vec<Self>> {
        let mut all = Self::in_directory(&shipped().join("cgroup2"))?;
        let others = Self::in_directory(&shipped())?;
        let others = others.into_iter().filter(|scenario| {
            let is_replaced = all.iter().any(|other| other.name == scenario.name);
            scenario.is_portable() && !is_replaced
        });
        all.extend(others.collect::<Vec<_>>());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for scenario in &mut all {
            if scenario.spec.policy != Policy::None {
                scenario.spec.policy = Policy::Slow;
            }
            for expected in &mut scenario.spec.expect {
                expected.within *= SLOWER;
            }
        }
        let default: Vec<String> = CGROUP2.map(str::to_owned).into();
        Self::select(all, if names.is_empty() { &default } else { names })
    }

    fn in_directory(directory: &Path) -> Result<Vec<Self>> {
        let read = || format!("read {}", directory.display());
        let mut all = Vec::new();
        for entry in std::fs::read_dir(directory).with_context(read)? {
            let path = entry.with_context(read)?.path();
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.extension().is_some_and(|extension| extension == "yaml")
                && !POLICIES.contains(&name.as_str())
            {
                let scenario = Self::read(&path, name);
                all.push(scenario.with_context(|| path.display().to_string())?);
            }
        }
        ensure!(!all.is_empty(), "no scenarios in {}", directory.display());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The scenarios with these names.
    pub fn named(names: &[String]) -> Result<Vec<Self>> {
        Self::select(Self::all()?, names)
    }

    fn select(mut all: Vec<Self>, names: &[String]) -> Result<Vec<Self>> {
        for name in names {
            let is_known = all.iter().any(|scenario| scenario.name == *name);
            ensure!(is_known, "no scenario {name}");
        }
        all.retain(|scenario| names.contains(&scenario.name));
        Ok(all)
    }

    fn read(path: &Path, name: String) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let (spec, objects) = text
            .split_once(DOCUMENT)
            .context("no line `---` between the spec and the objects")?;
        Ok(Self {
            name,
            spec: serde_saphyr::from_str(spec)?,
            objects: objects.to_owned(),
        })
    }

    /// Why the common alerts miss the fault. They read only `kube_pod_container_*`, which has no init containers.
    pub fn missed_by_common_alerts(&self) -> Option<&str> {
        let wrong = self.spec.wrong.as_ref()?;
        let explained = wrong.missed.common_alerts.as_deref();
        explained.or_else(|| {
            self.is_init_container(&wrong.container)
                .then_some("the alerts do not read init containers")
        })
    }

    /// Whether one of the objects has an init container with this name, such as a native sidecar.
    fn is_init_container(&self, container: &str) -> bool {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&self.objects).unwrap_or_default();
        objects.iter().any(|object| {
            ["/spec", "/spec/template/spec"].into_iter().any(|pod| {
                let init = object.pointer(&format!("{pod}/initContainers"));
                let mut init = init.and_then(Value::as_array).into_iter().flatten();
                init.any(|init| init.get("name").is_some_and(|name| name == container))
            })
        })
    }

    /// Whether it can run on any cluster.
    pub fn is_portable(&self) -> bool {
        let needs_test_node = |step: &Step| matches!(step, Step::Node(_) | Step::LoseSandbox(_));
        self.spec.portable && !self.spec.steps.iter().any(needs_test_node)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.image.as_ref().unwrap_or(&self.container);
        write!(f, "{} of {subject} under {}", self.check.as_str(), self.policy)
    }
}

/// The directory of the scenarios.
fn shipped() -> PathBuf {
    repository().join("e2e/scenarios")
}

fn shared_policy() -> String {
    "quick".to_owned()
}

fn yes() -> bool {
    true
}

fn default_within() -> Duration {
    Duration::from_secs(90)
}

fn check<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Check, D::Error> {
    let name = String::deserialize(deserializer)?;
    Check::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no check {name}")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = sidewatch::api::Duration::new(text).parse();
    duration.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_valid() {
        let cgroup2 = Scenario::on_cgroup2(&[]).unwrap();
        assert_eq!(cgroup2.len(), CGROUP2.len());
        assert!(Scenario::all().unwrap().len() > 50);
    }
}
