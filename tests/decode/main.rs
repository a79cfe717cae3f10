//! Decoding of Pods. Recorded Pods decode to the same values as with the full type. Unusual Pods decode to
//! documented values, and none of them stops its list. Protobuf decodes to the same values as JSON.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test panics where its expectation fails"
)]

mod mutated;
mod protobuf;
mod public_pods;
mod recorded;
mod unusual;

use std::sync::Arc;

use sidewatch::kubernetes::decode::{
    intern::Interner,
    pod::{LeanPod, observe},
};
use testkit::pods;

#[test]
fn a_meshed_pod_is_as_large_as_real_ones_and_its_other_fields_are_dropped() {
    let text = pods::meshed_pod(7).to_string();
    assert!((16_000..18_000).contains(&text.len()), "{} bytes", text.len());
    let pod: LeanPod = serde_json::from_str(&text).unwrap();
    assert_eq!(pod.metadata.annotations, None, "annotations are not kept");
    assert_eq!(pod.metadata.managed_fields, None, "managedFields are not kept");
    assert_eq!(
        pod.metadata.resource_version.as_deref(),
        Some("7"),
        "the watch continues from this version"
    );
    assert!(!format!("{pod:?}").contains(pods::NEVER_READ), "{pod:?}");
    let observation = observe(pod, &mut Interner::default()).unwrap();
    assert_eq!(observation.workload.to_string(), "Deployment/checkout");
    assert_eq!(
        observation.statuses.iter().flatten().count(),
        4,
        "every container has its status"
    );
}

#[test]
fn pods_of_one_template_share_what_they_have_in_common() {
    let mut interner = Interner::default();
    let mut observe = |number| {
        let pod = serde_json::from_value(pods::meshed_pod(number)).unwrap();
        observe(pod, &mut interner).unwrap()
    };
    let (one, two) = (observe(1), observe(2));
    assert_ne!((&one.name, &one.uid), (&two.name, &two.uid));
    let shared = [
        (Arc::ptr_eq(&one.namespace, &two.namespace), "namespace"),
        (Arc::ptr_eq(&one.labels, &two.labels), "labels"),
        (Arc::ptr_eq(&one.workload, &two.workload), "workload"),
        (Arc::ptr_eq(&one.shape, &two.shape), "shape"),
    ];
    for (is_shared, what) in shared {
        assert!(is_shared, "{what}");
    }
}
