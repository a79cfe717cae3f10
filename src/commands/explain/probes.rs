//! The consequences of each probe and hook of a container.
//!
//! `docs/probes.md` has the same facts. Each names the scenarios in `e2e/scenarios` that show it, or else the function of the
//! kubelet. A test checks that the scenarios exist.

use serde::Serialize;

use crate::domain::observation::{
    Container,
    ContainerKind::{self, Init, Native, Regular},
    RestartPolicy::{self, Always, Never, OnFailure},
    Shape,
};

/// A failure and its consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Consequence {
    /// The probe or the hook, and how it fails.
    pub(super) cause: &'static str,
    /// The effect on the container, on the other containers and on the Pod.
    pub(super) effect: &'static str,
    /// The scenarios that show it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) scenarios: &'static [&'static str],
    /// The function of the kubelet that does it, if no scenario shows it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) source: &'static str,
}

/// A container, and what decides about the consequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) container: &'a Container,
    pub(super) pod: &'a Shape,
    /// A policy makes the container a sidecar.
    pub(super) is_sidecar: bool,
    /// The workload of the Pod is a Job or a CronJob.
    pub(super) is_job: bool,
}

impl Setting<'_> {
    fn is(&self, kind: ContainerKind) -> bool {
        self.container.kind == kind
    }

    /// Whether Services select the Pod. Pods of programs that end, such as Jobs, serve no requests.
    fn serves(&self) -> bool {
        self.pod.restart_policy == Always
    }

    fn has_rules(&self) -> bool {
        !self.container.restart_rules.is_empty()
    }

    /// Whether the container has no rules for exit codes, and this restart policy.
    fn follows(&self, policy: RestartPolicy) -> bool {
        !self.has_rules() && self.policy() == policy
    }

    /// Whether the container has rules for exit codes, and this restart policy for the other codes.
    fn has_rules_and(&self, policy: RestartPolicy) -> bool {
        self.has_rules() && self.policy() == policy
    }

    /// Whether the container restarts after a failure, apart from its rules for exit codes.
    fn restarts(&self) -> bool {
        self.policy() != Never
    }

    fn policy(&self) -> RestartPolicy {
        self.container.restart_policy.unwrap_or(self.pod.restart_policy)
    }
}

/// One fact, for containers of some kinds.
struct Fact {
    applies: fn(&Setting<'_>) -> bool,
    consequence: Consequence,
}

const fn fact(
    applies: fn(&Setting<'_>) -> bool,
    cause: &'static str,
    effect: &'static str,
    scenarios: &'static [&'static str],
) -> Fact {
    let source = "";
    Fact {
        applies,
        consequence: Consequence {
            cause,
            effect,
            scenarios,
            source,
        },
    }
}

impl Fact {
    const fn source(mut self, source: &'static str) -> Self {
        self.consequence.source = source;
        self
    }
}

const KILLED_AND_RESTARTED: &str =
    "the kubelet kills and restarts it, with an increasing back-off; the other containers keep running";
const KILLED: &str =
    "the kubelet kills it and does not restart it (restartPolicy Never); the other containers keep running";
const KILLED_BY_RULES: &str =
    "the kubelet kills it; its restartPolicyRules decide by the exit code what restarts";
/// The kubelet decides about the restart before it kills the container. The exit code counts only at the next decision, if the
/// back-off prevented the restart.
const KILLED_ON_FAILURE: &str = "the kubelet kills and restarts it; once the back-off delays a restart, \
                                 it restarts only after an error (restartPolicy OnFailure); \
                                 the other containers keep running";
const KILLED_BEFORE_RULES: &str = "the kubelet kills and restarts it; its restartPolicyRules decide by the \
                                   exit code only once the back-off delays a restart";
const HOOK_FAILED_ON_FAILURE: &str = "the kubelet kills it and restarts it only after an error, with an \
                                      increasing back-off (restartPolicy OnFailure); \
                                      the other containers keep running";
const COMPUTE_POD_ACTIONS: &str = "kuberuntime_manager.go: computePodActions";
const START_CONTAINER: &str = "kuberuntime_container.go: startContainer";

const FACTS: &[Fact] = &[
    fact(
        |s| s.is(Native) && s.container.probes.startup,
        "its startup probe fails",
        "the containers after it do not start; after failureThreshold failures the kubelet kills and restarts it",
        &["probe-startup", "native-startup-killed"],
    ),
    fact(
        |s| s.is(Native) && s.container.has_post_start,
        "its postStart hook hangs",
        "the containers after it do not start",
        &["probe-poststart"],
    ),
    fact(
        |s| s.is(Native) && s.container.has_post_start,
        "its postStart hook fails",
        "the kubelet kills and restarts it; the containers after it do not start",
        &["poststart-fails"],
    ),
    fact(
        |s| s.is(Native) && s.container.probes.readiness && s.serves(),
        "its readiness probe fails",
        "the app starts and keeps running; the Pod is not ready and leaves its Services",
        &["probe-readiness", "native-slow-ready"],
    ),
    fact(
        |s| s.is(Native) && s.container.probes.readiness && !s.serves(),
        "its readiness probe fails",
        "the app starts and keeps running; the Pod is not ready",
        &["job-native-probed"],
    ),
    fact(
        |s| s.is(Native) && s.container.probes.liveness,
        "its liveness probe fails",
        "only this container restarts, with an increasing back-off; the app keeps running",
        &["probe-liveness"],
    ),
    fact(
        |s| s.is(Native) && !s.has_rules(),
        "it exits",
        "only this container restarts, with an increasing back-off and with any exit code",
        &["native-crashloop", "native-exits-zero"],
    ),
    fact(
        |s| s.is(Native) && !s.serves(),
        "all regular containers have ended",
        "the kubelet stops it, and the Pod ends",
        &["job-native-143", "job-native-137"],
    ),
    fact(
        |s| s.is(Init),
        "it does not exit",
        "the containers after it do not start",
        &["init-never-ends"],
    ),
    fact(
        |s| s.is(Init) && !s.has_rules() && s.restarts(),
        "it fails",
        "the containers after it do not start; the kubelet restarts it, with an increasing back-off",
        &["init-crashloop", "restart-policy-init"],
    ),
    fact(
        |s| s.is(Init) && s.follows(Never),
        "it fails",
        "it is not restarted (restartPolicy Never): the containers after it do not start, and the Pod fails",
        &[],
    )
    .source("kuberuntime_container.go: computeInitContainerActions"),
    fact(
        |s| s.is(Init) && s.has_rules(),
        "it fails",
        "the containers after it do not start; its restartPolicyRules decide by the exit code what restarts",
        &["restart-all"],
    ),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.serves(),
        "its startup probe fails",
        "no other container waits for it; the Pod is not ready and leaves its Services",
        &["classic-startup-blocked"],
    ),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && !s.serves(),
        "its startup probe fails",
        "no other container waits for it; the Pod is not ready",
        &["classic-startup-blocked"],
    ),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.follows(Always),
        "its startup probe fails failureThreshold times",
        KILLED_AND_RESTARTED,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.follows(OnFailure),
        "its startup probe fails failureThreshold times",
        KILLED_ON_FAILURE,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.follows(Never),
        "its startup probe fails failureThreshold times",
        KILLED,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.has_rules() && s.restarts(),
        "its startup probe fails failureThreshold times",
        KILLED_BEFORE_RULES,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.startup && s.has_rules_and(Never),
        "its startup probe fails failureThreshold times",
        KILLED_BY_RULES,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.has_post_start,
        "its postStart hook hangs",
        "the containers after it do not start; all containers of the Pod stay in ContainerCreating",
        &["classic-poststart-hangs"],
    ),
    fact(
        |s| s.is(Regular) && s.container.has_post_start && s.follows(Always),
        "its postStart hook fails",
        KILLED_AND_RESTARTED,
        &[],
    )
    .source(START_CONTAINER),
    fact(
        |s| s.is(Regular) && s.container.has_post_start && s.follows(OnFailure),
        "its postStart hook fails",
        HOOK_FAILED_ON_FAILURE,
        &[],
    )
    .source(START_CONTAINER),
    fact(
        |s| s.is(Regular) && s.container.has_post_start && s.follows(Never),
        "its postStart hook fails",
        KILLED,
        &[],
    )
    .source(START_CONTAINER),
    fact(
        |s| s.is(Regular) && s.container.has_post_start && s.has_rules(),
        "its postStart hook fails",
        KILLED_BY_RULES,
        &[],
    )
    .source(START_CONTAINER),
    fact(
        |s| s.is(Regular) && s.container.probes.readiness && s.serves(),
        "its readiness probe fails",
        "the other containers keep running; the Pod is not ready and leaves its Services",
        &["classic-never-ready"],
    ),
    fact(
        |s| s.is(Regular) && s.container.probes.readiness && !s.serves(),
        "its readiness probe fails",
        "the other containers keep running; the Pod is not ready",
        &["classic-never-ready"],
    ),
    fact(
        |s| s.is(Regular) && s.container.probes.liveness && s.follows(Always),
        "its liveness probe fails",
        KILLED_AND_RESTARTED,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.liveness && s.follows(OnFailure),
        "its liveness probe fails",
        KILLED_ON_FAILURE,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.liveness && s.follows(Never),
        "its liveness probe fails",
        KILLED,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.liveness && s.has_rules() && s.restarts(),
        "its liveness probe fails",
        KILLED_BEFORE_RULES,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.container.probes.liveness && s.has_rules_and(Never),
        "its liveness probe fails",
        KILLED_BY_RULES,
        &[],
    )
    .source(COMPUTE_POD_ACTIONS),
    fact(
        |s| s.is(Regular) && s.follows(Always),
        "it exits",
        "only this container restarts, with an increasing back-off and with any exit code",
        &[
            "classic-crashloop",
            "main-crash-sidecar-fine",
            "sidecar-exits-zero",
        ],
    ),
    fact(
        |s| s.is(Regular) && s.follows(OnFailure),
        "it exits with an error",
        "only this container restarts, with an increasing back-off",
        &["job-failing"],
    ),
    fact(
        |s| s.is(Regular) && s.follows(OnFailure),
        "it exits with code 0",
        "it is not restarted (restartPolicy OnFailure); the other containers keep running",
        &["recovers-job"],
    ),
    fact(
        |s| s.is(Regular) && s.follows(Never),
        "it exits",
        "it is not restarted, with any exit code (restartPolicy Never); the other containers keep running",
        &["sidecar-exit-zero-never", "job-classic"],
    ),
    fact(
        |s| (s.is(Native) && s.has_rules()) || (s.is(Regular) && s.has_rules_and(Always)),
        "it exits",
        "a rule of its restartPolicyRules for the exit code can restart all containers; otherwise only this container \
         restarts",
        &["restart-all"],
    ),
    fact(
        |s| s.is(Regular) && s.has_rules_and(OnFailure),
        "it exits",
        "a rule of its restartPolicyRules for the exit code restarts it or all containers; otherwise it restarts only \
         after an error",
        &["restart-rules-regular"],
    ),
    fact(
        |s| s.is(Regular) && s.has_rules_and(Never),
        "it exits",
        "a rule of its restartPolicyRules for the exit code restarts it or all containers; otherwise it is not restarted",
        &["restart-rules-regular"],
    ),
    fact(
        |s| s.is(Regular) && s.is_sidecar && !s.serves() && s.is_job,
        "it runs on after the app has ended",
        "the Pod does not end, and its Job does not complete: the kubelet stops only native sidecars then",
        &["job-classic"],
    ),
    fact(
        |s| s.is(Regular) && s.is_sidecar && !s.serves() && !s.is_job,
        "it runs on after the app has ended",
        "the Pod does not end: the kubelet stops only native sidecars then",
        &["job-classic"],
    ),
];

/// Returns what the probes and hooks of a container lead to when they fail, and what its end leads to.
pub(super) fn consequences(setting: &Setting<'_>) -> Vec<Consequence> {
    let facts = FACTS.iter().filter(|fact| (fact.applies)(setting));
    facts.map(|fact| fact.consequence).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn each_fact_has_a_scenario_that_shows_it_or_a_source() {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/scenarios");
        for Fact { consequence, .. } in FACTS {
            let has_source = !consequence.source.is_empty();
            assert_eq!(
                consequence.scenarios.is_empty(),
                has_source,
                "{}",
                consequence.cause
            );
            for scenario in consequence.scenarios {
                let file = scenarios.join(format!("{scenario}.yaml"));
                let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{scenario}: {error}"));
                assert!(text.starts_with("about: "), "{scenario}");
            }
        }
    }

    #[test]
    fn the_page_about_probes_has_each_fact_and_its_scenarios() {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/probes.md")).unwrap();
        for Fact { consequence, .. } in FACTS {
            let links = consequence.scenarios.iter();
            let links: Vec<_> = links
                .map(|name| format!("[{name}](../e2e/scenarios/{name}.yaml)"))
                .collect();
            let row = format!(
                "| {} | {} | {}{} |",
                consequence.cause,
                consequence.effect,
                links.join(", "),
                consequence.source
            );
            assert!(page.contains(&row), "{row}");
        }
        let links = page.split("../e2e/scenarios/").skip(1);
        let on_page: BTreeSet<&str> = links.filter_map(|link| link.split(".yaml").next()).collect();
        let used: BTreeSet<&str> = FACTS
            .iter()
            .flat_map(|fact| fact.consequence.scenarios)
            .copied()
            .collect();
        let missing: Vec<_> = on_page.difference(&used).collect();
        assert!(on_page.len() > 5 && missing.is_empty(), "{missing:?}");
    }
}
