//! OOM kills whose violation has ended, for the metrics. A violation can fire for a shorter time than the scrape interval:
//! `keepFiringFor` is short, or the Pod ends. Prometheus must see it nevertheless, because an OOM kill has no Event of
//! Kubernetes and leaves no other series.

use std::{collections::VecDeque, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::series::{SeriesKey, WorkloadCounts, series_key};
use crate::domain::{
    observation::Observation, policy::Check, time::later, tracker::Tracked, violation::Violation,
};

/// The minimum time for which the metrics show an OOM kill: two scrapes at the default interval of Prometheus, one minute.
const SHOWN_FOR: SignedDuration = SignedDuration::from_mins(2);
/// The maximum number of kills of one policy. A new kill replaces the oldest one.
const LIMIT: usize = 1_000;

/// The recent OOM kills under one policy whose violations have ended, in the order in which they ended. The counts of the
/// policy include them.
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
        counts: &mut WorkloadCounts,
    ) {
        let Some(since) = tracked.firing_since.filter(|_| tracked.check == Check::OOMKilled) else {
            return;
        };
        let until = later(since, SHOWN_FOR);
        self.expire(now, counts);
        let Some(series) = series_key(pod, usize::from(tracked.container), violation).filter(|_| until > now)
        else {
            return;
        };
        self.forget(pod, tracked, counts);
        if self.0.len() == LIMIT
            && let Some(oldest) = self.0.pop_front()
        {
            counts.subtract(oldest.series, 1);
        }
        counts.add(series.clone(), 1);
        self.0.push_back(Kill {
            until,
            pod_uid: Arc::clone(&pod.uid),
            container: tracked.container,
            series,
        });
    }

    /// Removes the earlier kill of a container, because its violation fires again.
    pub(super) fn forget(&mut self, pod: &Observation, tracked: &Tracked, counts: &mut WorkloadCounts) {
        if tracked.check == Check::OOMKilled {
            self.remove(counts, |kill| {
                kill.pod_uid == pod.uid && kill.container == tracked.container
            });
        }
    }

    /// Removes the kills that the metrics have shown for long enough.
    pub(super) fn expire(&mut self, now: Timestamp, counts: &mut WorkloadCounts) {
        self.remove(counts, |kill| kill.until <= now);
    }

    fn remove(&mut self, counts: &mut WorkloadCounts, is_gone: impl Fn(&Kill) -> bool) {
        self.0.retain(|kill| {
            let stays = !is_gone(kill);
            if !stays {
                counts.subtract(kill.series.clone(), 1);
            }
            stays
        });
    }

    /// Adds the kills to a recount.
    #[cfg(test)]
    pub(super) fn count(&self, counts: &mut WorkloadCounts) {
        for kill in &self.0 {
            counts.add(kill.series.clone(), 1);
        }
    }
}
