//! Policies: every stored object becomes a policy or an error message, and does not affect other policies.

use serde_json::{Value, json};
use sidewatch::{
    api::{ClusterSidecarPolicy, SidecarPolicy},
    domain::{
        observation::Observation,
        policy::{InvalidSpec, PolicyKind, PolicyUpdate},
    },
    kubernetes::{
        decode::{
            custom::Checked,
            intern::Interner,
            object::{Decoded, from_json},
            pod::observe,
            policy::{PolicyObject, policy_update},
        },
        watch::WatchEvent,
    },
};

use crate::kubelet::{Kind, Pod, RestartPolicy};

use super::{
    checked_index::{CheckedIndex, Input, policy},
    lines,
};

/// Creates, edits and deletes policies. Another policy must not be affected.
pub fn policies(data: &[u8]) {
    let other = policy("unedited", &json!({"checks": {"notReady": {"for": "1m"}}}));
    let mut index = CheckedIndex::new(std::slice::from_ref(&other));
    let mut alone = CheckedIndex::new(std::slice::from_ref(&other));
    let pods = examples();
    for pod in &pods {
        index.take(&Input::Pod(pod));
        alone.take(&Input::Pod(pod));
    }
    for line in lines(data) {
        let Ok(json) = serde_json::from_str::<Value>(line.json) else {
            continue;
        };
        let update = if json["kind"] == "ClusterSidecarPolicy" {
            decode::<ClusterSidecarPolicy>(&json)
        } else {
            decode::<SidecarPolicy>(&json)
        };
        let Some(update) = update.filter(|update| update.key != other.key) else {
            continue;
        };
        index.pass(line.seconds);
        alone.pass(line.seconds);
        if line.deleted {
            index.take(&Input::PolicyDeleted(&update.key));
        } else {
            let before = index.report(&update.key);
            index.take(&Input::Policy(&update));
            let is_invalid =
                matches!(&update.spec, Err(error) if !matches!(error, InvalidSpec::Undecodable(_)));
            if let Some(before) = before.filter(|_| is_invalid) {
                let after = index.report(&update.key).unwrap();
                assert_eq!(
                    before.summary, after.summary,
                    "an invalid version changes the evaluation"
                );
                assert_eq!(
                    before.violations, after.violations,
                    "an invalid version changes the violations"
                );
            }
        }
        assert_eq!(
            index.report(&other.key),
            alone.report(&other.key),
            "a policy affects another: {json}"
        );
    }
    index.pass(7200);
    index.empty(&pods);
}

/// Decodes an object as the watch does. An object with an identity is a policy, whatever else it contains: with its spec, or
/// with the error.
fn decode<K: PolicyObject>(json: &Value) -> Option<PolicyUpdate> {
    let decoded: Decoded<Checked<K>> = from_json(json.to_string().as_bytes());
    let object = match WatchEvent::Applied(decoded).readable() {
        (Some(WatchEvent::Applied(object)), _) => Some(object),
        _ => None,
    };
    let update = object.and_then(|object| policy_update(&object).ok());
    let is_text = |field: &str| {
        json["metadata"][field]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    let needed: &[&str] = match K::KIND {
        PolicyKind::SidecarPolicy => &["name", "uid", "namespace"],
        PolicyKind::ClusterSidecarPolicy => &["name", "uid"],
    };
    let is_lost = update.is_none() && needed.iter().all(|field| is_text(field));
    assert!(!is_lost, "an object with an identity is no policy: {json}");
    if let Err(error) = &update.as_ref()?.spec {
        let message = error.to_string();
        assert!(!message.is_empty() && message.len() < 100_000, "{message}");
    }
    update
}

/// Returns two Pods with several faults, and one Pod without a fault. They fail five minutes before the first line.
fn examples() -> Vec<Observation> {
    let (created, failed) = (85_200, 85_500);
    let pod = |name: &str, containers: &[(Kind, &str)]| {
        let pod = Pod::new("pay", name, created).restart_policy(RestartPolicy::OnFailure);
        let add = |pod: Pod, (kind, name): &(Kind, &str)| pod.container(*kind, name, name);
        containers.iter().fold(pod, add)
    };
    let web = [
        (Kind::Native, "istio-proxy"),
        (Kind::Regular, "app"),
        (Kind::Regular, "helper"),
    ];
    let web = pod("web-1", &web).label("team", "a");
    let web = web.ready("istio-proxy", false, failed);
    let web = web.restarted("helper", 4, failed).backs_off("helper", failed);
    let job = pod("job-1", &[(Kind::Regular, "main"), (Kind::Regular, "fluent-bit")]);
    let job = job.oom_killed("fluent-bit", failed).exits("main", 0, failed);
    let fine = pod("fine-1", &[(Kind::Regular, "app"), (Kind::Regular, "envoy")]);
    let mut interner = Interner::default();
    let decoded = [web, job, fine].map(|pod| serde_json::from_value(pod.object()).unwrap());
    decoded.map(|pod| observe(pod, &mut interner).unwrap()).into()
}
