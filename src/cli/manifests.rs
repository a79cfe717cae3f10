//! The Pods in files: Pods, and the Pods that the workloads in them create.

use std::{collections::BTreeSet, fmt, path::Path};

use serde_json::{Value, json};

use super::{exit::Failure, files, hints, output::first_names};
use crate::{
    domain::observation::Observation,
    kubernetes::decode::{
        intern::Interner,
        pod::{LeanPod, observe},
    },
    lint::{
        self,
        workload::{is_knative, unnamed_container},
    },
};

/// Maximum size of a file with manifests, in megabytes.
const LIMIT: usize = 32;
/// The namespace of a manifest that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// A Pod in a file. Displays as `Deployment shop/web`, the object in the file.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The Pod.
    pub pod: Value,
    /// The Pod, decoded.
    pub observation: Observation,
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.observation.namespace, self.name)
    }
}

/// Reads the Pods and the Pod templates of a file. Skips other objects. Fails if there is none, and for a value of a wrong
/// type, which the API server refuses. `namespace` is that of objects that name none. `command` reads manifests from
/// standard input: `explain -f -`.
pub fn read(path: &Path, namespace: Option<&str>, command: &str) -> Result<Vec<Manifest>, Failure> {
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    let file = path.display();
    let text = files::read_text(path, LIMIT)?;
    if let Some(hint) = hints::not_a_manifest(&text) {
        return Err(format!("{file}: {hint}").into());
    }
    if let Some(error) = lint::errors(&text).first() {
        let hint = hints::template(&text, command).map(|hint| format!("; {hint}"));
        let location = error.location;
        return Err(format!(
            "{file}:{}:{}: {error}{}",
            location.line,
            location.column,
            hint.unwrap_or_default()
        )
        .into());
    }
    let mut interner = Interner::default();
    let mut manifests = Vec::new();
    let mut others = BTreeSet::new();
    for document in files::documents_in(&text, path)? {
        let Some((kind, name, pod)) = pod_of(&document, namespace) else {
            let kind = document.get("kind").and_then(Value::as_str);
            others.insert(kind.unwrap_or("an object without kind").to_owned());
            continue;
        };
        let observation = observation_of(&pod, &mut interner)
            .map_err(|error| format!("{file}: a {kind} is not valid: {error}"))?;
        if observation.shape.containers.is_empty() {
            return Err(format!("{file}: {kind} {name} has no containers: its list is empty").into());
        }
        manifests.push(Manifest {
            kind,
            name,
            pod,
            observation,
        });
    }
    if manifests.is_empty() {
        let kinds = "Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob";
        let hint = if others.contains("Kustomization") {
            format!("; build the kustomization first, as in kubectl kustomize . | sidewatch {command}")
        } else {
            String::new()
        };
        let found = if others.is_empty() {
            "nothing".to_owned()
        } else {
            first_names(&Vec::from_iter(others))
        };
        return Err(format!(
            "{file}: no Pod and no Pod template: expected {kinds} with a spec, found {found}{hint}"
        )
        .into());
    }
    Ok(manifests)
}

/// Decodes a Pod. Returns `None` if it is not valid.
pub fn decode(pod: &Value, interner: &mut Interner) -> Option<Observation> {
    observation_of(pod, interner).ok()
}

fn observation_of(pod: &Value, interner: &mut Interner) -> Result<Observation, Failure> {
    if pod.pointer("/metadata/name").is_none_or(Value::is_null) {
        return Err("it has no name".into());
    }
    let pod: LeanPod = serde_json::from_value(pod.clone())?;
    Ok(observe(pod, interner)?)
}

/// Returns the kind and the name of an object, and the Pod that it is or that it creates.
fn pod_of(object: &Value, namespace: &str) -> Option<(String, String, Value)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind")?;
    let template = ["/spec/template", "/spec/jobTemplate/spec/template"]
        .into_iter()
        .find_map(|pointer| object.pointer(pointer))
        .or_else(|| (kind == "Pod").then_some(object))
        .filter(|template| template.get("spec").is_some_and(Value::is_object))?;
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
    let of_pod = |pointer: &str| object.pointer(pointer).filter(|_| kind == "Pod");
    let owner = match kind {
        "Pod" => object.pointer("/metadata/ownerReferences").cloned(),
        _ => {
            Some(json!([{"apiVersion": text("/apiVersion"), "kind": kind, "name": name, "controller": true}]))
        }
    };
    let pod = json!({
        "metadata": {
            "name": name,
            "namespace": text("/metadata/namespace").unwrap_or(namespace),
            "uid": text("/metadata/uid").unwrap_or("file"),
            "labels": template.pointer("/metadata/labels"),
            "annotations": template.pointer("/metadata/annotations"),
            "ownerReferences": owner,
            "creationTimestamp": text("/metadata/creationTimestamp"),
            "deletionTimestamp": of_pod("/metadata/deletionTimestamp"),
            "managedFields": of_pod("/metadata/managedFields"),
        },
        "spec": with_container_names(template.get("spec")?, is_knative(text("/apiVersion"))),
        "status": of_pod("/status"),
    });
    Some((kind.to_owned(), name.unwrap_or_default().to_owned(), pod))
}

/// Returns the Pod spec in which containers without a name have one.
fn with_container_names(spec: &Value, is_knative: bool) -> Value {
    let mut spec = spec.clone();
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (number, container) in containers.iter_mut().enumerate() {
            let has_name = container
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| !name.is_empty());
            if let Some(container) = container.as_object_mut().filter(|_| !has_name) {
                let name = unnamed_container(list, number, is_knative);
                container.insert("name".to_owned(), name.into());
            }
        }
    }
    spec
}
