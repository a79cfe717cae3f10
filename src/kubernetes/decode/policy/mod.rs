//! Decodes policies.
//!
//! In: an object of either kind, or the metadata of one that does not match the types of the API. Out: a
//! [`PolicyUpdate`], with the field and the problem if the spec is invalid. The API server rejects nearly all invalid
//! specs. The others were stored under an older schema, or have a regular expression that CEL accepts and that is too
//! costly here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    custom::{Checked, CustomObject},
    identity::{Identity, MissingIdentity},
};
use crate::{
    api::{
        self, ClusterSidecarPolicy, ClusterSidecarPolicySpec, Exclude, Inclusion, LabelSelectorRequirement,
        SelectorOperator, SidecarPolicy, SidecarPolicySpec, Sidecars, Switch,
    },
    domain::{
        pattern::{Glob, Pattern},
        policy::{
            AllowedExemptions, InvalidField, InvalidSpec, Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate,
            SidecarRules,
        },
        selector::{Operator, Requirement, Selector},
    },
};

mod checks;
mod expected;
pub mod status;

/// A policy object of either kind.
pub trait PolicyObject: CustomObject {
    /// The kind.
    const KIND: PolicyKind;

    /// Converts the spec to a policy of the domain, or returns its first error.
    fn policy(&self) -> Result<Policy, InvalidSpec>;

    /// Returns the status.
    fn status(&self) -> Option<&api::PolicyStatus>;
}

impl PolicyObject for SidecarPolicy {
    const KIND: PolicyKind = PolicyKind::SidecarPolicy;

    fn policy(&self) -> Result<Policy, InvalidSpec> {
        policy(&self.spec, Selector::default(), None)
    }

    fn status(&self) -> Option<&api::PolicyStatus> {
        self.status.as_ref()
    }
}

impl PolicyObject for ClusterSidecarPolicy {
    const KIND: PolicyKind = PolicyKind::ClusterSidecarPolicy;

    fn policy(&self) -> Result<Policy, InvalidSpec> {
        let ClusterSidecarPolicySpec {
            namespace_selector,
            exemptions,
            policy: spec,
        } = &self.spec;
        let namespaces = selector("spec.namespaceSelector", namespace_selector)?;
        policy(spec, namespaces, exemptions.as_ref().map(allowed).transpose()?)
    }

    fn status(&self) -> Option<&api::PolicyStatus> {
        self.status.as_ref()
    }
}

/// Returns the key of the policy.
pub fn policy_key<K: PolicyObject>(object: &Checked<K>) -> Result<PolicyKey, MissingIdentity> {
    let identity = identity(object)?;
    Ok(PolicyKey {
        kind: K::KIND,
        namespace: identity.namespace.into(),
        name: identity.name.into(),
    })
}

/// Decodes one version of a policy. Fails only if the object has no identity; the caller counts, logs and skips it.
pub fn policy_update<K: PolicyObject>(object: &Checked<K>) -> Result<PolicyUpdate, MissingIdentity> {
    let key = policy_key(object)?;
    let uid = Arc::from(identity(object)?.uid);
    let (spec, stored) = match &object.0 {
        Ok(decoded) => (decoded.policy(), status::violations(&key, decoded.status())),
        Err(error) => (Err(InvalidSpec::Undecodable(error.to_string())), Vec::new()),
    };
    let created = object.meta().creation_timestamp.as_ref().map(|Time(time)| *time);
    Ok(PolicyUpdate {
        key,
        uid,
        created: created.unwrap_or(Timestamp::MIN),
        generation: object.meta().generation.unwrap_or_default(),
        spec,
        stored,
    })
}

fn identity<K: PolicyObject>(object: &Checked<K>) -> Result<Identity<'_>, MissingIdentity> {
    match K::KIND {
        PolicyKind::SidecarPolicy => Identity::namespaced(K::KIND.as_str(), object.meta()),
        PolicyKind::ClusterSidecarPolicy => Identity::cluster(K::KIND.as_str(), object.meta()),
    }
}

fn policy(
    spec: &SidecarPolicySpec,
    namespaces: Selector,
    exemptions: Option<AllowedExemptions>,
) -> Result<Policy, InvalidSpec> {
    let SidecarPolicySpec {
        mode: policy_mode,
        pod_selector,
        sidecars,
        main_containers,
        expected,
        checks,
        events,
        runbook_url,
    } = spec;
    let api::Events {
        repeat_period,
        on_recovery,
    } = events;
    let api::MainContainers { names: mains } = main_containers;
    Ok(Policy {
        mode: mode(*policy_mode),
        namespaces,
        exemptions,
        pods: selector("spec.podSelector", pod_selector)?,
        sidecars: sidecar_rules(sidecars)?,
        mains: texts(mains),
        expected: expected::decode(expected)?,
        checks: checks::decode(checks)?,
        repeat_period: duration("spec.events", "repeatPeriod", repeat_period, REPEAT)?,
        recovery_events: match on_recovery {
            Switch::Enabled => true,
            Switch::Disabled => false,
        },
        runbook_url: runbook_url.as_str().into(),
    })
}

fn allowed(exemptions: &api::AllowedExemptions) -> Result<AllowedExemptions, InvalidSpec> {
    let api::AllowedExemptions {
        namespace_selector,
        max_duration,
    } = exemptions;
    Ok(AllowedExemptions {
        namespaces: selector("spec.exemptions.namespaceSelector", namespace_selector)?,
        max_duration: duration("spec.exemptions", "maxDuration", max_duration, EXEMPTION)?,
    })
}

fn sidecar_rules(rules: &Sidecars) -> Result<SidecarRules, InvalidSpec> {
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

pub(super) fn texts<C: FromIterator<Box<str>>>(list: &[String]) -> C {
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

pub(super) fn field(field: String, problem: InvalidField) -> InvalidSpec {
    InvalidSpec::Field { field, problem }
}

/// Parses a pattern. Returns `None` for an empty text.
fn pattern(path: &str, source: &str) -> Result<Option<Pattern>, InvalidSpec> {
    if source.is_empty() {
        return Ok(None);
    }
    Pattern::parse(source).map(Some).map_err(|error| {
        let value = source.to_owned();
        field(path.to_owned(), InvalidField::Pattern { value, error })
    })
}

pub(super) fn selector(path: &str, selector: &api::LabelSelector) -> Result<Selector, InvalidSpec> {
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
    let expressions = match_expressions.iter().enumerate().map(|(i, requirement)| {
        self::requirement(requirement)
            .map_err(|problem| field(format!("{path}.matchExpressions[{i}].values"), problem))
    });
    labels.chain(expressions).collect()
}

fn requirement(requirement: &LabelSelectorRequirement) -> Result<Requirement, InvalidField> {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = requirement;
    let operator = match (operator, values.is_empty()) {
        (SelectorOperator::In, false) => Operator::In(texts(values)),
        (SelectorOperator::NotIn, false) => Operator::NotIn(texts(values)),
        (SelectorOperator::Exists, true) => Operator::Exists,
        (SelectorOperator::DoesNotExist, true) => Operator::DoesNotExist,
        (SelectorOperator::In, true) => return Err(InvalidField::NoValues("In")),
        (SelectorOperator::NotIn, true) => return Err(InvalidField::NoValues("NotIn")),
        (SelectorOperator::Exists, false) => return Err(InvalidField::Values("Exists")),
        (SelectorOperator::DoesNotExist, false) => return Err(InvalidField::Values("DoesNotExist")),
    };
    Ok(Requirement {
        key: key.as_str().into(),
        operator,
    })
}

/// The bounds of a duration, both included, as values and as text.
#[derive(Clone, Copy)]
struct Bounds {
    min: (SignedDuration, &'static str),
    max: (SignedDuration, &'static str),
}

const DAY: (SignedDuration, &str) = (SignedDuration::from_hours(24), "24h");
/// The bounds of `for`, `keepFiringFor` and `initContainersFor`.
const DURATION: Bounds = Bounds {
    min: (SignedDuration::ZERO, "0s"),
    max: DAY,
};
/// The bounds of the `for` of VersionDrift.
const LONG: Bounds = Bounds {
    min: (SignedDuration::ZERO, "0s"),
    max: (SignedDuration::from_hours(30 * 24), "720h"),
};
/// The bounds of `window`.
const WINDOW: Bounds = Bounds {
    min: (SignedDuration::from_secs(10), "10s"),
    max: DAY,
};
/// The bounds of `maxDuration`.
const EXEMPTION: Bounds = Bounds {
    min: (SignedDuration::from_mins(1), "1m"),
    max: (SignedDuration::from_hours(365 * 24), "8760h"),
};
/// The bounds of `repeatPeriod`.
const REPEAT: Bounds = Bounds {
    min: (SignedDuration::from_mins(15), "15m"),
    max: DAY,
};

/// Parses the duration in the field `name` of the object at `path`.
fn duration(
    path: &str,
    name: &str,
    written: &api::Duration,
    bounds: Bounds,
) -> Result<SignedDuration, InvalidSpec> {
    let invalid = |problem| field(format!("{path}.{name}"), problem);
    let parsed = written
        .parse()
        .map_err(|error| invalid(InvalidField::Duration(error.to_string())))?;
    SignedDuration::try_from(parsed)
        .ok()
        .filter(|duration| (bounds.min.0..=bounds.max.0).contains(duration))
        .ok_or_else(|| {
            invalid(InvalidField::OutOfRange {
                value: written.to_string(),
                min: bounds.min.1,
                max: bounds.max.1,
            })
        })
}

#[cfg(test)]
mod tests;
