//! Policies: from the API's objects to what the evaluation reads.
//!
//! In: an object of either kind, or what is left of one that did not decode. Out: a [`PolicyUpdate`], in which a spec
//! that cannot be evaluated is a sentence for its author, naming the field and the way out. The API server refuses nearly
//! all of those; they come from objects that were stored under an older schema, and from patterns that pass CEL and are
//! too costly here.

use std::sync::Arc;

use jiff::SignedDuration;
use kube::{Resource, core::DeserializeGuard};

use super::identity::{Identity, MissingIdentity};
use crate::{
    api::{
        self, ClusterSidecarPolicy, ClusterSidecarPolicySpec, Exclude, Inclusion, LabelSelectorRequirement,
        SelectorOperator, SidecarPolicy, SidecarPolicySpec, Sidecars, Switch,
    },
    domain::{
        pattern::{Glob, Pattern},
        policy::{Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate, SidecarRules},
        selector::{Operator, Requirement, Selector},
    },
};

mod checks;
mod listed;

/// Either kind of policy.
pub trait PolicyObject: Resource {
    /// Which one.
    const KIND: PolicyKind;

    /// The spec that can be evaluated, or why there is none.
    fn policy(&self) -> Result<Policy, String>;

    /// What an operator last wrote.
    fn status(&self) -> Option<&api::PolicyStatus>;
}

impl PolicyObject for SidecarPolicy {
    const KIND: PolicyKind = PolicyKind::SidecarPolicy;

    fn policy(&self) -> Result<Policy, String> {
        policy(&self.spec, Selector::default())
    }

    fn status(&self) -> Option<&api::PolicyStatus> {
        self.status.as_ref()
    }
}

impl PolicyObject for ClusterSidecarPolicy {
    const KIND: PolicyKind = PolicyKind::ClusterSidecarPolicy;

    fn policy(&self) -> Result<Policy, String> {
        let ClusterSidecarPolicySpec {
            namespace_selector,
            policy: spec,
        } = &self.spec;
        policy(spec, selector("spec.namespaceSelector", namespace_selector)?)
    }

    fn status(&self) -> Option<&api::PolicyStatus> {
        self.status.as_ref()
    }
}

/// Which policy the object is: all that matters of one that was deleted.
pub fn policy_key<K: PolicyObject>(object: &DeserializeGuard<K>) -> Result<PolicyKey, MissingIdentity> {
    let identity = identity(object)?;
    Ok(PolicyKey {
        kind: K::KIND,
        namespace: identity.namespace.into(),
        name: identity.name.into(),
    })
}

/// One version of a policy. Fails for an object that cannot be told from others, which the caller counts, logs and skips.
pub fn policy_update<K: PolicyObject>(object: &DeserializeGuard<K>) -> Result<PolicyUpdate, MissingIdentity> {
    let key = policy_key(object)?;
    let uid = Arc::from(identity(object)?.uid);
    let (spec, listed) = match &object.0 {
        Ok(decoded) => (decoded.policy(), listed::violations(&key, decoded.status())),
        Err(invalid) => (
            Err(format!(
                "the object cannot be read: {invalid}; correct it, or install the CRDs of this version"
            )),
            Vec::new(),
        ),
    };
    Ok(PolicyUpdate {
        key,
        uid,
        generation: object.meta().generation.unwrap_or_default(),
        spec,
        listed,
    })
}

fn identity<K: PolicyObject>(object: &DeserializeGuard<K>) -> Result<Identity<'_>, MissingIdentity> {
    match K::KIND {
        PolicyKind::SidecarPolicy => Identity::namespaced(K::KIND.as_str(), object.meta()),
        PolicyKind::ClusterSidecarPolicy => Identity::cluster(K::KIND.as_str(), object.meta()),
    }
}

fn policy(spec: &SidecarPolicySpec, namespaces: Selector) -> Result<Policy, String> {
    let SidecarPolicySpec {
        mode: policy_mode,
        pod_selector,
        sidecars,
        main_containers,
        checks,
        events,
        runbook_url,
    } = spec;
    let checks::Parsed {
        settings,
        restart_scope,
        init_containers_for,
    } = checks::parse(checks)?;
    let api::Events {
        repeat_period,
        on_recovery,
    } = events;
    let api::MainContainers { names: mains } = main_containers;
    Ok(Policy {
        mode: mode(*policy_mode),
        namespaces,
        pods: selector("spec.podSelector", pod_selector)?,
        sidecars: sidecar_rules(sidecars)?,
        mains: texts(mains),
        checks: settings,
        restart_scope,
        init_containers_for,
        repeat_period: duration("spec.events.repeatPeriod", repeat_period, REPEAT)?,
        recovery_events: match on_recovery {
            Switch::Enabled => true,
            Switch::Disabled => false,
        },
        runbook_url: runbook_url.as_str().into(),
    })
}

fn sidecar_rules(rules: &Sidecars) -> Result<SidecarRules, String> {
    let Sidecars {
        native,
        well_known,
        names,
        name_pattern,
        images,
        exclude,
    } = rules;
    let Exclude {
        names: exclude_names,
        name_pattern: exclude_pattern,
    } = exclude;
    Ok(SidecarRules {
        native: included(*native),
        well_known: included(*well_known),
        names: texts(names),
        name_pattern: pattern("spec.sidecars.namePattern", name_pattern)?,
        images: images.iter().map(|glob| Glob::new(glob)).collect(),
        exclude_names: texts(exclude_names),
        exclude_pattern: pattern("spec.sidecars.exclude.namePattern", exclude_pattern)?,
    })
}

fn texts<C: FromIterator<Box<str>>>(list: &[String]) -> C {
    list.iter().map(|text| text.as_str().into()).collect()
}

fn included(inclusion: Inclusion) -> bool {
    match inclusion {
        Inclusion::Include => true,
        Inclusion::Exclude => false,
    }
}

fn mode(mode: api::Mode) -> Mode {
    match mode {
        api::Mode::Alert => Mode::Alert,
        api::Mode::Observe => Mode::Observe,
        api::Mode::Off => Mode::Off,
    }
}

/// An empty pattern is none.
fn pattern(field: &str, source: &str) -> Result<Option<Pattern>, String> {
    if source.is_empty() {
        return Ok(None);
    }
    Pattern::parse(source).map(Some).map_err(|error| {
        // The parser draws the place of a fault over several lines; its last line says what it is.
        let fault = error.lines().last().unwrap_or_default();
        let fault = fault.strip_prefix("error: ").unwrap_or(fault);
        format!(
            "{field}: {source:?} is no regular expression that can be used here, such as helper-.*: {fault}"
        )
    })
}

fn selector(field: &str, selector: &api::LabelSelector) -> Result<Selector, String> {
    let api::LabelSelector {
        match_labels,
        match_expressions,
    } = selector;
    let labels = match_labels.iter().map(|(key, value)| {
        Ok(Requirement {
            key: key.as_str().into(),
            operator: Operator::In(vec![value.as_str().into()]),
        })
    });
    let expressions = match_expressions.iter().enumerate().map(|(at, requirement)| {
        self::requirement(requirement)
            .map_err(|error| format!("{field}.matchExpressions[{at}].values: {error}"))
    });
    labels.chain(expressions).collect()
}

fn requirement(requirement: &LabelSelectorRequirement) -> Result<Requirement, String> {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = requirement;
    match (operator, values.is_empty()) {
        (SelectorOperator::In | SelectorOperator::NotIn, true) => {
            return Err(format!("operator {operator:?} needs at least one value"));
        }
        (SelectorOperator::Exists | SelectorOperator::DoesNotExist, false) => {
            return Err(format!(
                "operator {operator:?} takes no values: remove them, or use In or NotIn"
            ));
        }
        _ => {}
    }
    Ok(Requirement {
        key: key.as_str().into(),
        operator: match operator {
            SelectorOperator::In => Operator::In(texts(values)),
            SelectorOperator::NotIn => Operator::NotIn(texts(values)),
            SelectorOperator::Exists => Operator::Exists,
            SelectorOperator::DoesNotExist => Operator::DoesNotExist,
        },
    })
}

/// The bounds of a duration, both included, and how a person writes them.
#[derive(Clone, Copy)]
struct Bounds {
    min: SignedDuration,
    max: SignedDuration,
    text: &'static str,
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a fault must last, or must be gone.
const HOLD: Bounds = Bounds {
    min: SignedDuration::ZERO,
    max: DAY,
    text: "0s and 24h",
};
/// In what time restarts and transitions are counted.
const WINDOW: Bounds = Bounds {
    min: SignedDuration::from_secs(10),
    max: DAY,
    text: "10s and 24h",
};
/// How often Events are repeated.
const REPEAT: Bounds = Bounds {
    min: SignedDuration::from_mins(15),
    max: DAY,
    text: "15m and 24h",
};

fn duration(field: &str, written: &api::Duration, bounds: Bounds) -> Result<SignedDuration, String> {
    let duration = written.parse().map_err(|error| format!("{field}: {error}"))?;
    SignedDuration::try_from(duration)
        .ok()
        .filter(|duration| (bounds.min..=bounds.max).contains(duration))
        .ok_or_else(|| format!("{field}: {written} is not between {}", bounds.text))
}

#[cfg(test)]
mod tests;
