//! Scenarios: what happens to real Pods, and what must be reported of it. Data, one file each.
//!
//! Input: the files of `e2e/scenarios` (its README tells their fields). Output: [`Scenario`]s. Must not: run them.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use sidewatch::domain::policy::Check;

use crate::operator::repository;

/// Names another directory of scenarios.
const DIRECTORY: &str = "SIDEWATCH_E2E_SCENARIOS";
/// What separates the scenario from its objects.
const DOCUMENT: &str = "\n---\n";

/// One story on a real node.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The name of the file, of the namespace it happens in, and of the Pod that it is about.
    pub name: String,
    /// What is told, and what must be reported.
    pub story: Spec,
    /// The objects, as YAML for `kubectl apply`.
    pub objects: String,
}

/// The first document of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// One sentence.
    pub about: String,
    /// What is wrong; nothing when absent.
    pub wrong: Option<Wrong>,
    /// Whether the namespace has the policy that most scenarios share.
    #[serde(default)]
    pub policy: Policy,
    /// Every violation that fires. No other may.
    #[serde(default)]
    pub expect: Vec<Expected>,
    /// What happens after the objects were applied.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Whether it comes out alike on every kind of node.
    #[serde(default = "yes")]
    pub portable: bool,
    /// It disturbs others: it runs when they have been judged, and no other runs meanwhile.
    #[serde(default)]
    pub alone: bool,
}

/// What a person who knows everything would say.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrong {
    /// The container that somebody has to repair.
    pub container: String,
    /// The rest of the sentence that begins with its name.
    pub what: String,
    /// What it is. What is wrong with anything but a sidecar is not Sidewatch's to report, unless it keeps one from starting.
    #[serde(default)]
    pub role: Role,
}

/// What a container is to the Pod.
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

/// Which policy the namespace has beside those among the objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Policy {
    /// The one in `policy.yaml`.
    #[default]
    Shared,
    /// None.
    None,
}

/// A violation that must fire, once, and what comes of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// The check.
    #[serde(deserialize_with = "check")]
    pub check: Check,
    /// The container that the Event names.
    pub container: String,
    /// How the Pod's name begins; the scenario's name when absent.
    pub pod: Option<String>,
    /// The policy's name; that of `policy.yaml` when absent.
    #[serde(default = "shared_policy")]
    pub policy: String,
    /// What the Event says, in parts: the consequence, above all.
    pub says: Vec<String>,
    /// How long after the last step it may come.
    #[serde(default = "soon", deserialize_with = "duration")]
    pub within: Duration,
    /// What comes of it.
    #[serde(default)]
    pub then: Then,
}

/// The end of a violation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Then {
    /// It fires to the end of the scenario.
    #[default]
    Stays,
    /// It resolves, with an Event.
    Recovers,
    /// It ends without an Event: with its Pod, or with its policy.
    Ends,
}

/// One thing that is done to the Pods, or around them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Step {
    /// Nothing, for so long.
    #[serde(deserialize_with = "duration")]
    Pause(Duration),
    /// kubectl with these arguments, in the scenario's namespace.
    Kubectl(Vec<String>),
    /// Evicts this Pod, as `kubectl drain` does.
    Evict(String),
    /// Waits until there is an Event of this reason from Sidewatch in the namespace.
    Await(String),
    /// Something that only a node of our own lets us do.
    Node(NodeAction),
    /// Kills the process that holds this Pod's namespaces, on a node of our own.
    LoseSandbox(String),
}

/// What is done to a node of our own, and to its control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "they say what they do")]
pub enum NodeAction {
    StopKubelet,
    StartKubelet,
    StopContainerd,
    StartContainerd,
    RestartApiServer,
    /// A second Node without a kubelet, whose Lease we renew: with one node only, Pods are never evicted from a lost one.
    AddOtherNode,
    RemoveOtherNode,
}

impl Scenario {
    /// All of them, by name.
    pub fn all() -> Result<Vec<Self>> {
        let directory =
            std::env::var_os(DIRECTORY).map_or_else(|| repository().join("e2e/scenarios"), Into::into);
        let read = || format!("read {}", directory.display());
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(read)? {
            let path = entry.with_context(read)?.path();
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.extension().is_some_and(|extension| extension == "yaml") && name != "policy" {
                let scenario = Self::read(&path, name);
                all.push(scenario.with_context(|| path.display().to_string())?);
            }
        }
        ensure!(!all.is_empty(), "no scenarios in {}", directory.display());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn read(path: &Path, name: String) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let (story, objects) = text
            .split_once(DOCUMENT)
            .context("a line `---` must stand between the scenario and its objects")?;
        Ok(Self {
            name,
            story: serde_saphyr::from_str(story)?,
            objects: objects.to_owned(),
        })
    }

    /// Whether any cluster will do.
    pub fn is_portable(&self) -> bool {
        let ours = |step: &Step| matches!(step, Step::Node(_) | Step::LoseSandbox(_));
        self.story.portable && !self.story.steps.iter().any(ours)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} under {}",
            self.check.as_str(),
            self.container,
            self.policy
        )
    }
}

fn shared_policy() -> String {
    "quick".to_owned()
}

fn yes() -> bool {
    true
}

fn soon() -> Duration {
    Duration::from_secs(90)
}

fn check<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Check, D::Error> {
    let name = String::deserialize(deserializer)?;
    Check::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no check {name}")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    seconds(&text).map_err(serde::de::Error::custom)
}

/// `90s` or `2m`.
fn seconds(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number
        .parse()
        .with_context(|| format!("{text}: no duration such as 90s or 2m"))?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_mins(number)),
        _ => bail!("{text}: no duration such as 90s or 2m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_can_be_read_and_says_what_its_events_say() {
        for scenario in Scenario::all().unwrap() {
            for expected in &scenario.story.expect {
                assert!(!expected.says.is_empty(), "{}: {expected}", scenario.name);
            }
        }
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(seconds("2m").unwrap(), Duration::from_mins(2));
        for wrong in ["", "s", "90", "1h", "-1s", "1.5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
