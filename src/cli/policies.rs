//! Policies in files. They have the form that `kubectl apply` accepts.

use std::{fmt::Display, path::Path};

use crate::kubernetes::decode::custom::Checked;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{exit::Failure, files};
use crate::{
    api::{ClusterSidecarPolicy, GROUP, SidecarPolicy},
    domain::policy::{InvalidSpec, PolicyKind, PolicyUpdate},
    kubernetes::decode::policy::{PolicyObject, policy_update},
};

/// Maximum size of a file with policies, in megabytes. A policy has at most some kilobytes.
const LIMIT: usize = 8;

/// A valid policy of a file.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    kind: PolicyKind,
    object: Value,
}

/// An object that is no valid policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It has another kind.
    #[error(
        "{api_version:?} kind {kind:?} is not a policy: expected {GROUP}/v1alpha1, SidecarPolicy or ClusterSidecarPolicy"
    )]
    OtherKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// It has no name.
    #[error("a {0} has no metadata.name")]
    NoName(&'static str),
    /// It does not match the types of the API.
    #[error("{title}: {error}")]
    Undecodable {
        /// Its kind and name.
        title: String,
        /// The error of the decoder.
        error: String,
    },
    /// A field of its spec has an invalid value.
    #[error("{title}: {error}")]
    Spec {
        /// Its kind and name.
        title: String,
        /// The field and its error.
        error: InvalidSpec,
    },
    /// Its spec has a field that the API does not have.
    #[error("{title}: {field} is not a field of the API (docs/api.md lists them)")]
    UnknownField {
        /// Its kind and name.
        title: String,
        /// The path of the field.
        field: String,
    },
}

/// Reads the policies of a file. Fails if there is none, or if one is not valid.
pub fn read(path: &Path) -> Result<Vec<PolicyFile>, Failure> {
    let fail = |problem: &dyn Display| format!("{}: {problem}", path.display());
    let documents = files::documents(path, LIMIT)?;
    if documents.is_empty() {
        return Err(fail(&"the file contains no policy").into());
    }
    let policies = documents.into_iter().map(PolicyFile::new);
    policies
        .collect::<Result<_, _>>()
        .map_err(|error| fail(&error).into())
}

/// Returns the policies as the watch delivers them. `namespace` is used for those that have none.
pub fn updates(files: &[PolicyFile], namespace: &str) -> Result<Vec<PolicyUpdate>, Failure> {
    files.iter().map(|file| file.update(namespace)).collect()
}

impl PolicyFile {
    /// Returns the policy `defaults`, with all defaults.
    pub fn with_defaults(kind: PolicyKind) -> Self {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind.as_str(), "metadata": {"name": "defaults"},
        });
        Self { kind, object }
    }

    /// Validates an object.
    pub fn new(object: Value) -> Result<Self, InvalidPolicy> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let api_version = text("/apiVersion");
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let parsed = PolicyKind::parse(kind).filter(|_| api_version.split('/').next() == Some(GROUP));
        let Some(parsed) = parsed else {
            return Err(InvalidPolicy::OtherKind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            });
        };
        if name.is_empty() {
            return Err(InvalidPolicy::NoName(parsed.as_str()));
        }
        let title = format!("{kind} {name}");
        let policy = Self { kind: parsed, object };
        let (update, known) = policy.decode("default");
        let update = match update {
            Ok(update) => update,
            Err(error) => return Err(InvalidPolicy::Undecodable { title, error }),
        };
        if let Err(error) = update.spec {
            return Err(InvalidPolicy::Spec { title, error });
        }
        let written = policy.object.get("spec").unwrap_or(&Value::Null);
        match unknown_field(written, &known, "spec") {
            Some(field) => Err(InvalidPolicy::UnknownField { title, field }),
            None => Ok(policy),
        }
    }

    /// Returns the namespace in the file, if it has one.
    pub fn namespace(&self) -> Option<&str> {
        self.object.pointer("/metadata/namespace").and_then(Value::as_str)
    }

    /// Reports whether the policy selects Pods of one namespace only.
    pub fn is_namespaced(&self) -> bool {
        self.kind == PolicyKind::SidecarPolicy
    }

    /// Returns the policy as the watch delivers it. `namespace` is used if the file has none.
    pub fn update(&self, namespace: &str) -> Result<PolicyUpdate, Failure> {
        Ok(self.decode(namespace).0?)
    }

    /// Decodes the object. Also returns its spec with all fields of the API.
    fn decode(&self, namespace: &str) -> (Result<PolicyUpdate, String>, Value) {
        match self.kind {
            PolicyKind::SidecarPolicy => {
                self.decode_as::<SidecarPolicy>(namespace, |policy| json!(policy.spec))
            }
            PolicyKind::ClusterSidecarPolicy => {
                self.decode_as::<ClusterSidecarPolicy>("", |policy| json!(policy.spec))
            }
        }
    }

    fn decode_as<K>(
        &self,
        namespace: &str,
        spec: impl FnOnce(&K) -> Value,
    ) -> (Result<PolicyUpdate, String>, Value)
    where
        K: PolicyObject + DeserializeOwned + Serialize,
    {
        let metadata = json!({
            "name": self.object.pointer("/metadata/name"),
            "namespace": self.namespace().unwrap_or(namespace),
            "uid": "file",
            "generation": 1,
        });
        let mut object = self.object.clone();
        if let Value::Object(fields) = &mut object {
            fields.insert("metadata".to_owned(), metadata);
            if fields.get("spec").is_none_or(Value::is_null) {
                fields.insert("spec".to_owned(), json!({}));
            }
            // The status of the file does not describe the Pods that are evaluated now.
            fields.remove("status");
        }
        let guard: Result<Checked<K>, _> = serde_json::from_value(object);
        match guard {
            Err(error) => (Err(error.to_string()), Value::Null),
            Ok(guard) => {
                let known = guard.0.as_ref().map(spec).unwrap_or_default();
                (policy_update(&guard).map_err(|error| error.to_string()), known)
            }
        }
    }
}

/// Returns the path of the first field in `written` that `known` does not have. Serde ignores unknown fields, and a typing
/// error would go unnoticed.
fn unknown_field(written: &Value, known: &Value, path: &str) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => written.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => unknown_field(value, known, &path),
                // The API leaves out empty lists and maps.
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(written), Value::Array(known)) => written
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(n, (written, known))| unknown_field(written, known, &format!("{path}[{n}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: &str, spec: &Value) -> Value {
        json!({"apiVersion": "sidewatch.dev/v1alpha1", "kind": kind, "metadata": {"name": "mesh"}, "spec": spec})
    }

    #[test]
    fn a_policy_of_a_file_has_the_namespace_of_the_file_or_the_given_one() {
        let mut object = policy("SidecarPolicy", &json!({}));
        let update = PolicyFile::new(object.clone()).unwrap().update("shop").unwrap();
        assert_eq!(update.key.to_string(), "SidecarPolicy shop/mesh");
        object["metadata"]["namespace"] = json!("pay");
        let update = PolicyFile::new(object).unwrap().update("shop").unwrap();
        assert_eq!(update.key.to_string(), "SidecarPolicy pay/mesh");
        let cluster = policy(
            "ClusterSidecarPolicy",
            &json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
        );
        let update = PolicyFile::new(cluster).unwrap().update("shop").unwrap();
        assert_eq!(update.key.to_string(), "ClusterSidecarPolicy mesh");
    }

    #[test]
    fn an_invalid_policy_is_refused_with_the_field() {
        let table = [
            (
                policy("Deployment", &json!({})),
                "kind \"Deployment\" is not a policy",
            ),
            (json!("text"), "is not a policy"),
            (
                json!({"apiVersion": "apps/v1", "kind": "SidecarPolicy"}),
                "is not a policy",
            ),
            (
                json!({"apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy"}),
                "has no metadata.name",
            ),
            (
                policy(
                    "SidecarPolicy",
                    &json!({"checks": {"notReady": {"for": "5 minutes"}}}),
                ),
                "SidecarPolicy mesh: spec.checks.notReady.for: \"5 minutes\" is not a duration",
            ),
            (
                policy("SidecarPolicy", &json!({"checks": {"notReady": {"fro": "5m"}}})),
                "SidecarPolicy mesh: spec.checks.notReady.fro is not a field of the API",
            ),
            (
                policy(
                    "ClusterSidecarPolicy",
                    &json!({"podSelektor": {"matchLabels": {"a": "b"}}}),
                ),
                "ClusterSidecarPolicy mesh: spec.podSelektor is not a field of the API",
            ),
            (
                policy("SidecarPolicy", &json!({"mode": "Sometimes"})),
                "Sometimes",
            ),
        ];
        for (object, expected) in table {
            let error = PolicyFile::new(object).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
