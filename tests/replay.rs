//! Replays recordings of a real kubelet through decoding and judgement on a virtual clock: every recording, under each
//! policy that names it, must give exactly the violations expected and no other. A test per recording.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test without the standard harness, which clippy does not see as one"
)]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use sidewatch::{
    api::SidecarPolicy,
    domain::{
        effects::{Change, Effects},
        index::Index,
        policy::PolicyKind,
        violation::Subject,
    },
    kubernetes::decode::policy::status::ObservedStatus,
    kubernetes::decode::{intern::Interner, pod::observe, policy::policy_update},
    kubernetes::inputs::{Input, ObservedPolicy},
    kubernetes::watch::WatchEvent,
    operator::reconciler::step,
};
use testkit::recordings::{self, Recording, Violation};

fn main() {
    let arguments = Arguments::from_args();
    let mut by_name: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
    for recording in recordings::all() {
        by_name.entry(recording.name.clone()).or_default().push(recording);
    }
    let trials = by_name.into_iter().map(|(name, recordings)| {
        Trial::test(name, move || {
            let of = |recording: &Recording| {
                let found = replay(recording);
                let differences = recording.differences(&found).into_iter();
                differences
                    .map(|difference| format!("policy {}: {difference}", recording.policy))
                    .collect::<Vec<_>>()
            };
            let differences: Vec<String> = recordings.iter().flat_map(of).collect();
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(differences.join("\n")))
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// What fires in a recording under one policy, up to its end.
fn replay(recording: &Recording) -> Vec<Violation> {
    let (start, lines) = recording.lines();
    let at = |t: f64| start + SignedDuration::from_secs_f64(t);
    let (mut index, mut interner) = (Index::new([None], false), Interner::default());
    let mut found = Found {
        start,
        violations: Vec::new(),
    };
    for tell in [
        WatchEvent::Restarted {
            last_synced: Timestamp::MIN,
        },
        WatchEvent::Complete,
    ] {
        found.take(step(&mut index, Input::Pod(None, tell), start));
    }
    let namespace = lines[0].object["metadata"]["namespace"]
        .as_str()
        .expect("a namespace")
        .to_owned();
    let policy = WatchEvent::Applied(Box::new(policy(&namespace, &recording.spec)));
    found.take(step(
        &mut index,
        Input::Policy(PolicyKind::SidecarPolicy, None, policy),
        start,
    ));
    for line in lines {
        let now = at(line.t);
        let pod = serde_json::from_value(line.object).expect("a recorded Pod decodes");
        let observation = observe(pod, &mut interner).expect("a recorded Pod has a name and a UID");
        let tell = match line.kind.as_str() {
            "ADDED" | "MODIFIED" => WatchEvent::Applied(observation),
            "DELETED" => WatchEvent::Deleted(observation),
            other => panic!("a watch has no event {other}"),
        };
        found.pass_time(&mut index, now);
        found.take(step(&mut index, Input::Pod(None, tell), now));
    }
    found.pass_time(&mut index, at(recording.end));
    found.violations
}

/// The violations that fired so far.
struct Found {
    start: Timestamp,
    violations: Vec<Violation>,
}

impl Found {
    /// Lets every deadline act at its own time.
    fn pass_time(&mut self, index: &mut Index, until: Timestamp) {
        while let Some(next) = index.next_deadline().filter(|next| *next <= until) {
            let effects = index.tick(next);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Effects) {
        let t = |at: Timestamp| at.duration_since(self.start).as_secs_f64();
        for transition in effects.transitions {
            let violation = &transition.violation;
            let Subject::Container(subject) = &violation.subject;
            let is_same = |v: &&mut Violation| {
                v.resolved.is_none()
                    && (&*v.pod, &*v.container, &*v.check)
                        == (&*subject.pod, &*subject.container, violation.check.as_str())
            };
            match transition.to {
                Change::Pending | Change::Cleared => {}
                Change::Firing => self.violations.push(Violation {
                    namespace: subject.namespace.to_string(),
                    pod: subject.pod.to_string(),
                    container: subject.container.to_string(),
                    check: violation.check.as_str().to_owned(),
                    onset: t(violation.onset),
                    firing: t(transition.at),
                    resolved: None,
                    optional: false,
                }),
                Change::Resolved | Change::Ended => {
                    if let Some(violation) = self.violations.iter_mut().rev().find(is_same) {
                        violation.resolved = Some(t(transition.at));
                    }
                }
            }
        }
    }
}

/// The policy of this spec in a namespace, as the watch of policies would bring it.
fn policy(namespace: &str, spec: &serde_json::Value) -> ObservedPolicy {
    let object: DeserializeGuard<SidecarPolicy> = serde_json::from_value(json!({
        "apiVersion": "sidewatch.dev/v1alpha1",
        "kind": "SidecarPolicy",
        "metadata": {"name": "replay", "namespace": namespace, "uid": "replay", "generation": 1},
        "spec": spec,
    }))
    .expect("a policy");
    let update = policy_update(&object).expect("it has a name and a UID");
    ObservedPolicy {
        update,
        status: ObservedStatus {
            uid: "replay".into(),
            version: 0,
            status: None,
        },
    }
}
