//! The Pods in files: Pods, and the Pods that the workloads in them create.

use std::{fmt, path::Path};

use serde_json::{Value, json};

use super::{exit::Failure, files};
use crate::{
    domain::observation::Observation,
    kubernetes::decode::{
        intern::Interner,
        pod::{LeanPod, observe},
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

/// Reads the Pods and the Pod templates of a file. Skips other objects. Fails if there is none. `namespace` is that of
/// objects that name none.
pub fn read(path: &Path, namespace: Option<&str>) -> Result<Vec<Manifest>, Failure> {
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    let mut interner = Interner::default();
    let mut manifests = Vec::new();
    for document in files::documents(path, LIMIT)? {
        let Some((kind, name, pod)) = pod_of(&document, namespace) else {
            continue;
        };
        let Some(observation) = decode(&pod, &mut interner) else {
            return Err(format!("{}: a {kind} is not valid: it has no name", path.display()).into());
        };
        manifests.push(Manifest {
            kind,
            name,
            pod,
            observation,
        });
    }
    if manifests.is_empty() {
        let kinds = "Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob";
        return Err(format!("{}: no Pod and no Pod template: expected {kinds}", path.display()).into());
    }
    Ok(manifests)
}

/// Decodes a Pod. Returns `None` if it has no identity.
pub fn decode(pod: &Value, interner: &mut Interner) -> Option<Observation> {
    let pod: LeanPod = serde_json::from_value(pod.clone()).ok()?;
    observe(pod, interner).ok()
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
    let pod = json!({
        "metadata": {
            "name": name,
            "namespace": text("/metadata/namespace").unwrap_or(namespace),
            "uid": text("/metadata/uid").unwrap_or("file"),
            "labels": template.pointer("/metadata/labels"),
            "creationTimestamp": text("/metadata/creationTimestamp"),
        },
        "spec": template.get("spec"),
        "status": if kind == "Pod" { object.get("status") } else { None },
    });
    Some((kind.to_owned(), name.unwrap_or_default().to_owned(), pod))
}
