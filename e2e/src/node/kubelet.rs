//! The kubelet's configuration.
//!
//! Input: a control plane, and the cgroup that everything is to be under. Output: the command that starts the kubelet.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{ADDRESS, NAME, runtime};
use crate::ControlPlane;
use crate::kubeconfig::{self, User};
use crate::process::Spec;
use crate::tools::{Tool, ToolPaths};

pub(super) fn command(plane: &ControlPlane, tools: &ToolPaths, cgroup: &str) -> Result<Spec> {
    let dir = plane.dir();
    let identity = &plane.pki().node;
    let user = User::Certificate {
        public: identity.public.clone(),
        key: identity.key.clone(),
    };
    let kubeconfig = dir.join("kubelet.kubeconfig");
    kubeconfig::write(
        &kubeconfig,
        &kubeconfig::kubeconfig(plane.url(), plane.ca_path(), &user),
    )?;
    let config = dir.join("kubelet.yaml");
    fs::write(&config, configuration(plane, cgroup).to_string())?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    Ok(Spec::new(tools.path(Tool::Kubelet)?)
        .arg(file("config", &config))
        .arg(file("kubeconfig", &kubeconfig))
        .arg(file("root-dir", &dir.join("kubelet")))
        .arg(format!("--hostname-override={NAME}"))
        .arg(format!("--node-ip={ADDRESS}")))
}

/// As a real node's, but for what a machine that does something else besides cannot have: no eviction, no image collection,
/// no reservation of its resources, no rules of a packet filter.
fn configuration(plane: &ControlPlane, cgroup: &str) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": plane.ca_path()},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        // In-place resize needs the hierarchy of QoS classes.
        "cgroupsPerQOS": true,
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": format!("unix://{}", runtime::socket(plane).display()),
        "enforceNodeAllocatable": ["none"],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "failCgroupV1": false,
        "failSwapOn": false,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "maxPods": 200,
        // It renews its Lease four times in this time; the node controller must not wait for 50 s to miss it.
        "nodeLeaseDurationSeconds": 12,
        "podLogsDir": plane.dir().join("pod-logs"),
        "readOnlyPort": 0,
        "resolvConf": "",
        // With cgroup v2 a container is killed as a whole by default; with v1 never.
        "singleProcessOOMKill": true,
        // A minute by default: how late the kubelet may notice what it is not told.
        "syncFrequency": "10s",
    })
}
