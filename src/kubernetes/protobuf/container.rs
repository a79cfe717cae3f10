//! Decodes `Container` of the spec, and `ContainerStatus`.

use super::{
    metadata::{entry, time},
    reader::{Fields, Malformed, Value},
};
use crate::kubernetes::decode::{
    clamp_code, clamp_count,
    container::{
        ExitCode, ExitCodes, LeanContainer, LeanProbe, LeanRule, LeanState, LeanStatus, Lifecycle, Limits,
        ResizePolicy, Resources, Running, Terminated, Waiting, exit_code_operator, is_mesh_port,
        is_restart_action, is_restart_on_resize, restart_policy_of, run_of,
    },
};

/// Decodes a `Container`.
pub(super) fn container(mut fields: Fields<'_>) -> Result<LeanContainer, Malformed> {
    let mut container = LeanContainer::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => container.name = value.string()?,
            2 => container.image = value.string()?,
            8 => container.resources = resources(value)?,
            10 => container.liveness_probe = true,
            11 => container.readiness_probe = Some(probe(value)?),
            12 => container.lifecycle = lifecycle(value)?,
            22 => container.startup_probe = Some(probe(value)?),
            23 => container.resize_policies.push(resize_policy(value)?),
            24 => container.restart_policy = restart_policy_of(&value.text()?),
            25 => container.restart_policy_rules.push(rule(value)?),
            _ => {}
        }
    }
    Ok(container)
}

/// Decodes a `Probe`.
fn probe(value: Value<'_>) -> Result<LeanProbe, Malformed> {
    let mut probe = LeanProbe::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            // ProbeHandler, HTTPGetAction, IntOrString: the name of a port has another field.
            1 => {
                let port = value
                    .field(2)?
                    .map(|http_get| http_get.field(2))
                    .transpose()?
                    .flatten();
                let number = port.map(|port| port.field(2)).transpose()?.flatten();
                let number = number.map(Value::integer).transpose()?;
                probe.http_get.port = number.is_some_and(is_mesh_port);
            }
            2 => probe.initial_delay_seconds = clamp_count(value.integer()?),
            _ => {}
        }
    }
    Ok(probe)
}

fn lifecycle(value: Value<'_>) -> Result<Lifecycle, Malformed> {
    let post_start = value.field(1)?.is_some();
    Ok(Lifecycle { post_start })
}

/// Decodes a `ContainerResizePolicy`.
fn resize_policy(value: Value<'_>) -> Result<ResizePolicy, Malformed> {
    let restart_policy = value.field(2)?.map(Value::text).transpose()?;
    Ok(ResizePolicy {
        restarts: restart_policy.is_some_and(|text| is_restart_on_resize(&text)),
    })
}

/// Decodes the memory limit of `ResourceRequirements`.
fn resources(value: Value<'_>) -> Result<Resources, Malformed> {
    let mut resources = Resources::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let (resource, quantity) = entry(value)?;
        if resource == "memory" {
            let memory = quantity.map(quantity_text).transpose()?;
            resources.limits = Limits { memory };
        }
    }
    Ok(resources)
}

/// Decodes a `Quantity`: a message that contains the number as text.
fn quantity_text(value: Value<'_>) -> Result<String, Malformed> {
    let text = value.field(1)?.map(Value::string).transpose()?;
    Ok(text.unwrap_or_default())
}

/// Decodes a `ContainerRestartRule`.
fn rule(value: Value<'_>) -> Result<LeanRule, Malformed> {
    let mut rule = LeanRule::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => rule.action = is_restart_action(&value.text()?),
            2 => rule.exit_codes = exit_codes(value)?,
            _ => {}
        }
    }
    Ok(rule)
}

fn exit_codes(value: Value<'_>) -> Result<ExitCodes, Malformed> {
    let mut codes = ExitCodes::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => codes.operator = exit_code_operator(&value.text()?),
            2 => codes.values.push(ExitCode(clamp_code(value.integer()?))),
            _ => {}
        }
    }
    Ok(codes)
}

/// Decodes a `ContainerStatus`.
pub(super) fn container_status(mut fields: Fields<'_>) -> Result<LeanStatus, Malformed> {
    let mut status = LeanStatus::default();
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => status.name = value.string()?,
            2 => status.state = state(value)?,
            3 => status.last_state = state(value)?,
            4 => status.ready = value.boolean()?,
            5 => status.restart_count = clamp_count(value.integer()?),
            8 => status.run = run_of(&value.text()?),
            9 => status.started = value.boolean()?,
            _ => {}
        }
    }
    Ok(status)
}

fn state(value: Value<'_>) -> Result<LeanState, Malformed> {
    let mut state = LeanState::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => state.waiting = Some(waiting(value)?),
            2 => state.running = Some(running(value)?),
            3 => state.terminated = Some(Box::new(terminated(value)?)),
            _ => {}
        }
    }
    Ok(state)
}

fn waiting(value: Value<'_>) -> Result<Waiting, Malformed> {
    let reason = value.field(1)?.map(Value::string).transpose()?;
    Ok(Waiting {
        reason: reason.unwrap_or_default(),
    })
}

fn running(value: Value<'_>) -> Result<Running, Malformed> {
    let started_at = value.field(1)?.map(time).transpose()?;
    Ok(Running {
        started_at: started_at.flatten(),
    })
}

fn terminated(value: Value<'_>) -> Result<Terminated, Malformed> {
    let mut exit = Terminated::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => exit.exit_code = clamp_code(value.integer()?),
            3 => exit.reason = value.string()?,
            5 => exit.started_at = time(value)?,
            6 => exit.finished_at = time(value)?,
            7 => exit.run = run_of(&value.text()?),
            _ => {}
        }
    }
    Ok(exit)
}
