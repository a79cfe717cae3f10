//! Configuration of the kubelet.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::runtime;
use crate::ControlPlane;
use crate::cluster::addresses::NODE_NAME;
use crate::cluster::kubeconfig::{self, User};
use crate::process::Spec;
use crate::tools::{Tool, ToolPaths};

/// What depends on where the kubelet runs.
pub(super) struct Settings<'a> {
    /// The parent cgroup of all Pods.
    pub(super) cgroup: &'a str,
    /// The address of the node.
    pub(super) address: Ipv4Addr,
    /// With cgroup v2 the default of the kubelet kills the whole container, with v1 one process.
    pub(super) single_process_oom_kill: Option<bool>,
}

/// The command that starts the kubelet.
pub(super) fn command(plane: &ControlPlane, tools: &ToolPaths, settings: &Settings<'_>) -> Result<Spec> {
    Ok(Spec::new(tools.path(Tool::Kubelet)?).args(arguments(plane, settings)?))
}

/// Writes the configuration, and returns the arguments of the kubelet.
pub(super) fn arguments(plane: &ControlPlane, settings: &Settings<'_>) -> Result<Vec<String>> {
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
    fs::write(&config, configuration(plane, settings).to_string())?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    Ok(vec![
        file("config", &config),
        file("kubeconfig", &kubeconfig),
        file("root-dir", &dir.join("kubelet")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={}", settings.address),
    ])
}

/// As on a real node, except for settings that would affect the machine: no eviction, no image garbage collection, no
/// reserved resources, no iptables rules.
fn configuration(plane: &ControlPlane, settings: &Settings<'_>) -> serde_json::Value {
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
        "cgroupRoot": settings.cgroup,
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
        "singleProcessOOMKill": settings.single_process_oom_kill,
        // Period of the full sync; the default is a minute.
        "syncFrequency": "10s",
    })
}
