//! Helpers for the tests of the domain: Pods as a kubelet reports them, policies as the API server completes them, and a
//! [`Harness`] around the index with a virtual clock.

mod exemption;
mod harness;
mod pod;
mod policy;

use jiff::{SignedDuration, Timestamp};

pub(crate) use self::{
    exemption::{edited_exemption, exemption, exemption_key},
    harness::{Harness, lines},
    pod::{Pod, unready_since, web, web_named},
    policy::{
        cluster_key, invalid, key, key_in, one_of, only, policy, policy_update, stored, stored_about,
        undecodable, violation,
    },
};

/// A change of a Pod.
pub(crate) type Step = fn(Pod) -> Pod;

/// The instant this many seconds after the start of a test.
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
