//! The Events that the operator would write under the candidates.

use jiff::Timestamp;
use serde::Serialize;

use super::compare::Policies;
use crate::{
    cli::{
        table::{Cell, Table},
        terminal::Style,
    },
    domain::effects::{Delivery, Event, Regarding},
};

/// An Event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventRow {
    /// `eventTime`.
    time: Timestamp,
    #[serde(rename = "type")]
    kind: &'static str,
    reason: &'static str,
    namespace: String,
    /// The object that the Event is about: `Pod/web-1`.
    object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field_path: String,
    policy: String,
    /// The number of times that the Event has been written: more than one for a repetition.
    count: u32,
    note: String,
}

/// Returns the Events under the candidates.
pub(super) fn rows(policies: &Policies, events: &[Event]) -> Vec<EventRow> {
    let rows = events.iter().filter_map(|event| {
        let policy = policies.candidate(&event.policy)?.to_string();
        let Regarding {
            kind,
            name,
            uid: _,
            field_path,
        } = &event.regarding;
        Some(EventRow {
            time: event.at,
            kind: if event.warning { "Warning" } else { "Normal" },
            reason: event.reason,
            namespace: event.namespace.to_string(),
            object: format!("{kind}/{name}"),
            field_path: field_path.clone(),
            count: match event.delivery {
                Delivery::Create => 1,
                Delivery::CreateOrRaise(count) | Delivery::Repeat(count) => count,
            },
            // A candidate that replaces a policy has another name in the index.
            note: event.note.replace(&event.policy.to_string(), &policy),
            policy,
        })
    });
    rows.collect()
}

/// Returns the table of the Events.
pub(super) fn table(rows: &[EventRow]) -> Table {
    let mut table = Table::new(["TIME", "TYPE", "REASON", "OBJECT", "NOTE"]).with_text();
    for row in rows {
        let style = if row.kind == "Warning" {
            Style::Yellow
        } else {
            Style::Dim
        };
        let count = match row.count {
            1 => String::new(),
            count => format!(" (x{count})"),
        };
        table.push([
            row.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            Cell::styled(row.kind, style),
            format!("{}{count}", row.reason).into(),
            format!("{}/{}", row.namespace, row.object).into(),
            row.note.as_str().into(),
        ]);
    }
    table
}
