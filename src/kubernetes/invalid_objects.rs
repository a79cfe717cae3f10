//! The objects of one watch that cannot be decoded or have an invalid spec. Counts them, and tells which errors are new.
//!
//! An entry does not outlive its object: it goes when the object is deleted, becomes valid, or is missing in a list.

use std::collections::HashMap;

use crate::domain::hash::stable_hash;

/// The invalid objects of one watch. Of each, only hashes are kept.
#[derive(Debug, Default)]
pub(super) struct InvalidObjects {
    known: HashMap<u64, Invalid>,
    undecodable: usize,
    /// The number of the current list.
    list: u64,
}

#[derive(Debug)]
struct Invalid {
    error: u64,
    undecodable: bool,
    /// The list that contained the object last.
    list: u64,
}

impl InvalidObjects {
    /// Records an object with an error. Returns whether the error is new for this object.
    pub(super) fn record(&mut self, namespace: &str, name: &str, error: &str, undecodable: bool) -> bool {
        let invalid = Invalid {
            error: stable_hash([error.as_bytes()]),
            undecodable,
            list: self.list,
        };
        let error = invalid.error;
        let before = self.known.insert(key(namespace, name), invalid);
        self.undecodable += usize::from(undecodable);
        self.undecodable -= usize::from(before.as_ref().is_some_and(|known| known.undecodable));
        before.is_none_or(|known| known.error != error)
    }

    /// Removes an object that is valid or deleted.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        // Nearly always there are none.
        if !self.known.is_empty()
            && let Some(known) = self.known.remove(&key(namespace, name))
        {
            self.undecodable -= usize::from(known.undecodable);
        }
    }

    /// Begins a list of all objects.
    pub(super) fn begin_list(&mut self) {
        self.list += 1;
    }

    /// Removes the objects that the list does not contain.
    pub(super) fn end_list(&mut self) {
        self.known.retain(|_, known| known.list == self.list);
        if self.known.is_empty() {
            self.known = HashMap::new();
        }
        self.undecodable = self.known.values().filter(|known| known.undecodable).count();
    }

    /// Returns the number of objects that cannot be decoded.
    pub(super) fn undecodable(&self) -> usize {
        self.undecodable
    }
}

fn key(namespace: &str, name: &str) -> u64 {
    stable_hash([namespace.as_bytes(), name.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_counts_until_it_is_valid_deleted_or_not_listed() {
        let mut objects = InvalidObjects::default();
        assert!(objects.record("a", "x", "bad", true), "new");
        assert!(!objects.record("a", "x", "bad", true), "known");
        assert!(objects.record("a", "x", "worse", true), "another error");
        assert!(objects.record("a", "y", "bad", false), "an invalid spec");
        assert!(objects.record("b", "x", "bad", true), "another namespace");
        assert_eq!(objects.undecodable(), 2);
        objects.record("a", "x", "spec", false);
        assert_eq!(objects.undecodable(), 1, "it can be decoded now");
        objects.remove("b", "x");
        objects.remove("b", "z");
        assert_eq!(objects.undecodable(), 0);

        objects.record("b", "x", "bad", true);
        objects.begin_list();
        objects.record("c", "x", "bad", true);
        assert_eq!(objects.undecodable(), 2, "the list is not complete");
        objects.end_list();
        assert_eq!(objects.undecodable(), 1);
        assert_eq!(objects.known.len(), 1);
    }
}
