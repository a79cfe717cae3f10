//! The Deployments of the operator: where they are, how they are configured, and whether they run.

use serde_json::Value;

use super::{
    access::Access,
    diagnosis::{Code, Diagnosis},
};
use crate::{cli::exit::Failure, domain::image_version::ImageVersion};

/// The label of the operator in the chart and in `config/`. `nameOverride` of the chart changes `app.kubernetes.io/name`, but
/// not this label.
const SELECTOR: &str = "app.kubernetes.io%2Fpart-of%3Dsidewatch";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of the Lease without a flag.
const DEFAULT_LEASE: &str = "sidewatch";

/// One Deployment of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) service_account: String,
    pub(super) lease: String,
    pub(super) elects_leader: bool,
    pub(super) protects_metrics: bool,
    /// The namespaces that it watches; empty for all.
    pub(super) watched: Vec<String>,
    /// The labels of its Pods.
    pub(super) labels: Value,
}

/// Finds the Deployments, in one namespace or in all.
pub(super) async fn examine(
    access: &Access<'_>,
    namespace: Option<&str>,
    diagnosis: &mut Diagnosis,
) -> Result<Vec<Installation>, Failure> {
    let scope = namespace
        .map(|name| format!("/namespaces/{name}"))
        .unwrap_or_default();
    let path = format!("/apis/apps/v1{scope}/deployments?labelSelector={SELECTOR}");
    let deployments = match access.list(&path).await? {
        Ok(deployments) => deployments.unwrap_or_default(),
        Err(reason) => {
            diagnosis.skip(
                Code::SD010,
                format!("{reason}; --operator-namespace needs the right in one namespace only"),
            );
            return Ok(Vec::new());
        }
    };
    let mut installations = Vec::new();
    for deployment in &deployments {
        let Some(installation) = Installation::of(deployment) else {
            continue;
        };
        let Installation { namespace, name, .. } = &installation;
        diagnosis.ok(Code::SD010, format!("Deployment {namespace}/{name}"));
        examine_replicas(deployment, &installation, diagnosis);
        examine_version(deployment, diagnosis);
        installations.push(installation);
    }
    match installations.as_slice() {
        [] => diagnosis.fail(
            Code::SD010,
            "there is no Deployment with the label app.kubernetes.io/part-of=sidewatch",
            "install the operator as in docs/install.md; the other commands work without it",
        ),
        [_] => {}
        several => examine_several(several, diagnosis),
    }
    Ok(installations)
}

/// Several installations are in order if no two watch the same namespace.
fn examine_several(installations: &[Installation], diagnosis: &mut Diagnosis) {
    for (number, one) in installations.iter().enumerate() {
        for other in installations.iter().skip(number + 1) {
            let is_disjoint = !one.watched.is_empty()
                && !other.watched.is_empty()
                && one.watched.iter().all(|name| !other.watched.contains(name));
            if !is_disjoint {
                diagnosis.fail(
                    Code::SD010,
                    format!(
                        "{}/{} and {}/{} evaluate the same policies",
                        one.namespace, one.name, other.namespace, other.name
                    ),
                    "uninstall one of them, or limit them to different namespaces",
                );
            }
        }
    }
}

fn examine_replicas(deployment: &Value, installation: &Installation, diagnosis: &mut Diagnosis) {
    let Installation {
        namespace,
        name,
        elects_leader,
        ..
    } = installation;
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
    let message = format!("{ready} of {wanted} are ready");
    let look =
        format!("see kubectl get pods -n {namespace} and kubectl logs -n {namespace} deployment/{name}");
    if wanted == 0 {
        diagnosis.fail(Code::SD011, "the Deployment is scaled to 0", "scale it to 2");
    } else if ready == 0 {
        diagnosis.fail(Code::SD011, message, &look);
    } else if ready < wanted {
        diagnosis.warn(Code::SD011, message, &look);
    } else if wanted > 1 && !elects_leader {
        diagnosis.fail(
            Code::SD011,
            format!("{message}, without leader election: each of them writes"),
            "add --leader-elect, or scale it to 1",
        );
    } else {
        diagnosis.ok(Code::SD011, message);
    }
}

fn examine_version(deployment: &Value, diagnosis: &mut Diagnosis) {
    let Some(image) = container(deployment).and_then(|container| container["image"].as_str()) else {
        return;
    };
    let version = ImageVersion::of(image);
    if !version.is_ordered() {
        diagnosis.skip(Code::SD012, format!("the image {image} has no version"));
    } else if version == ImageVersion::of(&format!("sidewatch:{VERSION}")) {
        diagnosis.ok(Code::SD012, format!("{version}, as this command"));
    } else {
        diagnosis.warn(
            Code::SD012,
            format!("{version}, but this command is {VERSION}"),
            "use the command of the same version, so that both evaluate alike",
        );
    }
}

/// Returns the container that runs the operator.
fn container(deployment: &Value) -> Option<&Value> {
    let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
    let named = containers
        .iter()
        .find(|container| container["name"] == "sidewatch");
    named.or_else(|| containers.first())
}

impl Installation {
    /// Reads the flags of a Deployment, as the manifests write them. Returns `None` if it does not run the operator.
    fn of(deployment: &Value) -> Option<Self> {
        let text = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_str);
        let args = container(deployment)?["args"].as_array()?;
        let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        if !args.contains(&"run") {
            return None;
        }
        let values = |flag: &str| -> Vec<String> {
            let values = args
                .iter()
                .filter_map(|arg| arg.strip_prefix(flag)?.strip_prefix('='));
            values.map(str::to_owned).collect()
        };
        Some(Self {
            namespace: text("/metadata/namespace")?.to_owned(),
            name: text("/metadata/name")?.to_owned(),
            service_account: text("/spec/template/spec/serviceAccountName")
                .unwrap_or("default")
                .to_owned(),
            lease: values("--lease-name")
                .pop()
                .unwrap_or_else(|| DEFAULT_LEASE.to_owned()),
            elects_leader: args.contains(&"--leader-elect"),
            protects_metrics: args.contains(&"--metrics-auth"),
            watched: values("--namespace"),
            labels: deployment
                .pointer("/spec/template/metadata/labels")
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Returns the name of its ServiceAccount as a user.
    pub(super) fn user(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.service_account
        )
    }
}
