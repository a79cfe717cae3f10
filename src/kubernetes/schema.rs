//! The schemas of the objects that have a Pod template, from the types of the API.
//!
//! They say which type each field has, so that a wrong type can be named with its field.

use std::sync::LazyLock;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::{CronJob, Job},
        core::v1::{Pod, PodTemplate, PodTemplateSpec, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::generate);

/// The schemas of the built-in kinds.
#[derive(Debug)]
pub struct Schemas {
    definitions: Map<String, Value>,
    kinds: Vec<(&'static str, Value)>,
    template: Value,
    metadata: Value,
}

impl Schemas {
    /// Returns the schemas. The first call generates them.
    pub fn get() -> &'static Self {
        &SCHEMAS
    }

    fn generate() -> Self {
        fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
            generator.subschema_for::<T>().to_value()
        }
        let mut generator = SchemaGenerator::default();
        let kinds = vec![
            ("Pod", of::<Pod>(&mut generator)),
            ("PodTemplate", of::<PodTemplate>(&mut generator)),
            (
                "ReplicationController",
                of::<ReplicationController>(&mut generator),
            ),
            ("Deployment", of::<Deployment>(&mut generator)),
            ("StatefulSet", of::<StatefulSet>(&mut generator)),
            ("DaemonSet", of::<DaemonSet>(&mut generator)),
            ("ReplicaSet", of::<ReplicaSet>(&mut generator)),
            ("Job", of::<Job>(&mut generator)),
            ("CronJob", of::<CronJob>(&mut generator)),
        ];
        let template = of::<PodTemplateSpec>(&mut generator);
        let metadata = of::<ObjectMeta>(&mut generator);
        Self {
            definitions: generator.take_definitions(false),
            kinds,
            template,
            metadata,
        }
    }

    /// The schema of a built-in kind with a Pod template.
    pub fn kind(&self, api_version: Option<&str>, kind: &str) -> Option<&Value> {
        let group = api_version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
        if group.is_some_and(|group| !matches!(group, "" | "apps" | "batch" | "extensions")) {
            return None;
        }
        self.kinds
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, schema)| schema)
    }

    /// The schema of a Pod template.
    pub fn template(&self) -> &Value {
        &self.template
    }

    /// The schema of `metadata`.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// Follows the reference of a schema to its definition.
    pub fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        reference
            .and_then(|reference| reference.rsplit('/').next())
            .and_then(|name| self.definitions.get(name))
            .unwrap_or(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_the_types_of_fields() {
        let schemas = Schemas::get();
        let property = |schema: &Value, name: &str| {
            schemas
                .resolve(&schemas.resolve(schema)["properties"][name])
                .clone()
        };
        let cron_job = schemas.kind(Some("batch/v1"), "CronJob").unwrap();
        let template = ["spec", "jobTemplate", "spec", "template", "spec"]
            .iter()
            .fold(cron_job.clone(), |schema, name| property(&schema, name));
        assert_eq!(property(&template, "restartPolicy")["type"], "string");
        assert_eq!(property(schemas.template(), "spec"), template);
        assert_eq!(property(schemas.metadata(), "labels")["type"], "object");
        let others = [
            (Some("serving.knative.dev/v1"), "Service"),
            (Some("batch.volcano.sh/v1alpha1"), "Job"),
        ];
        for (version, kind) in others {
            assert!(schemas.kind(version, kind).is_none(), "{version:?} {kind}");
        }
    }
}
