//! The consequences of each probe and hook of a container, as observed on a real kubelet.
//!
//! `docs/probes.md` has the same facts. Each names the scenarios in `e2e/scenarios` that show it; a test checks that they
//! exist.

use serde::Serialize;

use crate::domain::observation::{Container, ContainerKind};

/// A failure and its consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Consequence {
    /// The probe or the hook, and how it fails.
    pub(super) cause: &'static str,
    /// The effect on the container, on the other containers and on the Pod.
    pub(super) effect: &'static str,
    /// The scenarios that show it.
    pub(super) scenarios: &'static [&'static str],
}

/// One fact, for containers of some kinds.
struct Fact {
    applies: fn(&Container) -> bool,
    consequence: Consequence,
}

const fn fact(
    applies: fn(&Container) -> bool,
    cause: &'static str,
    effect: &'static str,
    scenarios: &'static [&'static str],
) -> Fact {
    Fact {
        applies,
        consequence: Consequence {
            cause,
            effect,
            scenarios,
        },
    }
}

fn is(container: &Container, kind: ContainerKind) -> bool {
    container.kind == kind
}

const FACTS: &[Fact] = &[
    fact(
        |c| is(c, ContainerKind::Native) && c.probes.startup,
        "its startup probe fails",
        "the containers after it do not start; after failureThreshold failures the kubelet kills and restarts it",
        &["probe-startup", "native-startup-killed"],
    ),
    fact(
        |c| is(c, ContainerKind::Native) && c.has_post_start,
        "its postStart hook hangs",
        "the containers after it do not start",
        &["probe-poststart"],
    ),
    fact(
        |c| is(c, ContainerKind::Native) && c.has_post_start,
        "its postStart hook fails",
        "the kubelet kills and restarts it; the containers after it do not start",
        &["poststart-fails"],
    ),
    fact(
        |c| is(c, ContainerKind::Native) && c.probes.readiness,
        "its readiness probe fails",
        "the app starts and keeps running; the Pod is not ready and leaves its Services",
        &["probe-readiness", "native-slow-ready"],
    ),
    fact(
        |c| is(c, ContainerKind::Native) && c.probes.liveness,
        "its liveness probe fails",
        "only this container restarts, with an increasing back-off; the app keeps running",
        &["probe-liveness"],
    ),
    fact(
        |c| is(c, ContainerKind::Native),
        "it exits",
        "only this container restarts, with an increasing back-off and with any exit code",
        &["native-crashloop", "native-exits-zero"],
    ),
    fact(
        |c| is(c, ContainerKind::Init),
        "it does not exit",
        "the containers after it do not start",
        &["init-never-ends"],
    ),
    fact(
        |c| is(c, ContainerKind::Init),
        "it fails",
        "the containers after it do not start; the kubelet restarts it, unless its Pod has the restartPolicy Never",
        &["init-crashloop"],
    ),
    fact(
        |c| is(c, ContainerKind::Regular) && c.probes.startup,
        "its startup probe fails",
        "no other container waits for it; the Pod is not ready and leaves its Services",
        &["classic-startup-blocked"],
    ),
    fact(
        |c| is(c, ContainerKind::Regular) && c.has_post_start,
        "its postStart hook hangs",
        "the containers after it do not start; all containers of the Pod stay in ContainerCreating",
        &["classic-poststart-hangs"],
    ),
    fact(
        |c| is(c, ContainerKind::Regular) && c.probes.readiness,
        "its readiness probe fails",
        "the other containers keep running; the Pod is not ready and leaves its Services",
        &["classic-never-ready"],
    ),
    fact(
        |c| is(c, ContainerKind::Regular),
        "it exits with an error",
        "only this container restarts, if its restart policy allows it",
        &["classic-crashloop", "main-crash-sidecar-fine"],
    ),
];

/// Returns what the probes and hooks of a container lead to when they fail.
pub(super) fn consequences(container: &Container) -> Vec<Consequence> {
    let facts = FACTS.iter().filter(|fact| (fact.applies)(container));
    facts.map(|fact| fact.consequence).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn each_fact_has_a_scenario_that_shows_it() {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/scenarios");
        for Fact { consequence, .. } in FACTS {
            assert!(!consequence.scenarios.is_empty(), "{}", consequence.cause);
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
                "| {} | {} | {} |",
                consequence.cause,
                consequence.effect,
                links.join(", ")
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
