//! Configuration of the kubelet.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::runtime;
use crate::ControlPlane;
use crate::cluster::addresses::{NODE, NODE_NAME};
use crate::cluster::kubeconfig::{self, User};
use crate::process::Spec;
use crate::tools::{Tool, ToolPaths};

/// The command that starts the kubelet, with all Pods in `cgroup`.
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
        .arg(format!("--hostname-override={NODE_NAME}"))
        .arg(format!("--node-ip={NODE}")))
}

/// As on a real node, except for settings that would affect the machine: no eviction, no image garbage collection, no
/// reserved resources, no iptables rules.
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
        // The kubelet renews its Lease four times in this time. The node controller must not wait for the default of 50 s.
        "nodeLeaseDurationSeconds": 12,
        "podLogsDir": plane.dir().join("pod-logs"),
        "readOnlyPort": 0,
        "resolvConf": "",
        // With cgroup v2 the default kills the whole container, with v1 one process.
        "singleProcessOOMKill": true,
        // Period of the full sync; the default is a minute.
        "syncFrequency": "10s",
    })
}
