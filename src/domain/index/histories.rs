//! The limit on the restarts and flaps in the histories of a namespace. Without it, Pods that restart and flap as fast as
//! they can would take memory up to the limit of each of their containers, and there can be many containers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Index, pods::PodId};
use crate::domain::history::{Extent, History};

/// The maximum number of entries in the histories of one namespace. They take at most 4 MiB.
pub(crate) const MAX_ENTRIES_PER_NAMESPACE: usize = 20_000;

/// The number of entries in the histories.
#[derive(Debug, Default)]
pub(super) struct Histories {
    namespaces: HashMap<Arc<str>, Entries>,
    /// The number of entries that were removed because of the limit.
    pub(super) dropped: u64,
}

/// The entries in the histories of a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entries {
    count: usize,
    /// The Pods that have entries.
    pods: HashMap<PodId, Extent>,
    /// The same Pods by the time of their oldest entry.
    by_age: BTreeSet<(Timestamp, PodId)>,
}

impl Histories {
    /// Sets the entries of a Pod.
    pub(super) fn set(&mut self, namespace: &Arc<str>, id: PodId, extent: Option<Extent>) {
        if extent.is_none() && !self.namespaces.contains_key(namespace) {
            return;
        }
        let entries = self.namespaces.entry(Arc::clone(namespace)).or_default();
        let before = match extent {
            Some(extent) => entries.pods.insert(id, extent),
            None => entries.pods.remove(&id),
        };
        if before == extent {
            return;
        }
        if let Some(before) = before {
            entries.count = entries.count.saturating_sub(before.count);
            entries.by_age.remove(&(before.oldest, id));
        }
        if let Some(extent) = extent {
            entries.count += extent.count;
            entries.by_age.insert((extent.oldest, id));
        } else if entries.pods.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// The Pod with the oldest entry of a namespace that has too many.
    fn excess(&self, namespace: &str) -> Option<PodId> {
        let entries = self.namespaces.get(namespace)?;
        let oldest = entries.by_age.first().map(|(_, id)| *id);
        oldest.filter(|_| entries.count > MAX_ENTRIES_PER_NAMESPACE)
    }
}

impl Index {
    /// Counts the entries in the history of a Pod again after it has changed, and removes the oldest entries of a namespace
    /// that has too many.
    pub(super) fn count_history(&mut self, id: PodId) {
        let Some(pod) = self.pods.get(&id) else { return };
        let namespace = Arc::clone(&pod.observation.namespace);
        let extent = pod.history.as_deref().and_then(History::extent);
        self.histories.set(&namespace, id, extent);
        while let Some(oldest) = self.histories.excess(&namespace) {
            let pod = self.pods.get_mut(&oldest);
            let history = pod.and_then(|pod| pod.history.as_deref_mut());
            self.histories.dropped += 1;
            let rest = history.and_then(|history| {
                history.drop_oldest();
                history.extent()
            });
            self.histories.set(&namespace, oldest, rest);
        }
    }
}

#[cfg(test)]
impl Index {
    /// Panics if the counts differ from a recount, or if a namespace has too many entries.
    pub(super) fn assert_histories(&self) {
        let mut recount = Histories::default();
        for (id, pod) in &self.pods {
            let extent = pod.history.as_deref().and_then(History::extent);
            recount.set(&pod.observation.namespace, *id, extent);
        }
        assert_eq!(
            self.histories.namespaces, recount.namespaces,
            "entries of histories"
        );
        for (namespace, entries) in &recount.namespaces {
            assert!(entries.count <= MAX_ENTRIES_PER_NAMESPACE, "{namespace}");
        }
    }

    /// The number of entries in the history of a Pod.
    pub(crate) fn history_entries(&self, namespace: &str, uid: &str) -> usize {
        let pod = self.pod_id(namespace, uid).and_then(|id| self.pods.get(&id));
        let extent = pod.and_then(|pod| pod.history.as_deref()?.extent());
        extent.map_or(0, |extent| extent.count)
    }
}
