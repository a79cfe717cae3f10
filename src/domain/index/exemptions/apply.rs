//! Applies updates, deletions and lists of exemptions, and keeps the limits.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{Entry, Exemptions};
use crate::domain::{
    effects::Effects,
    exemption::{
        ExemptionId, ExemptionKey, ExemptionUpdate, MAX_EXEMPTIONS_PER_NAMESPACE, MAX_KNOWN_PER_NAMESPACE,
    },
    index::{
        Index,
        watches::{Scope, covers},
        work::Work,
    },
    time::later,
};

/// The minimum time between two lists that are read because an exemption has taken a place.
const RELIST_PERIOD: SignedDuration = SignedDuration::from_secs(30);

impl Exemptions {
    /// The exemption at a position in the order of its namespace.
    fn at(&self, namespace: &str, position: usize) -> Option<ExemptionId> {
        self.by_namespace.get(namespace)?.values().nth(position).copied()
    }

    /// Whether an exemption is within the limit of its namespace.
    pub(super) fn is_honoured(&self, id: ExemptionId, namespace: &str) -> bool {
        self.honoured(namespace).any(|honoured| honoured == id)
    }

    fn insert(&mut self, update: &ExemptionUpdate) -> ExemptionId {
        let id = ExemptionId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let entry = Entry {
            key: update.key.clone(),
            uid: Arc::clone(&update.uid),
            created: update.created,
            generation: update.generation,
            shown: update.shown.clone(),
            spec: None,
            invalid: None,
            ended: false,
            hidden: BTreeSet::new(),
            began: update.hid.clone(),
        };
        self.by_namespace
            .entry(Arc::clone(&entry.key.namespace))
            .or_default()
            .insert(entry.rank(), id);
        self.ids.insert(entry.key.clone(), id);
        self.entries.insert(id, Box::new(entry));
        id
    }

    fn remove(&mut self, id: ExemptionId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.ids.remove(&entry.key);
        if let Some(spec) = &entry.spec {
            self.ends.remove(&(spec.until, id));
        }
        let namespace = &entry.key.namespace;
        if let Some(ranks) = self.by_namespace.get_mut(namespace) {
            ranks.remove(&entry.rank());
            if ranks.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// Drops the spec of the exemption that has lost its place, and forgets the youngest one above the limit on known ones.
    fn keep_limits(&mut self, namespace: &str, effects: &mut Effects) {
        if let Some(id) = self.at(namespace, MAX_EXEMPTIONS_PER_NAMESPACE)
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.ended = false;
            entry.invalid = None;
            effects.exemptions.insert(entry.key.clone());
            if let Some(spec) = entry.spec.take() {
                self.ends.remove(&(spec.until, id));
            }
        }
        if let Some(id) = self.at(namespace, MAX_KNOWN_PER_NAMESPACE) {
            self.remove(id);
        }
    }

    /// Plans to read the list again if an exemption without its spec has taken a place.
    fn fill_places(&mut self, namespace: &str, now: Timestamp, effects: &mut Effects) {
        let last = self.at(namespace, MAX_EXEMPTIONS_PER_NAMESPACE - 1);
        let Some(entry) = last.and_then(|id| self.entries.get(&id)) else {
            return;
        };
        if entry.spec.is_none() && entry.invalid.is_none() {
            effects.exemptions.insert(entry.key.clone());
            self.relist
                .get_or_insert_with(|| later(self.last_relist, RELIST_PERIOD).max(now));
        }
    }

    /// Ends the wait for a list that has to be read again.
    pub(super) fn take_relist(&mut self, now: Timestamp) -> bool {
        let is_due = self.relist.is_some_and(|at| at <= now);
        if is_due {
            self.relist = None;
            self.last_relist = now;
        }
        is_due
    }
}

impl Index {
    /// Applies a version of an exemption. Returns early if the spec has not changed, for example after a write of the status.
    pub fn apply_exemption(&mut self, update: ExemptionUpdate, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        let key = update.key.clone();
        let known = self.exemptions.ids.get(&key).copied();
        let is_known = known
            .and_then(|id| self.exemptions.entries.get(&id))
            .is_some_and(|entry| entry.uid == update.uid);
        let mut is_changed = false;
        if !is_known {
            if let Some(id) = known {
                self.exemptions.remove(id);
            }
            self.exemptions.insert(&update);
            self.exemptions.keep_limits(&key.namespace, &mut effects);
            effects.exemptions.insert(key.clone());
            is_changed = true;
        }
        if let Some(id) = self.exemptions.ids.get(&key).copied() {
            is_changed |= self.set_spec(id, update, now, &mut effects);
            for (scope, seen) in &mut self.exemptions.seen {
                if covers(scope, &key.namespace) {
                    seen.insert(key.clone());
                }
            }
        }
        if is_changed {
            let namespace = Arc::clone(&key.namespace);
            self.work.push_for(&namespace, Work::Exemptions(key.namespace));
            effects.append(self.work(now));
        }
        effects
    }

    /// Sets the spec of a known exemption. Returns whether it has changed.
    fn set_spec(
        &mut self,
        id: ExemptionId,
        update: ExemptionUpdate,
        now: Timestamp,
        effects: &mut Effects,
    ) -> bool {
        let is_honoured = self.exemptions.is_honoured(id, &update.key.namespace);
        let Some(entry) = self.exemptions.entries.get_mut(&id) else {
            return false;
        };
        if std::mem::replace(&mut entry.generation, update.generation) != update.generation {
            effects.exemptions.insert(update.key);
            entry.shown = update.shown;
        }
        let (spec, invalid) = match update.spec {
            _ if !is_honoured => return false,
            Ok(spec) => (Some(spec), None),
            Err(error) => (None, Some(error)),
        };
        if entry.spec == spec && entry.invalid == invalid {
            return false;
        }
        effects.exemptions.insert(entry.key.clone());
        let until = spec.as_ref().map(|spec| spec.until);
        if let Some(before) = entry.spec.as_ref().map(|spec| spec.until) {
            self.exemptions.ends.remove(&(before, id));
        }
        (entry.spec, entry.invalid) = (spec, invalid);
        let was_ended = std::mem::take(&mut entry.ended);
        match until {
            Some(until) if until > now => {
                if was_ended {
                    entry.began = None;
                }
                self.exemptions.ends.insert((until, id));
            }
            // It ends now, or has ended while no operator ran.
            Some(_) if !was_ended => self.end_exemption(id, now, effects),
            _ => entry.ended = was_ended,
        }
        true
    }

    /// Removes an exemption. The violations that it covered and that still fire are announced.
    pub fn delete_exemption(&mut self, key: &ExemptionKey, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        let Some(id) = self.exemptions.ids.get(key).copied() else {
            return effects;
        };
        self.exemptions.remove(id);
        self.exemptions.fill_places(&key.namespace, now, &mut effects);
        let work = Work::Exemptions(Arc::clone(&key.namespace));
        self.work.push_for(&key.namespace, work);
        effects.append(self.work(now));
        effects
    }

    /// Starts a list of exemptions.
    pub fn begin_exemption_resync(&mut self, scope: &Scope) {
        self.exemptions.seen.insert(scope.clone(), HashSet::new());
    }

    /// Completes a list of exemptions. Those that it does not contain have been deleted. After the first list, the Pods are
    /// evaluated.
    pub fn finish_exemption_resync(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let Some(seen) = self.exemptions.seen.remove(scope) else {
            return effects;
        };
        let known = self.exemptions.ids.keys();
        let mut gone: Vec<ExemptionKey> = known
            .filter(|key| covers(scope, &key.namespace) && !seen.contains(key))
            .cloned()
            .collect();
        gone.sort_unstable();
        for key in &gone {
            effects.append(self.delete_exemption(key, now));
        }
        let now = self.advance_time(now);
        self.end_wait_for_exemptions(scope);
        effects.append(self.work(now));
        effects
    }

    /// Whether an exemption is known.
    pub fn has_exemption(&self, key: &ExemptionKey) -> bool {
        self.exemptions.ids.contains_key(key)
    }

    /// The exemptions that are known.
    pub fn exemptions(&self) -> impl Iterator<Item = &ExemptionKey> {
        self.exemptions.ids.keys()
    }
}
