//! A simulated kubelet: the state of a Pod on its node, changed by [`Step`]s, and the status that a real kubelet writes.
//!
//! [`PodState`] does no I/O, reads no clock, and rejects steps that a kubelet never takes, such as a main container that
//! starts before its native sidecar, or a back-off after exit 0 of a native sidecar. It is compared with recordings of a real
//! kubelet (`tests/traces`). `e2e::simulated_kubelet` writes its statuses to an API server; [`Pod`] is for tests with a
//! virtual clock.

mod container;
mod pod;
#[cfg(test)]
mod recorded;
mod spec;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod transitions;

pub use pod::{Pod, at};
pub use spec::{Container, Kind, PodSpec, RestartPolicy};
pub use state::PodState;
pub use step::Step;

/// Adds the fields that have a value.
fn add_fields<const N: usize>(
    object: &mut serde_json::Value,
    fields: [(&str, Option<serde_json::Value>); N],
) {
    for (name, value) in fields {
        if let Some(value) = value {
            object[name] = value;
        }
    }
}
