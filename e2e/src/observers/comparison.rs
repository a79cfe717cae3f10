//! The page that says who saw what.
//!
//! Input: scenarios that were played, alerts, and how the run was made. Output: Markdown: an introduction
//! (`comparison.md`), a row for each scenario, and sums. Must not: leave a scenario out.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::verdict::{Named, Verdict, verdict};
use super::{Alert, Played, Source, Timing};
use crate::operator::repository;
use crate::scenario::{Role, Scenario, Wrong};

const INTRODUCTION: &str = include_str!("comparison.md");
const REAL: &str =
    "All durations are real: the common alerts as they are published, Sidewatch with its defaults
  (`spec: {}`) unless a scenario brings a policy of its own; a scrape and an evaluation every 5 s.";
const HURRIED: &str = "In a hurry: the durations in the common alerts are divided by 20, and Sidewatch has
  [a policy](../e2e/scenarios/policy.yaml) that is about as quick; a scrape and an evaluation every second.";

/// Programs whose versions the page tells: the placeholder, the family in `e2e/tools`, the module.
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

/// The verdicts on one scenario.
struct Row<'a> {
    scenario: &'a Scenario,
    common: Verdict<'a>,
    sidewatch: Verdict<'a>,
}

/// The whole page. `command` is what a reader would type to have it made.
pub fn page(command: &str, timing: Timing, played: &[Played<'_>], alerts: &[Alert]) -> Result<String> {
    let watched = played
        .iter()
        .map(|one| one.until.duration_since(one.began).unsigned_abs());
    let mut page = INTRODUCTION
        .replace("{watched}", &lasting(watched.min().unwrap_or_default()))
        .replace("{date}", &Timestamp::now().strftime("%Y-%m-%d").to_string())
        .replace("{command}", command)
        .replace("{sidewatch}", env!("CARGO_PKG_VERSION"))
        .replace(
            "{timing}",
            match timing {
                Timing::Real => REAL,
                Timing::Hurried => HURRIED,
            },
        );
    for (placeholder, family, module) in PROGRAMS {
        page = page.replace(&format!("{{{placeholder}}}"), &version(family, module)?);
    }
    Ok(page + &comparison(played, alerts))
}

/// The version of a module that a family of tools is built from.
fn version(family: &str, module: &str) -> Result<String> {
    let file = repository().join("e2e/tools").join(family).join("go.mod");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let version = text.lines().find_map(|line| {
        line.trim()
            .trim_start_matches("require ")
            .strip_prefix(module)?
            .strip_prefix(' ')
    });
    let version = version.and_then(|rest| rest.split(' ').next());
    Ok(version
        .with_context(|| format!("no {module} in {}", file.display()))?
        .to_owned())
}

/// The table, and its sums.
fn comparison(played: &[Played<'_>], alerts: &[Alert]) -> String {
    let rows: Vec<_> = played
        .iter()
        .map(|one| Row {
            scenario: one.scenario,
            common: verdict(one, alerts, Source::Common),
            sidewatch: verdict(one, alerts, Source::Shipped),
        })
        .collect();
    let mut text =
        "| scenario | what is wrong | the common alerts | Sidewatch |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for row in &rows {
        let _ = writeln!(
            text,
            "| [{0}](../e2e/scenarios/{0}.yaml) | {1} | {2} | {3} |",
            row.scenario.name,
            truth(row.scenario.story.wrong.as_ref()),
            cell(&row.common),
            cell(&row.sidewatch)
        );
    }
    text + "\n## In sum\n\n" + &sums(&rows)
}

fn truth(wrong: Option<&Wrong>) -> String {
    let Some(wrong) = wrong else {
        return "nothing".to_owned();
    };
    let role = match wrong.role {
        Role::Sidecar => "",
        Role::Main => " (main container)",
        Role::Init => " (init container)",
    };
    format!("`{}`{role} {}", wrong.container, wrong.what)
}

fn cell(verdict: &Verdict<'_>) -> String {
    let told = |one: &Named<'_>| format!("`{}` after {} ({})", one.container, lasting(one.after), one.alert);
    let all = |named: &[Named<'_>]| named.iter().map(told).collect::<Vec<_>>().join(", ");
    match verdict {
        Verdict::NamedIt { it, others } if others.is_empty() => format!("named {}", told(it)),
        Verdict::NamedIt { it, others } => format!("named {}; also {}", told(it), all(others)),
        Verdict::NamedAnother(named) => format!("**named another**: {}", all(named)),
        Verdict::SawNothing => "**saw nothing**".to_owned(),
        Verdict::CriedWolf(named) => format!("**cried wolf**: {}", all(named)),
        Verdict::Quiet => "quiet".to_owned(),
    }
}

fn lasting(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// How often each verdict was given on which kind of scenario.
fn sums(rows: &[Row<'_>]) -> String {
    let role = |row: &Row<'_>| row.scenario.story.wrong.as_ref().map(|wrong| wrong.role);
    let mut text = "| | the common alerts | Sidewatch |\n| --- | --- | --- |\n".to_owned();
    for (title, roles) in [
        ("Scenarios with a bad sidecar", Some(Role::Sidecar)),
        ("Scenarios with a bad init container", Some(Role::Init)),
        ("Scenarios with a bad main container", Some(Role::Main)),
        ("Scenarios with nothing wrong", None),
    ] {
        let rows: Vec<_> = rows.iter().filter(|row| role(row) == roles).collect();
        let _ = writeln!(text, "| **{title}: {}** | | |", rows.len());
        for (title, given) in verdicts(roles.is_some()) {
            let common = rows.iter().filter(|row| given(&row.common)).count();
            let sidewatch = rows.iter().filter(|row| given(&row.sidewatch)).count();
            let _ = writeln!(text, "| {title} | {common} | {sidewatch} |");
        }
    }
    text + "\n" + &first(rows)
}

type Given = fn(&Verdict<'_>) -> bool;

/// Those that may be given where something is wrong, or where nothing is.
fn verdicts(wrong: bool) -> &'static [(&'static str, Given)] {
    if wrong {
        &[
            ("named it", |verdict| matches!(verdict, Verdict::NamedIt { .. })),
            (
                "of these, another beside it",
                |verdict| matches!(verdict, Verdict::NamedIt { others, .. } if !others.is_empty()),
            ),
            ("named another", |verdict| {
                matches!(verdict, Verdict::NamedAnother(_))
            }),
            ("saw nothing", |verdict| *verdict == Verdict::SawNothing),
        ]
    } else {
        &[
            ("cried wolf", |verdict| matches!(verdict, Verdict::CriedWolf(_))),
            ("quiet", |verdict| *verdict == Verdict::Quiet),
        ]
    }
}

/// Who was first where both named it.
fn first(rows: &[Row<'_>]) -> String {
    let after = |verdict: &Verdict<'_>| match verdict {
        Verdict::NamedIt { it, .. } => Some(it.after),
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
        "Where both named it, Sidewatch was first in {}, the common alerts in {}, and both came at once in {}.\n",
        count(Ordering::Less),
        count(Ordering::Greater),
        count(Ordering::Equal)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alert, played, scenario};
    use super::*;

    const EXPECTED: &str = "\
| scenario | what is wrong | the common alerts | Sidewatch |
| --- | --- | --- | --- |
| [bad-init](../e2e/scenarios/bad-init.yaml) | `setup` (init container) fails | **saw nothing** | named `setup` after 1 min (SidecarBlocksStartup) |
| [bad-main](../e2e/scenarios/bad-main.yaml) | `app` (main container) fails | **saw nothing** | **saw nothing** |
| [bad-sidecar](../e2e/scenarios/bad-sidecar.yaml) | `proxy` fails | named `proxy` after 1 min 5 s (SidecarContainerNotReady); also `app` after 7 s (MainContainerReadyButSidecarNot) | named `proxy` after 6 s (MainContainerReadyButSidecarNot) |
| [other-name](../e2e/scenarios/other-name.yaml) | `proxy` fails | **named another**: `app` after 7 s (MainContainerReadyButSidecarNot) | **saw nothing** |
| [well](../e2e/scenarios/well.yaml) | nothing | **cried wolf**: `proxy` after 16 s (SidecarContainerNotReady) | quiet |

## In sum

| | the common alerts | Sidewatch |
| --- | --- | --- |
| **Scenarios with a bad sidecar: 2** | | |
| named it | 1 | 1 |
| of these, another beside it | 1 | 0 |
| named another | 1 | 0 |
| saw nothing | 0 | 1 |
| **Scenarios with a bad init container: 1** | | |
| named it | 0 | 1 |
| of these, another beside it | 0 | 0 |
| named another | 0 | 0 |
| saw nothing | 1 | 0 |
| **Scenarios with a bad main container: 1** | | |
| named it | 0 | 0 |
| of these, another beside it | 0 | 0 |
| named another | 0 | 0 |
| saw nothing | 1 | 1 |
| **Scenarios with nothing wrong: 1** | | |
| cried wolf | 1 | 0 |
| quiet | 0 | 1 |

Where both named it, Sidewatch was first in 1, the common alerts in 0, and both came at once in 0.
";

    #[test]
    fn every_scenario_has_its_row_and_is_in_one_sum() {
        let scenarios = [
            scenario("bad-init", "wrong: {container: setup, what: fails, role: Init}"),
            scenario("bad-main", "wrong: {container: app, what: fails, role: Main}"),
            scenario("bad-sidecar", "wrong: {container: proxy, what: fails}"),
            scenario("other-name", "wrong: {container: proxy, what: fails}"),
            scenario("well", ""),
        ];
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
        let played = played(&scenarios);
        let text = comparison(&played, &alerts);
        assert_eq!(text, EXPECTED);
        for timing in [Timing::Real, Timing::Hurried] {
            let page = page("make comparison", timing, &played, &alerts).unwrap();
            assert!(page.ends_with(&text), "{page}");
            let introduction = page.trim_end_matches(&text).replace("`spec: {}`", "");
            assert!(
                !introduction.contains('{'),
                "everything is filled in: {introduction}"
            );
        }
    }
}
