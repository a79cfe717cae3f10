//! The metric families about the watches. They are computed at each render.

use std::collections::BTreeMap;

use super::encoder::{Encoder, Family, Kind, family};
use crate::http::health::Health;

static WATCH_SYNCED: Family = family(
    Kind::Gauge,
    "sidewatch_watch_synced",
    "Whether every watch of the resource is in sync with the API server, and none is silent.",
    &["resource"],
);
static WATCH_ACTIVITY: Family = family(
    Kind::Gauge,
    "sidewatch_watch_last_activity_timestamp_seconds",
    "When the API server last sent bytes of a list or watch, bookmarks included, or ended a watch; the oldest time of \
     all watches.",
    &["resource"],
);

static UNDECODABLE: Family = family(
    Kind::Gauge,
    "sidewatch_undecodable_objects",
    "Objects that cannot be decoded now. They are not evaluated.",
    &["resource"],
);

/// Writes the state of the watches.
pub(super) fn write_watches(encoder: &mut Encoder<'_>, health: &Health) {
    let mut watches: BTreeMap<&str, (bool, Option<f64>)> = BTreeMap::new();
    for monitor in &health.monitors {
        let (synced, oldest) = watches.entry(monitor.resource.as_str()).or_insert((true, None));
        *synced &= monitor.is_in_sync();
        let activity = monitor
            .pulse
            .last_activity()
            .map(|at| at.as_duration().as_secs_f64());
        *oldest = match (*oldest, activity) {
            (Some(oldest), Some(activity)) => Some(oldest.min(activity)),
            (oldest, activity) => oldest.or(activity),
        };
    }
    let mut synced = encoder.family(&WATCH_SYNCED);
    for (resource, (is_synced, _)) in &watches {
        synced.add([resource], f64::from(u8::from(*is_synced)));
    }
    let mut undecodable: BTreeMap<&str, usize> = BTreeMap::new();
    for monitor in &health.monitors {
        *undecodable.entry(monitor.resource.as_str()).or_default() += monitor.undecodable();
    }
    let mut family = encoder.family(&UNDECODABLE);
    for (resource, objects) in undecodable {
        family.add([resource], f64::from(u32::try_from(objects).unwrap_or(u32::MAX)));
    }
    let mut activity = encoder.family(&WATCH_ACTIVITY);
    for (resource, (_, oldest)) in &watches {
        if let Some(oldest) = oldest {
            activity.add([resource], *oldest);
        }
    }
}
