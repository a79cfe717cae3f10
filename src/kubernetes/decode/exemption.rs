//! Decodes exemptions.
//!
//! In: an object, or the metadata of one that does not match the types of the API. Out: an [`ExemptionUpdate`], with the field
//! and the problem if the spec is invalid. The API server rejects nearly all invalid specs. The others were stored under an
//! older schema, or come from a file.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    bounded::bounded_reason,
    custom::Checked,
    identity::{Identity, MissingIdentity},
    policy::{field, selector, texts},
};
use crate::{
    api::{CheckName, EXEMPTED_CHECKS, ExemptedWorkload, SidecarExemption, SidecarExemptionSpec},
    domain::{
        exemption::{ExemptedPods, Exemption, ExemptionKey, ExemptionUpdate, Shown},
        observation::Workload,
        policy::{Check, InvalidField, InvalidSpec, PolicyKey, PolicyKind},
    },
};

/// Returns the key of the exemption.
pub fn exemption_key(object: &Checked<SidecarExemption>) -> Result<ExemptionKey, MissingIdentity> {
    let identity = identity(object)?;
    Ok(ExemptionKey {
        namespace: identity.namespace.into(),
        name: identity.name.into(),
    })
}

/// Decodes one version of an exemption. Fails only if the object has no identity; the caller counts, logs and skips it.
pub fn exemption_update(object: &Checked<SidecarExemption>) -> Result<ExemptionUpdate, MissingIdentity> {
    let key = exemption_key(object)?;
    let uid = Arc::from(identity(object)?.uid);
    let (spec, shown, hid) = match &object.0 {
        Ok(decoded) => (exemption(&decoded.spec), shown(&decoded.spec), hid(&key, decoded)),
        Err(error) => {
            let error = InvalidSpec::Undecodable(error.to_string());
            (Err(error), Shown::default(), None)
        }
    };
    let created = object.meta().creation_timestamp.as_ref().map(|Time(time)| *time);
    Ok(ExemptionUpdate {
        key,
        uid,
        created: created.unwrap_or(Timestamp::MIN),
        generation: object.meta().generation.unwrap_or_default(),
        spec,
        shown,
        hid,
    })
}

fn identity(object: &Checked<SidecarExemption>) -> Result<Identity<'_>, MissingIdentity> {
    Identity::namespaced("SidecarExemption", object.meta())
}

fn shown(spec: &SidecarExemptionSpec) -> Shown {
    Shown {
        workload: spec.shown_workload().into(),
        checks: spec.shown_checks().into(),
    }
}

/// The policy of the first violation in the status.
fn hid(key: &ExemptionKey, object: &SidecarExemption) -> Option<PolicyKey> {
    let first = object.status.as_ref()?.hidden.first()?;
    let kind = PolicyKind::parse(&first.policy_kind)?;
    (!first.policy.is_empty()).then(|| PolicyKey {
        kind,
        namespace: match kind {
            PolicyKind::SidecarPolicy => Arc::clone(&key.namespace),
            PolicyKind::ClusterSidecarPolicy => Arc::default(),
        },
        name: first.policy.as_str().into(),
    })
}

/// Converts a spec to an exemption of the domain, or returns its first error.
pub fn exemption(spec: &SidecarExemptionSpec) -> Result<Exemption, InvalidSpec> {
    let SidecarExemptionSpec {
        selector: labels,
        workload,
        containers,
        checks,
        reason,
        until,
    } = spec;
    let pods = match (labels, workload) {
        (Some(labels), None) => ExemptedPods::Selected(selector("spec.selector", labels)?),
        (None, Some(ExemptedWorkload { kind, name })) => ExemptedPods::Of(Workload {
            kind: kind.as_str().into(),
            name: name.as_str().into(),
        }),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid(
                "spec",
                "an exemption has exactly one of selector and workload",
            ));
        }
    };
    if reason.trim().is_empty() {
        return Err(invalid(
            "spec.reason",
            "reason says why the violations are hidden, and is not empty",
        ));
    }
    Ok(Exemption {
        pods,
        containers: texts(containers),
        checks: self::checks(checks)?,
        reason: bounded_reason(reason.trim()).into(),
        until: time(until)?,
    })
}

fn checks(names: &[CheckName]) -> Result<Vec<Check>, InvalidSpec> {
    let checks = names.iter().enumerate().map(|(i, name)| {
        if EXEMPTED_CHECKS.contains(name) {
            return Ok(Check::from(*name));
        }
        let problem = "the check is not about containers, so its violations cannot be hidden";
        Err(invalid(&format!("spec.checks[{i}]"), problem))
    });
    checks.collect()
}

fn time(text: &str) -> Result<Timestamp, InvalidSpec> {
    text.parse().map_err(|_| {
        let value = text.to_owned();
        field("spec.until".to_owned(), InvalidField::Time(value))
    })
}

fn invalid(path: &str, problem: &'static str) -> InvalidSpec {
    field(path.to_owned(), InvalidField::Exemption(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::selector::{Operator, Requirement, Selector};
    use serde_json::{Value, json};

    fn read(spec: &Value, status: &Value) -> ExemptionUpdate {
        let object = json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarExemption",
            "metadata": {
                "name": "vendor", "namespace": "pay", "uid": "u-1", "generation": 3,
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": spec, "status": status,
        });
        exemption_update(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn valid() -> Value {
        json!({
            "workload": {"kind": "Deployment", "name": "web"},
            "containers": ["istio-proxy"], "checks": ["OOMKilled", "NotReady"],
            "reason": "vendor\n", "until": "2026-03-01T18:00:00+02:00",
        })
    }

    /// The error of a spec with this change.
    fn error(field: &str, value: Value) -> String {
        let mut spec = valid();
        let fields = spec.as_object_mut().unwrap();
        match value {
            Value::Null => drop(fields.remove(field)),
            value => drop(fields.insert(field.to_owned(), value)),
        }
        read(&spec, &Value::Null).spec.unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_decoded() {
        let update = read(&valid(), &Value::Null);
        assert_eq!(update.key.to_string(), "SidecarExemption pay/vendor");
        assert_eq!((&*update.uid, update.generation), ("u-1", 3));
        assert_eq!(update.created, "2026-01-02T03:04:05Z".parse().unwrap());
        let expected = Exemption {
            pods: ExemptedPods::Of(Workload {
                kind: "Deployment".into(),
                name: "web".into(),
            }),
            containers: vec!["istio-proxy".into()],
            checks: vec![Check::OOMKilled, Check::NotReady],
            reason: "vendor".into(),
            until: "2026-03-01T16:00:00Z".parse().unwrap(),
        };
        assert_eq!(update.spec, Ok(expected));
        assert_eq!(&*update.shown.workload, "Deployment/web");
        assert_eq!(&*update.shown.checks, "OOMKilled,NotReady");

        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "reason": "r", "until": "2026-03-01t18:00:00z"});
        let requirement = Requirement {
            key: "app".into(),
            operator: Operator::In(vec!["web".into()]),
        };
        let expected = Exemption {
            pods: ExemptedPods::Selected(Selector::from_iter([requirement])),
            containers: Vec::new(),
            checks: Vec::new(),
            reason: "r".into(),
            until: "2026-03-01T18:00:00Z".parse().unwrap(),
        };
        assert_eq!(read(&spec, &Value::Null).spec, Ok(expected));
    }

    #[test]
    fn an_invalid_field_is_named() {
        let table = [
            ("workload", Value::Null, "spec: an exemption has exactly one of"),
            ("selector", json!({}), "spec: an exemption has exactly one of"),
            ("reason", json!(" \n"), "spec.reason: "),
            ("reason", Value::Null, "field `reason`"),
            (
                "until",
                json!("tomorrow"),
                "spec.until: \"tomorrow\" is not a time",
            ),
            ("until", json!("2026-03-01T18:00:00"), "with a time zone"),
            (
                "checks",
                json!(["NotReady", "SidecarMissing"]),
                "spec.checks[1]: ",
            ),
            ("checks", json!(["Broken"]), "Broken"),
        ];
        for (field, value, expected) in table {
            let error = error(field, value.clone());
            assert!(error.contains(expected), "{field} {value}: {error}");
        }
        let spec = json!({
            "selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}, "reason": "r", "until": "2026-03-01T18:00:00Z",
        });
        let error = read(&spec, &Value::Null).spec.unwrap_err().to_string();
        assert!(
            error.starts_with("spec.selector.matchExpressions[0].values: "),
            "{error}"
        );
    }

    #[test]
    fn the_policy_of_the_hidden_violations_is_read_from_the_status() {
        let hidden = |kind: &str, policy: &str| {
            json!({"hides": 1, "hidden": [{
                "pod": "web-1", "container": "istio-proxy", "check": "NotReady", "policyKind": kind, "policy": policy,
                "since": "2026-01-02T03:04:05Z",
            }]})
        };
        let hid = |kind, policy| read(&valid(), &hidden(kind, policy)).hid;
        assert_eq!(
            hid("SidecarPolicy", "mesh").unwrap().to_string(),
            "SidecarPolicy pay/mesh"
        );
        assert_eq!(
            hid("ClusterSidecarPolicy", "mesh").unwrap().to_string(),
            "ClusterSidecarPolicy mesh"
        );
        assert_eq!(hid("SidecarPolicy", ""), None);
        assert_eq!(hid("Odd", "mesh"), None);
        assert_eq!(read(&valid(), &json!({"hides": 0})).hid, None);
        assert_eq!(
            read(&valid(), &json!({"hides": 1, "hidden": ["odd"]})).hid,
            None,
            "an entry of another version is skipped"
        );
    }

    #[test]
    fn an_exemption_without_a_namespace_is_an_error() {
        let object = json!({"metadata": {"name": "vendor", "uid": "u"}, "spec": valid()});
        let object = serde_json::from_value(object).unwrap();
        assert_eq!(exemption_update(&object).unwrap_err().missing, "namespace");
    }

    #[test]
    fn every_check_about_containers_can_be_named() {
        let subjects = [Check::SidecarMissing, Check::VersionDrift];
        let expected = Check::ALL.into_iter().filter(|check| !subjects.contains(check));
        let named = EXEMPTED_CHECKS.map(Check::from);
        assert_eq!(expected.collect::<Vec<_>>(), named);
    }
}
