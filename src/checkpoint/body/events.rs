//! The Events in a checkpoint that had not been written.

use super::{Result, read_policy_key, read_severity, write_severity};
use crate::{
    checkpoint::{
        DecodeError,
        reader::{Reader, TAG},
        writer::Writer,
    },
    domain::{
        checks::rule,
        effects::{Delivery, Event, RECOVERED, Regarding},
        exemption::{EXEMPTION_ACTIVE, EXEMPTION_ENDED},
        policy::{Check, PolicyKey, PolicyKind},
    },
};

pub(super) fn write(event: &Event, to: &mut Writer) {
    let Event {
        name,
        policy:
            PolicyKey {
                kind,
                namespace: policy_namespace,
                name: policy_name,
            },
        policy_uid,
        namespace,
        regarding:
            Regarding {
                kind: object_kind,
                name: object,
                uid,
                field_path,
            },
        reason,
        warning,
        severity,
        recovers,
        note,
        at,
        delivery,
    } = event;
    to.text(name);
    to.byte(u8::from(*kind == PolicyKind::ClusterSidecarPolicy));
    to.string(policy_namespace);
    to.string(policy_name);
    to.uid(policy_uid);
    to.string(namespace);
    to.string(object_kind);
    to.text(object);
    to.uid(uid);
    to.string(field_path);
    to.string(reason);
    to.byte(u8::from(*warning));
    write_severity(*severity, to);
    to.length(recovers.len());
    for name in recovers {
        to.text(name);
    }
    to.text(note);
    to.time(*at);
    let (tag, count) = match delivery {
        Delivery::Create => (0, None),
        Delivery::CreateOrRaise(count) => (1, Some(*count)),
        Delivery::Repeat(count) => (2, Some(*count)),
    };
    to.byte(tag);
    if let Some(count) = count {
        to.integer(u64::from(count));
    }
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Event> {
    let name = from.text()?.to_owned();
    let is_cluster = from.flag()?;
    Ok(Event {
        name,
        policy: read_policy_key(is_cluster, from)?,
        policy_uid: from.uid()?,
        namespace: from.string()?,
        regarding: Regarding {
            kind: from.string()?,
            name: from.text()?.into(),
            uid: from.uid()?,
            field_path: from.string()?.to_string(),
        },
        reason: reason(&from.string()?)?,
        warning: from.flag()?,
        severity: read_severity(from)?,
        recovers: read_names(from)?,
        note: from.text()?.to_owned(),
        at: from.time()?,
        delivery: match from.byte()? {
            0 => Delivery::Create,
            1 => Delivery::CreateOrRaise(from.small()?),
            2 => Delivery::Repeat(from.small()?),
            _ => return Err(TAG),
        },
    })
}

fn read_names(from: &mut Reader<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for _ in 0..from.length()? {
        names.push(from.text()?.to_owned());
    }
    Ok(names)
}

/// The reason of an Event that this version writes.
fn reason(text: &str) -> Result<&'static str> {
    let reasons = Check::ALL.into_iter().map(|check| rule(check).reason());
    let mut reasons = reasons.chain([RECOVERED, EXEMPTION_ACTIVE, EXEMPTION_ENDED]);
    reasons
        .find(|reason| *reason == text)
        .ok_or(DecodeError::Content("an unknown reason"))
}
