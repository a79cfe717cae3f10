//! The page that compares the common alerts with those of Sidewatch: an introduction (`comparison.md`), a row for each
//! scenario, and totals.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::outcome::{Named, Outcome, outcome};
use super::{Alert, ObservedRun, Source, Timing};
use crate::scenario::{Role, Scenario, Wrong};
use crate::tools::module_version;

const INTRODUCTION: &str = include_str!("comparison.md");
const REAL: &str =
    "Real durations: the common alerts as published, Sidewatch with its defaults (`spec: {}`) unless a scenario has
  its own policy; a scrape and an evaluation every 5 s.";
const FAST: &str = "Short durations: those of the common alerts are divided by 20, and Sidewatch has
  [a policy](../e2e/scenarios/policy.yaml) with similar values; a scrape and an evaluation every second.";

/// Programs whose versions are on the page: placeholder, family in `e2e/tools`, module.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("kubernetes", "kubernetes", "k8s.io/kubernetes"),
    ("containerd", "containerd", "github.com/containerd/containerd/v2"),
    (
        "kube-state-metrics",
        "kube-state-metrics",
        "k8s.io/kube-state-metrics/v2",
    ),
    ("prometheus", "prometheus", "github.com/prometheus/prometheus"),
];

/// Outcomes of one scenario.
struct Row<'a> {
    scenario: &'a Scenario,
    common: Outcome<'a>,
    sidewatch: Outcome<'a>,
}

/// The whole page. `command` is the command that generates it.
pub fn page(command: &str, timing: Timing, runs: &[ObservedRun<'_>], alerts: &[Alert]) -> Result<String> {
    let watched = runs
        .iter()
        .map(|run| run.ended.duration_since(run.started).unsigned_abs());
    let mut page = INTRODUCTION
        .replace("{watched}", &duration(watched.min().unwrap_or_default()))
        .replace("{date}", &Timestamp::now().strftime("%Y-%m-%d").to_string())
        .replace("{command}", command)
        .replace("{sidewatch}", env!("CARGO_PKG_VERSION"))
        .replace(
            "{timing}",
            match timing {
                Timing::Real => REAL,
                Timing::Fast => FAST,
            },
        );
    for (placeholder, family, module) in PROGRAMS {
        page = page.replace(&format!("{{{placeholder}}}"), &module_version(family, module)?);
    }
    Ok(page + &comparison(runs, alerts))
}

fn rows<'a>(runs: &'a [ObservedRun<'_>], alerts: &'a [Alert]) -> Vec<Row<'a>> {
    let about_containers = |run: &&ObservedRun<'_>| {
        let expected = &run.scenario.spec.expect;
        expected
            .iter()
            .all(|expected| expected.image.is_none() && expected.workload.is_none())
    };
    runs.iter()
        .filter(about_containers)
        .map(|run| Row {
            scenario: run.scenario,
            common: outcome(run, alerts, Source::Common),
            sidewatch: outcome(run, alerts, Source::Shipped),
        })
        .collect()
}

/// The missed faults of sidecars and init containers whose scenario gives no reason.
pub fn unexplained(runs: &[ObservedRun<'_>], alerts: &[Alert]) -> Vec<String> {
    let mut unexplained = Vec::new();
    for row in rows(runs, alerts) {
        let wrong = row.scenario.spec.wrong.as_ref();
        if wrong.is_none_or(|wrong| wrong.role == Role::Main) {
            continue;
        }
        let missed = failures(&row).into_iter().filter(|(_, reason)| reason.is_none());
        unexplained.extend(missed.map(|(alerts, _)| format!("{}: {alerts}", row.scenario.name)));
    }
    unexplained
}

/// The table and its totals.
fn comparison(runs: &[ObservedRun<'_>], alerts: &[Alert]) -> String {
    let rows = rows(runs, alerts);
    let mut text = "| scenario | fault | common alerts | Sidewatch | why missed |\n".to_owned();
    text += "| --- | --- | --- | --- | --- |\n";
    for row in &rows {
        let _ = writeln!(
            text,
            "| [{0}](../e2e/scenarios/{0}.yaml) | {1} | {2} | {3} | {4} |",
            row.scenario.name,
            fault(row.scenario.spec.wrong.as_ref()),
            cell(&row.common),
            cell(&row.sidewatch),
            why_missed(row)
        );
    }
    text + "\n## Totals\n\n" + &totals(&rows)
}

fn fault(wrong: Option<&Wrong>) -> String {
    let Some(wrong) = wrong else {
        return "none".to_owned();
    };
    let role = match wrong.role {
        Role::Sidecar => "",
        Role::Main => " (main container)",
        Role::Init => " (init container)",
    };
    format!("`{}`{role} {}", wrong.container, wrong.what)
}

/// Why a set of alerts did not name the faulty container, as the scenario explains it.
fn why_missed(row: &Row<'_>) -> String {
    let reasons = failures(row)
        .into_iter()
        .map(|(name, reason)| format!("{name}: {}", reason.unwrap_or("not explained")));
    reasons.collect::<Vec<_>>().join("; ")
}

/// The sets of alerts that did not name the faulty container, with the reason that the scenario gives.
fn failures<'a>(row: &Row<'a>) -> Vec<(&'static str, Option<&'a str>)> {
    let failed = |outcome: &Outcome<'_>| matches!(outcome, Outcome::Missed | Outcome::WrongContainer(_));
    let Some(wrong) = &row.scenario.spec.wrong else {
        return Vec::new();
    };
    let columns = [
        ("common", &row.common, row.scenario.missed_by_common_alerts()),
        ("Sidewatch", &row.sidewatch, wrong.missed.sidewatch.as_deref()),
    ];
    columns
        .into_iter()
        .filter(|(_, outcome, _)| failed(outcome))
        .map(|(name, _, reason)| (name, reason))
        .collect()
}

fn cell(outcome: &Outcome<'_>) -> String {
    let show = |one: &Named<'_>| {
        format!(
            "`{}` after {} ({})",
            one.container,
            duration(one.after),
            one.alert
        )
    };
    let all = |named: &[Named<'_>]| named.iter().map(show).collect::<Vec<_>>().join(", ");
    match outcome {
        Outcome::Correct { it, others } if others.is_empty() => format!("correct: {}", show(it)),
        Outcome::Correct { it, others } => format!("correct: {}; also {}", show(it), all(others)),
        Outcome::WrongContainer(named) => format!("**wrong container**: {}", all(named)),
        Outcome::Missed => "**missed**".to_owned(),
        Outcome::FalsePositive(named) => format!("**false positive**: {}", all(named)),
        Outcome::NoAlert => "no alert".to_owned(),
    }
}

fn duration(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// Number of each outcome for each kind of scenario.
fn totals(rows: &[Row<'_>]) -> String {
    let role = |row: &Row<'_>| row.scenario.spec.wrong.as_ref().map(|wrong| wrong.role);
    let mut text = "| | common alerts | Sidewatch |\n| --- | --- | --- |\n".to_owned();
    for (title, roles) in [
        ("Scenarios with a faulty sidecar", Some(Role::Sidecar)),
        ("Scenarios with a faulty init container", Some(Role::Init)),
        ("Scenarios with a faulty main container", Some(Role::Main)),
        ("Scenarios without a fault", None),
    ] {
        let rows: Vec<_> = rows.iter().filter(|row| role(row) == roles).collect();
        let _ = writeln!(text, "| **{title}: {}** | | |", rows.len());
        for (title, is) in outcomes(roles.is_some()) {
            let common = rows.iter().filter(|row| is(&row.common)).count();
            let sidewatch = rows.iter().filter(|row| is(&row.sidewatch)).count();
            let _ = writeln!(text, "| {title} | {common} | {sidewatch} |");
        }
    }
    text + "\n" + &first(rows)
}

type Predicate = fn(&Outcome<'_>) -> bool;

/// Possible outcomes of scenarios with or without a fault.
fn outcomes(with_fault: bool) -> &'static [(&'static str, Predicate)] {
    if with_fault {
        &[
            ("correct", |outcome| matches!(outcome, Outcome::Correct { .. })),
            (
                "of these, also another container",
                |outcome| matches!(outcome, Outcome::Correct { others, .. } if !others.is_empty()),
            ),
            ("wrong container", |outcome| {
                matches!(outcome, Outcome::WrongContainer(_))
            }),
            ("missed", |outcome| *outcome == Outcome::Missed),
        ]
    } else {
        &[
            ("false positive", |outcome| {
                matches!(outcome, Outcome::FalsePositive(_))
            }),
            ("no alert", |outcome| *outcome == Outcome::NoAlert),
        ]
    }
}

/// Which set of alerts was first where both were correct.
fn first(rows: &[Row<'_>]) -> String {
    let after = |outcome: &Outcome<'_>| match outcome {
        Outcome::Correct { it, .. } => Some(it.after),
        _ => None,
    };
    let times = rows
        .iter()
        .filter_map(|row| Some((after(&row.common)?, after(&row.sidewatch)?)));
    let mut order: BTreeMap<Ordering, u32> = BTreeMap::new();
    for (common, sidewatch) in times {
        *order.entry(sidewatch.cmp(&common)).or_default() += 1;
    }
    let count = |ordering| order.get(&ordering).copied().unwrap_or_default();
    format!(
        "Where both are correct, Sidewatch was first in {}, the common alerts in {}, and both at the same time in {}.\n",
        count(Ordering::Less),
        count(Ordering::Greater),
        count(Ordering::Equal)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alert, runs, scenario};
    use super::*;

    const EXPECTED: &str = "\
| scenario | fault | common alerts | Sidewatch | why missed |
| --- | --- | --- | --- | --- |
| [bad-init](../e2e/scenarios/bad-init.yaml) | `setup` (init container) fails | **missed** | correct: `setup` after 1 min (SidecarBlocksStartup) | common: the alerts do not read init containers |
| [bad-main](../e2e/scenarios/bad-main.yaml) | `app` (main container) fails | **missed** | **missed** | common: not explained; Sidewatch: not a sidecar |
| [bad-sidecar](../e2e/scenarios/bad-sidecar.yaml) | `proxy` fails | correct: `proxy` after 1 min 5 s (SidecarContainerNotReady); also `app` after 7 s (MainContainerReadyButSidecarNot) | correct: `proxy` after 6 s (MainContainerReadyButSidecarNot) |  |
| [other-name](../e2e/scenarios/other-name.yaml) | `proxy` fails | **wrong container**: `app` after 7 s (MainContainerReadyButSidecarNot) | **missed** | common: its name; Sidewatch: not explained |
| [well](../e2e/scenarios/well.yaml) | none | **false positive**: `proxy` after 16 s (SidecarContainerNotReady) | no alert |  |

## Totals

| | common alerts | Sidewatch |
| --- | --- | --- |
| **Scenarios with a faulty sidecar: 2** | | |
| correct | 1 | 1 |
| of these, also another container | 1 | 0 |
| wrong container | 1 | 0 |
| missed | 0 | 1 |
| **Scenarios with a faulty init container: 1** | | |
| correct | 0 | 1 |
| of these, also another container | 0 | 0 |
| wrong container | 0 | 0 |
| missed | 1 | 0 |
| **Scenarios with a faulty main container: 1** | | |
| correct | 0 | 0 |
| of these, also another container | 0 | 0 |
| wrong container | 0 | 0 |
| missed | 1 | 1 |
| **Scenarios without a fault: 1** | | |
| false positive | 1 | 0 |
| no alert | 0 | 1 |

Where both are correct, Sidewatch was first in 1, the common alerts in 0, and both at the same time in 0.
";

    #[test]
    fn every_scenario_has_a_row_and_counts_once() {
        let mut scenarios = [
            scenario("bad-init", "wrong: {container: setup, what: fails, role: Init}"),
            scenario(
                "bad-main",
                "wrong: {container: app, what: fails, role: Main, missed: {sidewatch: not a sidecar}}",
            ),
            scenario("bad-sidecar", "wrong: {container: proxy, what: fails}"),
            scenario(
                "other-name",
                "wrong: {container: proxy, what: fails, missed: {commonAlerts: its name}}",
            ),
            scenario("well", ""),
        ];
        scenarios[0].objects = "spec: {initContainers: [{name: setup}]}".to_owned();
        let fired = |source, namespace, name, container, since| {
            let labels = [("namespace", namespace), ("container", container)];
            alert(source, name, &labels, since..200)
        };
        let (not_ready, beside_ready) = ("SidecarContainerNotReady", "MainContainerReadyButSidecarNot");
        let alerts = [
            fired(Source::Common, "bad-sidecar", not_ready, "proxy", 65),
            fired(Source::Common, "bad-sidecar", beside_ready, "app", 7),
            fired(Source::Common, "other-name", beside_ready, "app", 7),
            fired(Source::Common, "well", not_ready, "proxy", 16),
            fired(Source::Shipped, "bad-sidecar", beside_ready, "proxy", 6),
            fired(Source::Shipped, "bad-init", "SidecarBlocksStartup", "setup", 60),
        ];
        let runs = runs(&scenarios);
        let text = comparison(&runs, &alerts);
        assert_eq!(text, EXPECTED);
        assert_eq!(
            unexplained(&runs, &alerts),
            ["other-name: Sidewatch"],
            "a missed fault of a sidecar needs a reason, one of a main container does not"
        );
        for timing in [Timing::Real, Timing::Fast] {
            let page = page("make comparison", timing, &runs, &alerts).unwrap();
            assert!(page.ends_with(&text), "{page}");
            let introduction = page.trim_end_matches(&text).replace("`spec: {}`", "");
            assert!(
                !introduction.contains('{'),
                "all placeholders are replaced: {introduction}"
            );
        }
    }
}
