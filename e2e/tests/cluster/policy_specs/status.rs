//! The status subresource: writes and server-side apply.

use super::plane;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sidewatch::api::{
    CheckName, CheckStatus, ImageStatus, MAX_DETAIL, MAX_IMAGES, MAX_REPOSITORY, MAX_VERSION, MAX_VERSIONS,
    MAX_VIOLATIONS, PolicyStatus, Severity, SidecarPolicy, SidecarPolicySpec, Summary, VersionStatus,
    Violation, ViolationState,
};
use sidewatch::kubernetes::decode::custom::Checked;

const MANAGER: &str = "sidewatch";

/// Creates a policy in a new namespace, and returns the policies of the namespace.
async fn policy(prefix: &str) -> Api<SidecarPolicy> {
    let (plane, client) = plane().await;
    let namespace = plane.namespace(prefix).await.unwrap();
    let api = Api::namespaced(client, &namespace);
    let policy = SidecarPolicy::new("mesh", SidecarPolicySpec::default());
    api.create(&PostParams::default(), &policy).await.unwrap();
    api
}

/// Writes a status as the operator does.
async fn apply(api: &Api<SidecarPolicy>, status: &PolicyStatus) -> kube::Result<SidecarPolicy> {
    let patch = json!({ "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy", "status": status });
    api.patch_status("mesh", &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch))
        .await
}

fn time() -> Time {
    Time("2026-01-02T03:04:05Z".parse().unwrap())
}

fn condition(type_: &str, status: &str, message: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: "Evaluating".into(),
        message: message.into(),
        last_transition_time: time(),
        observed_generation: Some(1),
    }
}

/// A violation with the maximum lengths of the schema.
fn violation() -> Violation {
    Violation {
        check: CheckName::OomKilled,
        state: ViolationState::Firing,
        severity: Severity::Critical,
        namespace: "n".repeat(63),
        workload: format!("{}/{}", "K".repeat(63), "w".repeat(253)),
        pod: "p".repeat(253),
        pod_uid: "u".repeat(128),
        container: "c".repeat(63),
        image: "i".repeat(MAX_REPOSITORY),
        native: true,
        since: time(),
        detail: "ä".repeat(MAX_DETAIL),
    }
}

/// An image with the maximum lengths of the schema.
fn image() -> ImageStatus {
    let version = VersionStatus {
        version: "1".repeat(MAX_VERSION),
        pods: i32::MAX.unsigned_abs(),
    };
    ImageStatus {
        repository: "r".repeat(MAX_REPOSITORY),
        versions: vec![version; MAX_VERSIONS],
        versions_omitted: 1,
    }
}

fn full_status() -> PolicyStatus {
    PolicyStatus {
        observed_generation: Some(1),
        conditions: vec![
            condition("Ready", "True", ""),
            condition("SidecarsHealthy", "False", "2 of 44 sidecars fail"),
        ],
        summary: Some(Summary {
            pods: 42,
            sidecars: 44,
            mains: 42,
            firing: 20,
            pending: 1,
            without_readiness_probe: 3,
        }),
        checks: vec![
            CheckStatus {
                check: CheckName::NotReady,
                firing: 0,
                pending: 1,
            },
            CheckStatus {
                check: CheckName::OomKilled,
                firing: 20,
                pending: 0,
            },
        ],
        violations: vec![violation(); MAX_VIOLATIONS],
        violations_omitted: 1,
        images: vec![image(); MAX_IMAGES],
        images_omitted: 1,
    }
}

#[tokio::test]
async fn the_status_is_written_and_read_back_as_it_is() {
    let api = policy("status").await;
    let written = apply(&api, &full_status()).await.unwrap();
    assert_eq!(written.status.as_ref(), Some(&full_status()));
    assert_eq!(
        written.metadata.generation,
        Some(1),
        "a status is no change of the spec"
    );

    let again = apply(&api, &full_status()).await.unwrap();
    assert_eq!(
        again.resource_version(),
        written.resource_version(),
        "the same status again is no write"
    );

    let healthy = PolicyStatus {
        conditions: vec![condition("Ready", "True", "")],
        violations: Vec::new(),
        checks: Vec::new(),
        violations_omitted: 0,
        images: Vec::new(),
        images_omitted: 0,
        ..full_status()
    };
    let stored = apply(&api, &healthy).await.unwrap();
    assert_eq!(stored.status, Some(healthy), "removed fields are gone");
}

#[tokio::test]
async fn a_status_out_of_bounds_is_rejected() {
    type Spoil = fn(&mut PolicyStatus);
    let api = policy("bounds").await;
    #[rustfmt::skip]
    let rows: [(Spoil, &str, &str); 7] = [
        (|s| s.violations.push(violation()), "violations", "must have at most 20 items"),
        (|s| s.violations[0].detail.push('x'), "violations[0].detail", "may not be more than 1024"),
        (|s| s.violations[1].pod.push('x'), "violations[1].pod", "may not be more than 253"),
        (|s| s.conditions[0].reason.clear(), "conditions[0].reason", "should be at least 1 chars long"),
        (|s| s.conditions[0].status = "Maybe".into(), "conditions[0].status", "\"True\", \"False\""),
        (|s| s.checks[0].firing = u32::MAX, "checks[0].firing", "less than or equal to 2147483647"),
        (|s| s.observed_generation = Some(-1), "observedGeneration", "greater than or equal to 0"),
    ];
    for (spoil, field, says) in rows {
        let mut status = full_status();
        spoil(&mut status);
        let error = apply(&api, &status).await.expect_err(field).to_string();
        // Kubernetes 1.30 has no prefix and other words.
        let error = error.replace("may not be longer than", "may not be more than");
        assert!(error.contains(field) && error.contains(says), "{field}: {error}");
    }
}

/// The rules by which operators detect other installations and remove what they have left.
#[tokio::test]
async fn each_field_manager_has_an_entry_until_it_applies_nothing() {
    let api = policy("managers").await;
    let apply_as = async |manager: &str, status: Option<&PolicyStatus>| {
        let mut patch = json!({ "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy" });
        if let Some(status) = status {
            patch["status"] = json!(status);
        }
        let params = PatchParams::apply(manager).force();
        api.patch_status("mesh", &params, &Patch::Apply(patch))
            .await
            .unwrap()
    };
    let entries = |policy: &SidecarPolicy| -> Vec<(String, Option<Time>)> {
        let entries = policy.metadata.managed_fields.iter().flatten();
        let status = entries.filter(|entry| entry.subresource.as_deref() == Some("status"));
        status
            .map(|entry| (entry.manager.clone().unwrap(), entry.time.clone()))
            .collect()
    };
    let time = |policy: &SidecarPolicy, manager: &str| {
        let entries = entries(policy);
        let entry = entries.into_iter().find(|(name, _)| name == manager);
        entry.map(|(_, time)| time)
    };
    let (one, other) = ("sidewatch:a/sidewatch", "sidewatch:b/sidewatch");
    // Times have whole seconds.
    let next_second = || tokio::time::sleep(std::time::Duration::from_millis(1100));

    let first = apply_as(one, Some(&full_status())).await;
    next_second().await;
    let second = apply_as(other, Some(&full_status())).await;
    assert_ne!(
        second.resource_version(),
        first.resource_version(),
        "the same status, by another manager, is a write"
    );
    assert_eq!(second.status, first.status);
    assert_eq!(time(&second, one), time(&first, one));
    assert_eq!(
        time(&second, other),
        Some(None),
        "an entry, without a time because the apply changed no value"
    );

    next_second().await;
    let changed = PolicyStatus {
        conditions: vec![condition("Ready", "False", "another message")],
        ..full_status()
    };
    let third = apply_as(one, Some(&changed)).await;
    assert_ne!(time(&third, one), time(&first, one), "each change has its time");
    assert_eq!(
        time(&third, other),
        time(&second, other),
        "overwritten fields do not change the time of their former owner"
    );
    assert_eq!(
        third.status.as_ref().unwrap().conditions.len(),
        2,
        "the other manager keeps the condition that this one no longer applies"
    );

    let fourth = apply_as(other, None).await;
    let managers: Vec<String> = entries(&fourth).into_iter().map(|(name, _)| name).collect();
    assert_eq!(managers, [one], "a manager that applies nothing has no entry");
    assert_eq!(
        fourth.status,
        Some(changed),
        "and what only it has applied is gone"
    );
}

/// Data of another version of the operator or the CRDs must not hide a policy or others.
#[tokio::test]
async fn objects_of_other_versions_are_read_one_by_one() {
    let api = policy("versions").await;
    apply(&api, &full_status()).await.unwrap();
    let stored: Value = serde_json::to_value(api.get("mesh").await.unwrap()).unwrap();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut object = stored.clone();
        change(&mut object);
        let guard: Checked<SidecarPolicy> = serde_json::from_value(object).unwrap();
        guard.0.map_err(Box::new)
    };

    let newer = read(&|object| {
        object["spec"]["fromTheFuture"] = json!({ "a": 1 });
        object["status"]["violations"][0]["check"] = json!("FromTheFuture");
        object["status"]["checks"][0]["check"] = json!("FromTheFuture");
        object["status"]["summary"] = json!({ "pods": 1 });
        object["status"]["fromTheFuture"] = json!([]);
    });
    let newer = newer.expect("unknown fields, and an unreadable status, do not hide the spec");
    let status = newer.status.unwrap();
    assert_eq!(
        status.violations.len(),
        MAX_VIOLATIONS - 1,
        "what can be read is read"
    );
    assert_eq!((status.checks.len(), status.summary), (1, None));

    let unknown_mode = read(&|object| object["spec"]["mode"] = json!("Loud"));
    let error = unknown_mode.expect_err("an unknown mode is this object's error");
    assert!(error.to_string().contains("Loud"), "{error}");
    assert_eq!(
        error.metadata.name.as_deref(),
        Some("mesh"),
        "with the name of the object"
    );
}
