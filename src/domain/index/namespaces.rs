//! Applies the labels of namespaces, which select the Pods of `ClusterSidecarPolicy` objects.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::{Index, work::Work};
use crate::domain::{effects::Effects, observation::NamespaceMetadata};

impl Index {
    /// Applies the labels and annotations of a namespace.
    pub fn apply_namespace(
        &mut self,
        name: &Arc<str>,
        metadata: Arc<NamespaceMetadata>,
        now: Timestamp,
    ) -> Effects {
        if let Some(seen) = &mut self.watches.namespaces_seen {
            seen.insert(name.clone());
        }
        let entry = self.namespaces.entry(name.clone()).or_default();
        if entry.metadata.as_ref() == Some(&metadata) {
            return Effects::default();
        }
        entry.metadata = Some(metadata);
        self.work.push(Work::Namespace(Arc::clone(name)));
        self.work(now)
    }

    /// Removes the labels of a namespace. Then only an empty selector matches the namespace.
    pub fn delete_namespace(&mut self, name: &str, now: Timestamp) -> Effects {
        self.remove_metadata(name);
        self.work(now)
    }

    fn remove_metadata(&mut self, name: &str) {
        let Some(entry) = self.namespaces.get_mut(name) else {
            return;
        };
        entry.metadata = None;
        if entry.pods.is_empty() {
            self.namespaces.remove(name);
        } else {
            self.work.push(Work::Namespace(name.into()));
        }
    }

    /// Starts a list of namespaces.
    pub fn begin_namespace_resync(&mut self) {
        self.watches.namespaces_seen = Some(HashSet::new());
    }

    /// Completes a list of namespaces. After the first one, `ClusterSidecarPolicy` objects with a namespace selector begin
    /// to match.
    pub fn finish_namespace_resync(&mut self, now: Timestamp) -> Effects {
        let seen = self.watches.namespaces_seen.take().unwrap_or_default();
        let known = self
            .namespaces
            .iter()
            .filter(|(_, entry)| entry.metadata.is_some());
        let gone: Vec<Arc<str>> = known
            .filter(|(name, _)| !seen.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            self.remove_metadata(name);
        }
        if !self.watches.namespaces_synced {
            for name in self.namespaces.keys() {
                self.work.push(Work::Namespace(Arc::clone(name)));
            }
            self.work.push(Work::NamespacesSynced);
        }
        self.work(now)
    }

    /// Lets policies that depend on namespaces have a status.
    pub(super) fn finish_first_namespaces(&mut self, effects: &mut Effects) {
        self.watches.namespaces_synced = true;
        let waiting = self.policies.values().filter(|policy| policy.needs_namespaces());
        effects.changed.extend(waiting.map(|policy| policy.key.clone()));
    }
}
