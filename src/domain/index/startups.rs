//! How long sidecars take to start: from the moment at which a sidecar can start until it is started, and until it is ready.
//!
//! A sidecar can start when the container before it in the order of the start is done: for a native sidecar the init
//! container before it, for a classic sidecar the last init container. Without such a container it can start when the
//! sandbox of the Pod is ready.
//!
//! All times are the times at which the index received an update. Only a Pod whose binding to a node was observed counts,
//! and only while its watch works: the others have been seen too late. So a list never counts a Pod, and no Pod counts
//! twice. State exists only for Pods that are starting.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{matches::MatchSet, pods::PodId};
use crate::domain::{
    histogram::Histogram,
    observation::{ContainerKind, Observation},
    roles::Role,
};

/// The maximum number of containers with histograms of their own. The others share one.
pub(crate) const MAX_STARTUP_NAMES: usize = 50;
/// The maximum number of them that are first seen in one namespace, so that no tenant can take all.
pub(crate) const MAX_STARTUP_NAMES_PER_NAMESPACE: usize = 10;
/// The name of the histogram that the other containers share.
const OTHER: &str = "other";
/// The upper bounds of the histograms, from half a second to ten minutes.
pub(crate) const STARTUP_BOUNDS: [f64; 11] =
    [0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// The sidecars that are starting, and the durations of those that have started.
#[derive(Debug, Default)]
pub(super) struct Startups {
    starting: BTreeMap<PodId, Starting>,
    durations: StartupDurations,
}

/// The sidecars of a Pod that are not ready yet.
#[derive(Debug)]
struct Starting {
    /// The Pod was bound to a node.
    bound: Timestamp,
    sidecars: Vec<Sidecar>,
}

/// A sidecar that has not been ready yet.
#[derive(Clone, Copy, Debug)]
struct Sidecar {
    /// Its index in the shape.
    container_idx: u16,
    /// The time at which it could start; `None` while it has to wait.
    could_start: Option<Timestamp>,
    /// It has been started.
    started: bool,
}

/// The durations of starts, by the name of the container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StartupDurations {
    by_container: BTreeMap<Arc<str>, StartupHistograms>,
    /// The number of containers that were first seen in a namespace.
    by_namespace: HashMap<Arc<str>, usize>,
}

/// The durations of the starts of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct StartupHistograms {
    /// Until it was started: its startup probe has succeeded and its postStart hook has returned.
    pub started: Histogram,
    /// Until it was ready.
    pub ready: Histogram,
}

impl Default for StartupHistograms {
    fn default() -> Self {
        Self {
            started: Histogram::new(&STARTUP_BOUNDS),
            ready: Histogram::new(&STARTUP_BOUNDS),
        }
    }
}

impl Startups {
    /// Takes an update of a Pod into account. `is_held` says that its watch is held. `before` is the observation before,
    /// unless the Pod is new.
    pub(super) fn observe(
        &mut self,
        id: PodId,
        (before, next): (Option<&Observation>, &Observation),
        matches: &MatchSet,
        (now, is_held): (Timestamp, bool),
    ) {
        if is_held || next.is_held() || is_over(next) {
            self.starting.remove(&id);
        } else if is_bound_now(before, next) {
            self.begin(id, next, matches, now);
        } else if let Some(starting) = self.starting.get_mut(&id) {
            starting.advance(next, now, &mut self.durations);
            if starting.sidecars.is_empty() {
                self.starting.remove(&id);
            }
        }
    }

    fn begin(&mut self, id: PodId, pod: &Observation, matches: &MatchSet, now: Timestamp) {
        let is_sidecar = |container_idx: &usize| {
            matches
                .iter()
                .any(|matched| matched.roles.of(*container_idx) == Role::Sidecar)
        };
        let sidecars = (0..pod.shape.containers.len())
            .filter(is_sidecar)
            .filter_map(|container_idx| {
                Some(Sidecar {
                    container_idx: u16::try_from(container_idx).ok()?,
                    could_start: None,
                    started: false,
                })
            });
        let mut sidecars: Vec<Sidecar> = sidecars.collect();
        if !sidecars.is_empty() {
            sidecars.shrink_to_fit();
            self.starting.insert(id, Starting { bound: now, sidecars });
        }
    }

    /// Forgets a Pod.
    pub(super) fn remove(&mut self, id: PodId) {
        self.starting.remove(&id);
    }

    /// The durations so far.
    pub(super) fn durations(&self) -> &StartupDurations {
        &self.durations
    }

    /// The Pods that are starting.
    #[cfg(test)]
    pub(super) fn pods(&self) -> impl Iterator<Item = PodId> {
        self.starting.keys().copied()
    }
}

impl Starting {
    fn advance(&mut self, pod: &Observation, now: Timestamp, durations: &mut StartupDurations) {
        let bound = self.bound;
        self.sidecars.retain_mut(|sidecar| {
            let container_idx = usize::from(sidecar.container_idx);
            let Some((container, status)) = pod.container(container_idx) else {
                return true;
            };
            let predecessor = predecessor(pod, container_idx);
            if sidecar.could_start.is_none() {
                sidecar.could_start = match predecessor {
                    // A kubelet may report the sandbox together with its first container.
                    None if status.has_run() => Some(bound),
                    None => pod
                        .conditions
                        .sandbox_ready
                        .is_some_and(|c| c.holds)
                        .then_some(now),
                    Some(_) if status.has_run() => Some(now),
                    Some(before) => is_done(pod, before).then_some(now),
                };
            }
            let Some(since) = sidecar.could_start else {
                return true;
            };
            let duration = now.duration_since(since);
            if (status.started || status.ready) && !sidecar.started {
                sidecar.started = true;
                let histograms = durations.of(&container.name, &pod.namespace);
                histograms.started.observe(duration);
            }
            if status.ready {
                durations
                    .of(&container.name, &pod.namespace)
                    .ready
                    .observe(duration);
            }
            !status.ready
        });
    }
}

impl StartupDurations {
    /// The histograms by the name of the container, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StartupHistograms)> {
        self.by_container
            .iter()
            .map(|(container, histograms)| (&**container, histograms))
    }

    /// The histograms of a container in a namespace.
    fn of(&mut self, container: &Arc<str>, namespace: &Arc<str>) -> &mut StartupHistograms {
        let mut name = Arc::clone(container);
        if !self.by_container.contains_key(&name) {
            let own = self.by_container.len() - usize::from(self.by_container.contains_key(OTHER));
            let of_namespace = self.by_namespace.get(namespace).copied().unwrap_or(0);
            if own < MAX_STARTUP_NAMES && of_namespace < MAX_STARTUP_NAMES_PER_NAMESPACE {
                self.by_namespace.insert(Arc::clone(namespace), of_namespace + 1);
            } else {
                name = OTHER.into();
            }
        }
        self.by_container.entry(name).or_default()
    }
}

/// Whether the Pod was bound to a node with this update, and none of its containers has a status.
fn is_bound_now(before: Option<&Observation>, next: &Observation) -> bool {
    next.scheduled
        && before.is_none_or(|before| !before.scheduled)
        && next.statuses.iter().all(Option::is_none)
}

/// Whether the containers of a Pod do not start any more.
fn is_over(pod: &Observation) -> bool {
    pod.is_ending() || pod.conditions.disruption_target
}

/// The container that has to be done before this one can start.
fn predecessor(pod: &Observation, container_idx: usize) -> Option<usize> {
    let containers = &pod.shape.containers;
    let before = match containers.get(container_idx)?.kind {
        ContainerKind::Native | ContainerKind::Init => container_idx,
        ContainerKind::Regular => containers.partition_point(|c| c.kind != ContainerKind::Regular),
    };
    before.checked_sub(1)
}

fn is_done(pod: &Observation, container_idx: usize) -> bool {
    pod.container(container_idx)
        .is_some_and(|(container, status)| status.is_done(container.kind))
}
