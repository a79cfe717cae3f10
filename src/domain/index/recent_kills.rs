//! OOM kills whose violation has ended, for the metrics. A violation can fire for a shorter time than the scrape interval:
//! `keepFiringFor` is short, or the Pod ends. Prometheus must see it nevertheless, because an OOM kill has no Event of
//! Kubernetes and leaves no other series.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::series::{SeriesKey, series_key};
use crate::domain::{
    observation::Observation, policy::Check, time::later, tracker::Tracked, violation::Violation,
};

/// The minimum time for which the metrics show an OOM kill: two scrapes at the default interval of Prometheus, one minute.
const SHOWN_FOR: SignedDuration = SignedDuration::from_mins(2);
/// The maximum number of kills of one policy. A new kill replaces the oldest one.
const LIMIT: usize = 1_000;

/// The recent OOM kills under one policy whose violations have ended, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct RecentKills(VecDeque<Kill>);

#[derive(Debug)]
struct Kill {
    /// The end of the time in which the metrics show it.
    until: Timestamp,
    pod_uid: Arc<str>,
    container: u16,
    series: SeriesKey,
}

impl RecentKills {
    /// Adds a violation that has ended at `now`, if it is an OOM kill that the metrics have not shown for long enough.
    pub(super) fn keep(
        &mut self,
        pod: &Observation,
        tracked: &Tracked,
        violation: &Violation,
        now: Timestamp,
    ) {
        let Some(since) = tracked.firing_since.filter(|_| tracked.check == Check::OOMKilled) else {
            return;
        };
        let until = later(since, SHOWN_FOR);
        self.0.retain(|kill| kill.until > now);
        let Some(series) = series_key(pod, usize::from(tracked.container), violation).filter(|_| until > now)
        else {
            return;
        };
        self.forget(pod, tracked);
        if self.0.len() == LIMIT {
            self.0.pop_front();
        }
        self.0.push_back(Kill {
            until,
            pod_uid: Arc::clone(&pod.uid),
            container: tracked.container,
            series,
        });
    }

    /// Removes the earlier kill of a container, because its violation fires again.
    pub(super) fn forget(&mut self, pod: &Observation, tracked: &Tracked) {
        if tracked.check == Check::OOMKilled {
            self.0
                .retain(|kill| kill.pod_uid != pod.uid || kill.container != tracked.container);
        }
    }

    /// The number of Pods by series, of the kills that the metrics still show.
    pub(super) fn counts(&self, now: Timestamp) -> BTreeMap<&SeriesKey, u32> {
        let mut counts = BTreeMap::new();
        for kill in self.0.iter().filter(|kill| kill.until > now) {
            *counts.entry(&kill.series).or_default() += 1;
        }
        counts
    }
}
