//! The tools and how each is built.

use anyhow::Result;

use super::kubernetes::KubernetesVersion;

/// A program that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Store of the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// Command line client.
    Kubectl,
    /// Controllers: namespaces, garbage collection, aggregated roles.
    KubeControllerManager,
    /// Binds Pods to nodes.
    KubeScheduler,
    /// Runs the Pods of a node.
    Kubelet,
    /// Runs the containers of the kubelet, with runc.
    Containerd,
    /// Process of containerd for each Pod.
    ContainerdShim,
    /// Client of containerd, which imports images.
    Ctr,
    /// CNI plugin: bridge.
    CniBridge,
    /// CNI plugin: loopback.
    CniLoopback,
    /// CNI plugin: IP addresses.
    CniHostLocal,
    /// Metrics of the common alerts.
    KubeStateMetrics,
    /// Checks metrics and rules.
    Promtool,
    /// Prometheus.
    Prometheus,
    /// Helm 4.
    Helm,
    /// Helm 3.
    Helm3,
}

/// Arguments of `go build`.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) family: String,
    pub(super) package: String,
    pub(super) ldflags: String,
    pub(super) tags: &'static str,
}

const STRIPPED: &str = "-s -w";
/// Version of Kubernetes that Helm 3 assumes without a cluster (Helm 4 reads it from its modules).
const HELM3: &str = "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37";

impl Tool {
    /// Tools of a control plane.
    pub const CONTROL_PLANE: [Self; 3] = [Self::Etcd, Self::KubeApiserver, Self::Kubectl];
    /// Additional tools of a node.
    pub const NODE: [Self; 9] = [
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
        Self::CniBridge,
        Self::CniLoopback,
        Self::CniHostLocal,
    ];
    /// Additional tools for scenarios on a node.
    pub const RUNNER: [Self; 3] = [Self::Helm, Self::KubeStateMetrics, Self::Prometheus];
    /// Every tool that runs on this system. A node needs Linux.
    pub fn here() -> Vec<Self> {
        let node: &[Self] = if cfg!(target_os = "linux") {
            &Self::NODE
        } else {
            &[Self::KubeControllerManager]
        };
        let others = [Self::Promtool, Self::Helm3];
        [&Self::CONTROL_PLANE, node, &Self::RUNNER, &others].concat()
    }

    /// Name of the binary.
    pub fn name(self) -> &'static str {
        let (name, ..) = self.row();
        name
    }

    /// Name of the binary, its family of tools, and its Go package.
    #[rustfmt::skip]
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Etcd => ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
            Self::KubeApiserver => ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::Kubectl => ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
            Self::KubeControllerManager =>
                ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            Self::KubeScheduler => ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubelet => ("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
            Self::Containerd => ("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            Self::ContainerdShim => ("containerd-shim-runc-v2", "containerd",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            Self::Ctr => ("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr"),
            Self::CniBridge => ("bridge", "cni", "github.com/containernetworking/plugins/plugins/main/bridge"),
            Self::CniLoopback => ("loopback", "cni", "github.com/containernetworking/plugins/plugins/main/loopback"),
            Self::CniHostLocal => ("host-local", "cni", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            Self::KubeStateMetrics => ("kube-state-metrics", "kube-state-metrics", "k8s.io/kube-state-metrics/v2"),
            Self::Promtool => ("promtool", "prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
            Self::Prometheus => ("prometheus", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
            Self::Helm => ("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
            Self::Helm3 => ("helm3", "helm3", "helm.sh/helm/v3/cmd/helm"),
        }
    }

    /// Environment variable with its path, such as `TEST_ASSET_KUBE_APISERVER`.
    pub(super) fn variable(self) -> String {
        format!("TEST_ASSET_{}", self.name().replace('-', "_").to_uppercase())
    }

    /// How to build it for this version of Kubernetes. kubectl is always the newest one, containerd that of the time.
    pub(super) fn recipe(self, version: KubernetesVersion) -> Result<Recipe> {
        let (_, family, package) = self.row();
        let version = if self == Self::Kubectl {
            KubernetesVersion::NEWEST
        } else {
            version
        };
        let (ldflags, tags) = match family {
            "kubernetes" => (version.ldflags()?, ""),
            "helm3" => (HELM3.to_owned(), ""),
            // without file systems that need C libraries and that no test uses
            "containerd" => (STRIPPED.to_owned(), "no_btrfs,no_devmapper,no_zfs"),
            // without cloud service discovery: a third of the build
            "prometheus" => (STRIPPED.to_owned(), "remove_all_sd,enable_kubernetes_sd"),
            _ => (STRIPPED.to_owned(), ""),
        };
        let (containerd, module) = version.containerd();
        Ok(Recipe {
            family: match family {
                "kubernetes" => version.family(),
                "containerd" => containerd.to_owned(),
                _ => family.to_owned(),
            },
            package: package.replace("github.com/containerd/containerd/v2", module),
            ldflags,
            tags,
        })
    }
}
