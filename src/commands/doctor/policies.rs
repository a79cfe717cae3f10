//! The policies: whether they are valid and evaluated, whether they select Pods, whether two report the same, and whether two
//! installations evaluate one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    access::Access,
    api_server::{Server, condition},
    diagnosis::{Code, Diagnosis},
};
use crate::{
    cli::{
        cluster::InForce,
        evaluation::Evaluation,
        exit::{Failure, Interrupted},
        output::first_names,
    },
    domain::policy::{Check, InvalidSpec, Mode, Policy, PolicyKey},
    kubernetes::installation,
};

/// Two installations that have written a status within this time both evaluate the policy.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

pub(super) async fn examine(
    access: &Access<'_>,
    server: &Server,
    has_operator: bool,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let codes = [Code::SD040, Code::SD041, Code::SD042, Code::SD043, Code::SD044];
    if !server.has_crds {
        diagnosis.skip_all(&codes, "the CRDs are not installed");
        return Ok(());
    }
    let mut found = access.cluster.in_force().await?;
    access.cluster.add_exemptions(&mut found).await?;
    let InForce {
        policies,
        exemptions,
        namespaces,
        mut undecodable,
        notes,
    } = found;
    // SD040 names the policies with such a spec.
    undecodable.extend(exemptions.iter().filter_map(|exemption| match &exemption.spec {
        Err(error @ InvalidSpec::Undecodable(_)) => Some(format!("{}: {error}", exemption.key)),
        _ => None,
    }));
    if policies.is_empty() {
        let reason = notes.first().map_or("there are no policies", String::as_str);
        if notes.is_empty() {
            diagnosis.warn(
                Code::SD040,
                "there are no policies, so nothing is reported",
                "create one, as in docs/quickstart.md",
            );
        } else {
            diagnosis.skip(Code::SD040, reason);
        }
        diagnosis.skip_all(&[Code::SD041, Code::SD042, Code::SD043], reason);
        examine_undecodable(&undecodable, diagnosis);
        return Ok(());
    }
    let invalid: Vec<String> = policies
        .iter()
        .filter_map(|policy| Some(format!("{}: {}", policy.key, policy.spec.as_ref().err()?)))
        .collect();
    let count = policies.len();
    examine_statuses(access, server, &invalid, count, has_operator, diagnosis).await?;

    let mut evaluation = Evaluation::new(policies.clone(), namespaces, access.cluster.now());
    if let Err(error) = access.cluster.evaluate(&mut evaluation, None).await {
        if error.is::<Interrupted>() {
            return Err(error);
        }
        diagnosis.skip_all(&[Code::SD041, Code::SD042], &error.to_string());
        examine_undecodable(&undecodable, diagnosis);
        return Ok(());
    }
    let valid = policies.iter().filter(|policy| policy.spec.is_ok());
    examine_pods(valid.map(|policy| &policy.key), &evaluation, diagnosis);
    undecodable.extend_from_slice(&evaluation.undecodable);
    examine_undecodable(&undecodable, diagnosis);
    Ok(())
}

/// The objects that the operator skips.
fn examine_undecodable(undecodable: &[String], diagnosis: &mut Diagnosis) {
    if undecodable.is_empty() {
        diagnosis.ok(Code::SD044, "every object can be decoded");
    } else {
        diagnosis.warn(
            Code::SD044,
            format!("not evaluated: {}", first_names(undecodable)),
            "write the object again, or delete it (docs/runbooks/SidewatchUndecodableObjects.md)",
        );
    }
}

/// The conditions that the operator has written.
async fn examine_statuses(
    access: &Access<'_>,
    server: &Server,
    invalid: &[String],
    count: usize,
    has_operator: bool,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let (mut refused, mut unobserved, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    let now = access.cluster.now();
    let now = now.checked_add(server.ahead.unwrap_or_default()).unwrap_or(now);
    let since = now.checked_sub(RECENT).unwrap_or(now);
    let scope = access.cluster.scope.as_deref();
    let scope = scope
        .map(|name| format!("/namespaces/{name}"))
        .unwrap_or_default();
    for kind in [
        format!("{scope}/sidecarpolicies"),
        "/clustersidecarpolicies".to_owned(),
    ] {
        let listed = access
            .list(&format!("/apis/sidewatch.dev/v1alpha1{kind}"))
            .await?;
        for policy in listed.ok().flatten().unwrap_or_default() {
            let name = name_of(&policy);
            let writers = recent_writers(&policy, since);
            if writers.len() > 1 {
                let writers: Vec<String> = writers.into_iter().map(str::to_owned).collect();
                shared.push(format!("{name} by {}", first_names(&writers)));
            }
            match condition(&policy, "Ready") {
                Some(ready) if ready["status"] == "False" => {
                    refused.push(format!(
                        "{name}: {}",
                        ready["message"].as_str().unwrap_or_default()
                    ));
                }
                Some(ready) if ready["observedGeneration"] == policy["metadata"]["generation"] => {}
                _ => unobserved.push(name),
            }
        }
    }
    if !invalid.is_empty() {
        diagnosis.fail(Code::SD040, first_names(invalid), "correct the policy");
    } else if !refused.is_empty() {
        diagnosis.fail(
            Code::SD040,
            first_names(&refused),
            "correct the policy, or do what its condition says",
        );
    } else if !unobserved.is_empty() && has_operator {
        diagnosis.warn(
            Code::SD040,
            format!(
                "the operator has not written the status of {}",
                first_names(&unobserved)
            ),
            "see SD020 for the leader, SD030 for its rights, and the log of the operator",
        );
    } else {
        diagnosis.ok(Code::SD040, format!("{count} are valid"));
    }
    if shared.is_empty() {
        diagnosis.ok(Code::SD043, "no other installation writes the statuses");
    } else {
        diagnosis.warn(
            Code::SD043,
            format!("written within the last hour: {}", first_names(&shared)),
            "uninstall one of them, or let them watch different namespaces (docs/troubleshooting.md)",
        );
    }
    Ok(())
}

/// Returns the installations that have changed the status of a policy since a time.
fn recent_writers(policy: &Value, since: Timestamp) -> BTreeSet<&str> {
    let entries = policy["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let applied = entries.filter(|entry| entry["operation"] == "Apply" && entry["subresource"] == "status");
    let recent = applied.filter(|entry| {
        let time = entry["time"]
            .as_str()
            .and_then(|time| time.parse::<Timestamp>().ok());
        time.is_some_and(|time| time >= since)
    });
    recent
        .filter_map(|entry| installation::name(entry["manager"].as_str()?))
        .collect()
}

fn name_of(policy: &Value) -> String {
    let text = |field: &str| policy["metadata"][field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => format!("ClusterSidecarPolicy {}", text("name")),
        namespace => format!("SidecarPolicy {namespace}/{}", text("name")),
    }
}

/// The Pods of each policy, and the Pods of two policies.
fn examine_pods<'a>(
    valid: impl Iterator<Item = &'a PolicyKey>,
    evaluation: &Evaluation,
    diagnosis: &mut Diagnosis,
) {
    let mut pods: BTreeMap<&PolicyKey, usize> = valid.map(|key| (key, 0)).collect();
    let mut overlaps: BTreeMap<(&PolicyKey, &PolicyKey), usize> = BTreeMap::new();
    for matched in evaluation.index().matched_pods() {
        let policies = &matched.policies;
        for (number, (key, spec, _)) in policies.iter().enumerate() {
            if let Some(count) = pods.get_mut(*key) {
                *count += 1;
            }
            for (other, other_spec, _) in policies.iter().skip(number + 1) {
                let both = |check: &Check| {
                    let is_used = |spec: &Policy| {
                        let expects = *check != Check::SidecarMissing || !spec.expected.is_empty();
                        expects && spec.mode_of(*check) != Mode::Off
                    };
                    is_used(spec) && is_used(other_spec)
                };
                if Check::ALL.iter().any(both) {
                    let pair = if key < other {
                        (*key, *other)
                    } else {
                        (*other, *key)
                    };
                    *overlaps.entry(pair).or_default() += 1;
                }
            }
        }
    }
    let empty: Vec<String> = pods
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(key, _)| key.to_string())
        .collect();
    if empty.is_empty() {
        diagnosis.ok(Code::SD041, "each policy selects Pods");
    } else {
        diagnosis.warn(
            Code::SD041,
            format!("no Pod is selected by {}", first_names(&empty)),
            "compare podSelector and namespaceSelector with the labels, or delete the policy",
        );
    }
    let overlapping: Vec<String> = overlaps
        .iter()
        .map(|((one, other), count)| format!("{one} and {other} ({count} Pods)"))
        .collect();
    if overlapping.is_empty() {
        diagnosis.ok(Code::SD042, "no two policies report the same");
    } else {
        diagnosis.warn(
            Code::SD042,
            format!(
                "the same checks of the same Pods are on in {}",
                first_names(&overlapping)
            ),
            "each policy reports on its own: turn the checks off in one of them, or exclude the Pods",
        );
    }
}
