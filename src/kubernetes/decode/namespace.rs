//! Decodes the names, labels and annotations of Namespaces, for the `namespaceSelector` and `expected` of policies.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;

use super::{
    identity::{Identity, MissingIdentity, lean_metadata},
    intern::Interner,
    object::{Object, Undecodable},
};
use crate::domain::observation::NamespaceMetadata;

/// A Namespace without unused fields.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Namespace")]
#[serde(default)]
pub struct LeanNamespace {
    /// Name, labels and the fields that the watch needs.
    #[serde(deserialize_with = "lean_metadata")]
    pub metadata: ObjectMeta,
}

impl Object for LeanNamespace {
    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    fn of_undecodable(undecodable: &Undecodable) -> Self {
        Self {
            metadata: undecodable.metadata(),
        }
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl LeanNamespace {
    /// Returns the identity of the Namespace.
    pub fn identity(&self) -> Result<Identity<'_>, MissingIdentity> {
        Identity::cluster("Namespace", &self.metadata)
    }
}

/// Returns the name, the labels and the annotations of a Namespace.
pub fn observe_namespace(
    mut namespace: LeanNamespace,
    interner: &mut Interner,
) -> Result<(Arc<str>, Arc<NamespaceMetadata>), MissingIdentity> {
    let metadata = NamespaceMetadata {
        labels: namespace.metadata.labels.take().into_iter().flatten().collect(),
        annotations: namespace
            .metadata
            .annotations
            .take()
            .into_iter()
            .flatten()
            .collect(),
    };
    let name = interner.string(namespace.identity()?.name);
    Ok((name, Arc::new(metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namespace_is_decoded_to_its_name_labels_and_annotations() {
        let namespace = json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {
                "name": "pay", "uid": "u", "resourceVersion": "7", "labels": {"team": "a", "odd": null},
                "annotations": {"a": "b", "linkerd.io/inject": "enabled"}, "managedFields": [{"manager": "m"}],
            },
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        let namespace: LeanNamespace = serde_json::from_value(namespace).unwrap();
        let annotations = namespace.metadata.annotations.clone().unwrap();
        assert_eq!(annotations.len(), 1, "only the annotations in the list are kept");
        assert_eq!(
            namespace.metadata.managed_fields, None,
            "managedFields are not kept"
        );
        assert_eq!(
            namespace.metadata.resource_version.as_deref(),
            Some("7"),
            "the watch continues from this version"
        );
        let (name, metadata) = observe_namespace(namespace, &mut Interner::default()).unwrap();
        assert_eq!((&*name, metadata.labels.get("team")), ("pay", Some("a")));
        assert_eq!(
            metadata.labels.get("odd"),
            Some(""),
            "the value null is an empty value"
        );
    }

    #[test]
    fn a_namespace_without_a_name_is_an_error() {
        for odd in [
            json!({}),
            json!({"metadata": null}),
            json!({"metadata": {"uid": "u", "labels": null}}),
        ] {
            let namespace: LeanNamespace = serde_json::from_value(odd).unwrap();
            let error = observe_namespace(namespace, &mut Interner::default()).unwrap_err();
            assert_eq!(error.missing, "name");
        }
    }
}
