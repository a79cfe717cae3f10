//! The result of a simulation, for people and for programs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    compare::{Comparison, Difference, Place, Policies},
    events::{self, EventRow},
};
use crate::{
    cli::{
        evaluation::{Evaluation, Reported},
        output::counted,
        table::{Cell, Table, sentence},
        terminal::{Style, Terminal},
    },
    domain::{
        policy::Severity,
        time::{Human, Moment},
        violation::Violation,
    },
};

/// The result of a simulation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    policies: Vec<String>,
    source: String,
    from: Timestamp,
    until: Timestamp,
    /// The number of Pods that were evaluated.
    pods: usize,
    violations: Vec<Row>,
    pending: Vec<Row>,
    roles: Vec<RoleRow>,
    pub(super) notes: Vec<String>,
    /// The Events under the candidates.
    #[serde(skip)]
    pub(super) events: Vec<EventRow>,
    #[serde(skip)]
    is_comparison: bool,
}

/// A violation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    policy: String,
    namespace: String,
    workload_kind: String,
    workload: String,
    pod: String,
    container: String,
    check: &'static str,
    severity: &'static str,
    onset: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    firing: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Timestamp>,
    cause: String,
}

/// A role that changes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoleRow {
    namespace: String,
    workload_kind: String,
    workload: String,
    container: String,
    before: &'static str,
    after: &'static str,
    pods: usize,
}

impl Report {
    pub(super) fn new(
        policies: &Policies,
        comparison: Comparison<'_>,
        evaluation: &Evaluation,
        (from, until): (Timestamp, Timestamp),
        source: String,
        notes: Vec<String>,
    ) -> Self {
        let is_comparison = policies.has_others();
        let mut violations = Vec::new();
        for ((difference, _, _), reported) in &comparison.findings {
            for reported in reported {
                let Reported {
                    violation,
                    firing,
                    resolved,
                    cause,
                } = reported;
                violations.push(Row {
                    difference: is_comparison.then_some(*difference),
                    firing: Some(*firing),
                    resolved: *resolved,
                    cause: cause.clone(),
                    ..Row::of(policies, violation)
                });
            }
        }
        let pending = evaluation
            .index()
            .violations()
            .filter(|violation| !violation.firing && policies.candidate(&violation.policy).is_some())
            .map(|violation| Row {
                cause: evaluation.index().cause(violation).unwrap_or_default(),
                ..Row::of(policies, violation)
            });
        let roles = comparison.roles.into_iter().map(|(change, pods)| {
            let Place {
                namespace,
                workload,
                container,
            } = change.place;
            RoleRow {
                namespace: namespace.to_string(),
                workload_kind: workload.kind.to_string(),
                workload: workload.name.to_string(),
                container: container.to_string(),
                before: change.before,
                after: change.after,
                pods,
            }
        });
        Self {
            policies: policies.candidates().map(ToString::to_string).collect(),
            source,
            from,
            until,
            pods: evaluation.pods(),
            violations,
            pending: pending.collect(),
            roles: roles.collect(),
            notes,
            events: events::rows(policies, evaluation.events()),
            is_comparison,
        }
    }

    /// Returns the Events for people.
    pub(super) fn events_text(&self, terminal: Terminal) -> String {
        let mut text = sentence(&self.summary(), terminal);
        if !self.events.is_empty() {
            text.push('\n');
            text.push_str(&events::table(&self.events).render(terminal));
        }
        text
    }

    /// Reports whether the candidates report something.
    pub(super) fn has_findings(&self) -> bool {
        self.violations
            .iter()
            .any(|row| row.difference != Some(Difference::Gone))
    }

    /// Returns the text for people.
    pub(super) fn text(&self, terminal: Terminal) -> String {
        let mut text = sentence(&self.summary(), terminal);
        if !self.violations.is_empty() {
            text.push('\n');
            text.push_str(&self.table().render(terminal));
        }
        if !self.roles.is_empty() {
            text.push_str("\nRoles that change:\n");
            text.push_str(&self.role_table().render(terminal));
        }
        text
    }

    fn summary(&self) -> String {
        let length = Human(self.until.duration_since(self.from));
        let count = |difference| {
            let rows = self.violations.iter();
            rows.filter(|row| row.difference == Some(difference)).count()
        };
        let differences = if self.is_comparison {
            format!(
                " ({} new, {} gone, {} same)",
                count(Difference::New),
                count(Difference::Gone),
                count(Difference::Same)
            )
        } else {
            String::new()
        };
        format!(
            "{} on {}, {length}: {}, {}{differences}, {} pending at the end",
            self.policies.join(", "),
            self.source,
            counted(self.pods, "Pod"),
            counted(self.violations.len(), "violation"),
            self.pending.len(),
        )
    }

    fn table(&self) -> Table {
        let names = ["WORKLOAD", "CONTAINER", "CHECK", "PODS", "TIMES", "CAUSE"];
        let difference = self.is_comparison.then_some("CHANGE");
        let mut table = Table::new(difference.into_iter().chain(names)).with_text();
        let now = self.until;
        let time = |at| Moment { at, now };
        let groups = self.violations.chunk_by(|a, b| a.place() == b.place());
        for rows in groups {
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                continue;
            };
            let pods: BTreeSet<&str> = rows.iter().map(|row| row.pod.as_str()).collect();
            let began = rows.iter().filter_map(|row| row.firing).min();
            let ended = rows
                .iter()
                .map(|row| row.resolved)
                .collect::<Option<Vec<_>>>()
                .and_then(|times| times.into_iter().max());
            let when = match (began, ended) {
                (Some(began), Some(ended)) => format!("fires from {} to {}", time(began), time(ended)),
                (Some(began), None) => format!("fires since {}", time(began)),
                (None, _) => String::new(),
            };
            let difference = first.difference.map(|difference| {
                let style = match difference {
                    Difference::New => Style::Red,
                    Difference::Gone => Style::Green,
                    Difference::Same => Style::Dim,
                };
                Cell::styled(difference.as_str(), style)
            });
            let style = match first.severity {
                "Critical" => Style::Red,
                "Warning" => Style::Yellow,
                _ => Style::Dim,
            };
            let cells = [
                format!("{}/{}/{}", first.namespace, first.workload_kind, first.workload).into(),
                first.container.as_str().into(),
                Cell::styled(first.check, style),
                pods.len().to_string().into(),
                rows.len().to_string().into(),
                format!("{when}: {}", last.cause).into(),
            ];
            table.push(difference.into_iter().chain(cells));
        }
        table
    }

    fn role_table(&self) -> Table {
        let mut table = Table::new(["WORKLOAD", "CONTAINER", "PODS", "BEFORE", "AFTER"]);
        for row in &self.roles {
            table.push([
                format!("{}/{}/{}", row.namespace, row.workload_kind, row.workload).into(),
                row.container.as_str().into(),
                row.pods.to_string().into(),
                row.before.into(),
                row.after.into(),
            ]);
        }
        table
    }
}

impl Row {
    /// Returns the facts of a violation, without its times and its cause.
    fn of(policies: &Policies, violation: &Violation) -> Self {
        let subject = &violation.subject;
        let policy = policies.candidate(&violation.policy).unwrap_or(&violation.policy);
        Self {
            difference: None,
            policy: policy.to_string(),
            namespace: subject.namespace().to_string(),
            workload_kind: subject.workload().kind.to_string(),
            workload: subject.workload().name.to_string(),
            pod: subject.pod().to_owned(),
            container: subject.container_or_image().to_string(),
            check: violation.check.as_str(),
            severity: severity_name(violation.severity),
            onset: violation.onset,
            firing: None,
            resolved: None,
            cause: String::new(),
        }
    }

    /// The fields in which the violations of one table row are equal.
    fn place(&self) -> (Option<Difference>, &str, &str, &str, &str, &str) {
        (
            self.difference,
            &self.namespace,
            &self.workload_kind,
            &self.workload,
            &self.container,
            self.check,
        )
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}
