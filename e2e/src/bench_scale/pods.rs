//! The two Pods of which all others are copies, as large as Pods of real clusters: some 12 kB of JSON.
//!
//! The API server adds defaults and `managedFields` when the Pods are created and their statuses are written.

use serde_json::{Value, json};

use super::population::{Identity, PodKind};

const CREATED: &str = "2026-10-01T06:00:00Z";
/// Where the sidecar of a native Pod is in `initContainerStatuses`.
pub(super) const NATIVE_SIDECAR_STATUS: usize = 1;
/// Name of the native sidecar.
pub(super) const NATIVE_SIDECAR: &str = "istio-proxy";
const CLASSIC_SIDECAR: &str = "log-agent";
/// Where the conditions Ready and ContainersReady are in `conditions`.
pub(super) const READY_CONDITIONS: [usize; 2] = [2, 3];
const CONDITIONS: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The Pod to create, without its status.
pub(super) fn pod(kind: PodKind, identity: &Identity) -> Value {
    let app = format!("checkout-{}", identity.workload);
    let replica_set = identity.replica_set();
    let (init, containers) = containers(kind, &identity.workload);
    let init: Vec<Value> = init.iter().map(|template| template.container(&app)).collect();
    let containers: Vec<Value> = containers
        .iter()
        .map(|template| template.container(&app))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": identity.pod_name(),
            "generateName": format!("{replica_set}-"),
            "namespace": identity.namespace,
            "labels": {
                "app": app, "pod-template-hash": "7d9f8c6b5d", "app.kubernetes.io/name": app,
                "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "1.42.0",
                "team": identity.namespace,
            },
            "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "8080",
                "checksum/config": "5f0c3ab8e1d94d77a60b1c2d3e4f50617283949a5b6c7d8e9fa0b1c2d3e4f506",
                "kubectl.kubernetes.io/restartedAt": "2026-09-30T12:00:00Z",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "controller": true,
                "uid": format!("3c1f6d0a-52be-4a90-9d21-{}", identity.owner_uid), "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": format!("{}.eu-west-1.compute.internal", identity.node),
            "serviceAccountName": app,
            "securityContext": {"fsGroup": 2000},
            "tolerations": [toleration("not-ready"), toleration("unreachable")],
            "volumes": volumes(&app),
            "initContainers": init,
            "containers": containers,
        },
    })
}

fn toleration(taint: &str) -> Value {
    json!({
        "key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 300,
    })
}

fn volumes(app: &str) -> Value {
    json!([
        {"name": "config", "configMap": {"name": app}},
        {"name": "kube-api-access", "projected": {"sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]}},
    ])
}

/// What differs between the containers.
struct ContainerTemplate {
    name: &'static str,
    image: String,
    variables: usize,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Ends before the others start.
    Init,
    /// An init container that is restarted always.
    NativeSidecar,
    Regular,
}

/// The init containers and the regular containers of a Pod.
fn containers(kind: PodKind, workload: &str) -> (Vec<ContainerTemplate>, Vec<ContainerTemplate>) {
    let template = |name, image: &str, variables, role| ContainerTemplate {
        name,
        image: image.to_owned(),
        variables,
        role,
    };
    let image = format!("registry.example.com/shop/checkout-{workload}:1.42.0");
    let app = template("app", &image, 7, Role::Regular);
    match kind {
        PodKind::Native => {
            let image = "registry.example.com/shop/migrate:1.42.0";
            let migrate = template("migrate", image, 2, Role::Init);
            let image = "docker.io/istio/proxyv2:1.27.1";
            let proxy = template(NATIVE_SIDECAR, image, 4, Role::NativeSidecar);
            (vec![migrate, proxy], vec![app])
        }
        PodKind::Classic => {
            let image = "docker.io/fluent/fluent-bit:4.1.0";
            let agent = template(CLASSIC_SIDECAR, image, 4, Role::Regular);
            (vec![], vec![app, agent])
        }
    }
}

impl ContainerTemplate {
    fn is_sidecar(&self) -> bool {
        [NATIVE_SIDECAR, CLASSIC_SIDECAR].contains(&self.name)
    }

    fn container(&self, app: &str) -> Value {
        let is_init = self.role == Role::Init;
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        let probe = json!({
            "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5,
            "timeoutSeconds": 1, "periodSeconds": 10,
        });
        json!({
            "name": self.name,
            "image": self.image,
            "restartPolicy": (self.role == Role::NativeSidecar).then_some("Always"),
            "args": ["--config=/etc/app/config.yaml", "--log-level=info"],
            "ports": (!is_init).then_some(ports),
            "env": environment(app, self.variables),
            "resources": {
                "requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"},
            },
            "volumeMounts": mounts(),
            "readinessProbe": (!is_init).then_some(probe),
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {
                "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
            },
        })
    }

    /// The status: an init container has completed, the others run.
    fn status(&self, number: usize, identity: &Identity, is_ready: bool) -> Value {
        let digest = "8d1c5a0b9e7f4c3d2a1b0f9e8d7c6b5a".repeat(2);
        let digest_start: String = digest.chars().take(62 - identity.container_id.len()).collect();
        let id = format!("containerd://{number:02x}{digest_start}{}", identity.container_id);
        let state = match self.role {
            Role::Init => json!({"terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": CREATED, "finishedAt": CREATED, "containerID": id,
            }}),
            Role::NativeSidecar | Role::Regular => json!({"running": {"startedAt": CREATED}}),
        };
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": format!("registry.example.com/app@sha256:{digest}"),
            "containerID": id,
            "ready": is_ready,
            "started": self.role != Role::Init,
            "restartCount": 0,
            "state": state,
            "lastState": {},
            "volumeMounts": mounts(),
        })
    }
}

fn environment(app: &str, variables: usize) -> Vec<Value> {
    let mut env = vec![
        json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
        json!({"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": format!("{app}-db"), "key": "password"}}}),
    ];
    env.extend((env.len()..variables).map(|number| {
        json!({
            "name": format!("SETTING_{number:02}_URL"),
            "value": format!("http://dependency-{number}.shop.svc:8080/"),
        })
    }));
    env
}

fn mounts() -> Value {
    json!([
        {"name": "config", "mountPath": "/etc/app", "readOnly": true},
        {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
    ])
}

/// The status of the Pod: everything runs and is ready, except the sidecar if the Pod is faulty.
pub(super) fn status(kind: PodKind, identity: &Identity, is_faulty: bool) -> Value {
    let (init, containers) = containers(kind, &identity.workload);
    let statuses = |templates: &[ContainerTemplate], first: usize| -> Vec<Value> {
        let numbered = templates.iter().zip(first..);
        numbered
            .map(|(template, number)| {
                let is_ready = !(is_faulty && template.is_sidecar());
                template.status(number, identity, is_ready)
            })
            .collect()
    };
    let conditions = CONDITIONS.map(|kind| {
        let is_ready = !(is_faulty && kind.ends_with("Ready"));
        let status = if is_ready { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": CREATED, "observedGeneration": 1})
    });
    json!({
        "phase": "Running",
        "hostIP": identity.host_ip,
        "hostIPs": [{"ip": identity.host_ip}],
        "podIP": identity.pod_ip,
        "podIPs": [{"ip": identity.pod_ip}],
        "startTime": CREATED,
        "qosClass": "Burstable",
        "conditions": conditions,
        "initContainerStatuses": statuses(&init, 1),
        "containerStatuses": statuses(&containers, 11),
    })
}
