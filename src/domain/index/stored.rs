//! The violations under one policy that an earlier operator process stored, in the status of the policy and in a
//! checkpoint.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use crate::domain::{
    checkpoint::{PodKey, PolicyState, ViolationId, ViolationState},
    violation::StoredViolation,
};

/// Stored violations that no Pod has adopted yet.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// From the status.
    pub(super) status: Vec<StoredViolation>,
    /// From a checkpoint, by the UID of the Pod or the name of the workload.
    checkpoint: HashMap<Arc<str>, Vec<FromCheckpoint>>,
}

/// A violation in a checkpoint.
#[derive(Debug)]
pub(super) struct FromCheckpoint {
    pub(super) id: ViolationId,
    pub(super) state: ViolationState,
    /// The time of the checkpoint's data.
    pub(super) as_of: Timestamp,
}

impl Stored {
    pub(super) fn from_status(status: Vec<StoredViolation>) -> Self {
        Self {
            status,
            checkpoint: HashMap::new(),
        }
    }

    /// Sets the violations of a checkpoint. Those of an earlier checkpoint are replaced.
    pub(super) fn set_checkpoint(&mut self, policy: PolicyState) {
        self.checkpoint.clear();
        for (id, state) in policy.violations {
            self.checkpoint
                .entry(object(&id.pod))
                .or_default()
                .push(FromCheckpoint {
                    id,
                    state,
                    as_of: policy.as_of,
                });
        }
    }

    /// Removes and returns the violations of a Pod from the checkpoint.
    pub(super) fn take_checkpoint(&mut self, uid: &str) -> Vec<FromCheckpoint> {
        self.checkpoint.remove(uid).unwrap_or_default()
    }

    /// Removes and returns the violation of a workload or an image from the checkpoint.
    pub(super) fn take_subject(&mut self, id: &ViolationId) -> Option<ViolationState> {
        let stored = self.checkpoint.get_mut(&object(&id.pod))?;
        let position = stored.iter().position(|stored| stored.id == *id)?;
        Some(stored.swap_remove(position).state)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.status.is_empty() && self.checkpoint.is_empty()
    }
}

/// The UID of a Pod, or the namespace and name of a workload.
fn object(key: &PodKey) -> Arc<str> {
    if key.uid.is_empty() {
        format!("{}/{}", key.namespace, key.name).into()
    } else {
        Arc::clone(&key.uid)
    }
}
