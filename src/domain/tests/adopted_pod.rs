//! Adoption by UID: a stored violation continues only for the Pod that it was stored for, whatever the clocks showed.

use std::sync::Arc;

use crate::domain::{
    policy::Check,
    testing::{Harness, Pod, at, key, policy, stored, web},
    violation::{StoredViolation, SubjectKey},
};

/// A stored violation with onset 500, of the Pod with this UID.
fn stored_for(of: Option<&str>) -> StoredViolation {
    let mut violation = stored(Check::NotReady, "envoy", true, 500);
    let SubjectKey::Container { uid, .. } = &mut violation.key.subject else {
        panic!("a violation of a container");
    };
    *uid = of.map(Arc::from);
    violation
}

#[test]
fn a_violation_is_adopted_only_by_the_pod_with_its_uid() {
    let pod = |uid: &str, created| {
        web()
            .unready("envoy")
            .with(|pod| (pod.uid, pod.created) = (uid.into(), Some(at(created)).into()))
    };
    let table: [(Option<&str>, Pod, bool, &str); 5] = [
        (Some("u-1"), pod("u-1", 0), true, "the same Pod"),
        (
            Some("u-1"),
            pod("u-1", 503),
            true,
            "the same Pod, created by a clock that was ahead",
        ),
        (
            Some("u-1"),
            pod("u-2", 497),
            false,
            "its successor, created by a clock that was behind",
        ),
        (None, pod("u-1", 0), true, "a status without UIDs, of version 0.1"),
        (
            None,
            pod("u-1", 503),
            false,
            "a status without UIDs, and a younger Pod",
        ),
    ];
    for (uid, pod, is_adopted, why) in table {
        let mut harness = Harness::starting();
        harness.at(1000);
        harness.policy_as(
            key("mesh"),
            Ok(policy().only(Check::NotReady)),
            vec![stored_for(uid)],
        );
        harness.resync([&pod]);
        let onset = harness.onset("envoy", Check::NotReady);
        assert_eq!(onset == Some(500.0), is_adopted, "{why}: {onset:?}");
        assert_eq!(harness.events().is_empty(), is_adopted, "{why}");
    }
}
