//! What the tests of the evaluation are written with: Pods as a kubelet reports them, policies as the API server fills
//! them in, and a [`World`] around the index in which seconds pass.

mod pod;
mod policy;
mod world;

use jiff::{SignedDuration, Timestamp};

pub(crate) use self::{
    pod::{Pod, web},
    policy::{cluster_key, invalid, key, one_of, policy, stored, violation},
    world::{World, story},
};

/// A step in the life of a Pod.
pub(crate) type Step = fn(Pod) -> Pod;

/// The instant `seconds` after the beginning of a test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let beginning: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    beginning + SignedDuration::from_secs(seconds)
}

/// A duration in seconds.
pub(crate) const fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// A duration in minutes.
pub(crate) const fn minutes(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}
