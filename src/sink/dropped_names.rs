//! The names of dropped Events. A recovery is dropped too if all Events of its fault were. No I/O.

use std::collections::{HashMap, VecDeque};

use crate::{domain::hash::stable_hash, telemetry::metrics::DropReason};

/// Maximum number of names of dropped Events, about 30 bytes each.
const DROPPED_NAMES: usize = 16_384;

/// Names of dropped Events that announced a violation, as hashes, oldest first.
#[derive(Debug, Default)]
pub(super) struct DroppedNames {
    reasons: HashMap<u64, DropReason>,
    order: VecDeque<u64>,
}

impl DroppedNames {
    pub(super) fn insert(&mut self, name: &str, reason: DropReason) {
        let hash = stable_hash([name.as_bytes()]);
        if self.reasons.insert(hash, reason).is_some() {
            return;
        }
        self.order.push_back(hash);
        while self.order.len() > DROPPED_NAMES {
            if let Some(oldest) = self.order.pop_front() {
                self.reasons.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<DropReason> {
        self.reasons.remove(&stable_hash([name.as_bytes()]))
    }
}
