//! Decodes Pods.

use super::{
    container::{container, container_status},
    metadata::{object_meta, time},
    reader::{Fields, Malformed, Value},
};
use crate::kubernetes::decode::{
    clamp_count,
    container::restart_policy_of,
    pod::{ConditionStatus, ConditionType, LeanCondition, LeanPod, LeanPodStatus, LeanSpec, phase_of},
};

/// Decodes the bytes of a `Pod` message. The result equals that of the JSON decoder for the same Pod.
pub fn decode_pod(bytes: &[u8]) -> Result<LeanPod, Malformed> {
    let mut pod = LeanPod::default();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pod.metadata = object_meta(value.message()?)?,
            2 => pod.spec = spec(value)?,
            3 => pod.status = status(value)?,
            _ => {}
        }
    }
    Ok(pod)
}

fn spec(value: Value<'_>) -> Result<LeanSpec, Malformed> {
    let mut spec = LeanSpec::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => spec.containers.push(container(value.message()?)?),
            3 => spec.restart_policy = restart_policy_of(&value.text()?),
            10 => spec.scheduled = !value.bytes()?.is_empty(),
            11 => spec.host_network = value.boolean()?,
            20 => spec.init_containers.push(container(value.message()?)?),
            _ => {}
        }
    }
    Ok(spec)
}

fn status(value: Value<'_>) -> Result<LeanPodStatus, Malformed> {
    let mut status = LeanPodStatus::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => status.phase = phase_of(&value.text()?),
            2 => status.conditions.push(condition(value)?),
            8 => status
                .container_statuses
                .push(container_status(value.message()?)?),
            10 => status
                .init_container_statuses
                .push(container_status(value.message()?)?),
            _ => {}
        }
    }
    Ok(status)
}

fn condition(value: Value<'_>) -> Result<LeanCondition, Malformed> {
    let mut condition = LeanCondition::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => condition.kind = ConditionType::new(&value.text()?),
            2 => condition.status = ConditionStatus::new(&value.text()?),
            4 => condition.last_transition_time = time(value)?,
            5 => condition.has_reason = !value.bytes()?.is_empty(),
            7 => condition.observed_generation = clamp_count(value.integer()?),
            _ => {}
        }
    }
    Ok(condition)
}
