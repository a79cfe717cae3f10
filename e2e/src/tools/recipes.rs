//! Which programs there are, and how each is built.
//!
//! Output: [`Tool`] and its recipe. Must not: build or look for anything.

/// A program that tests may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The store of the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// The command line client.
    Kubectl,
    /// The controllers: namespaces, garbage, roles that are made of others.
    KubeControllerManager,
    /// What finds a node for each Pod.
    KubeScheduler,
    /// What runs the Pods of a node.
    Kubelet,
    /// What runs the kubelet's containers, with runc.
    Containerd,
    /// containerd's process beside each Pod.
    ContainerdShim,
    /// containerd's own client, which imports images.
    Ctr,
    /// The network of Pods: a bridge.
    CniBridge,
    /// The network of Pods: loopback.
    CniLoopback,
    /// The network of Pods: addresses.
    CniHostLocal,
    /// What the usual alerts are made of.
    KubeStateMetrics,
    /// Prometheus' checker of metrics and rules.
    Promtool,
    /// Prometheus itself.
    Prometheus,
    /// Helm 4.
    Helm,
    /// Helm 3, which many still use.
    Helm3,
}

/// What `go build` needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) family: &'static str,
    pub(super) package: &'static str,
    pub(super) ldflags: &'static str,
    pub(super) tags: &'static str,
}

/// Kubernetes' own build stamps its version in like this; an unstamped server says `v0.0.0`.
const STAMPED: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
    -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=v1.37.1";
const STRIPPED: &str = "-s -w";
/// Helm 3 takes an unknown cluster for one of the version that it was stamped with (Helm 4 asks its own modules).
const HELM3: &str = "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37";

impl Tool {
    /// The tools of a control plane.
    pub const CONTROL_PLANE: [Self; 3] = [Self::Etcd, Self::KubeApiserver, Self::Kubectl];
    /// What a node needs beside a control plane.
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
    /// What plays scenarios on a node, beside the node.
    pub const RUNNER: [Self; 3] = [Self::Helm, Self::KubeStateMetrics, Self::Prometheus];
    /// Every tool that runs on this system: a node needs Linux.
    pub fn here() -> Vec<Self> {
        let node: &[Self] = if cfg!(target_os = "linux") {
            &Self::NODE
        } else {
            &[Self::KubeControllerManager]
        };
        let others = [Self::Promtool, Self::Helm3];
        [&Self::CONTROL_PLANE, node, &Self::RUNNER, &others].concat()
    }

    /// The name of the binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::CniBridge => "bridge",
            Self::CniLoopback => "loopback",
            Self::CniHostLocal => "host-local",
            Self::KubeStateMetrics => "kube-state-metrics",
            Self::Promtool => "promtool",
            Self::Prometheus => "prometheus",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
        }
    }

    /// The environment variable that says where it is: `TEST_ASSET_KUBE_APISERVER`.
    pub(super) fn variable(self) -> String {
        format!("TEST_ASSET_{}", self.name().replace('-', "_").to_uppercase())
    }

    pub(super) fn recipe(self) -> Recipe {
        let plain = |family, package| Recipe {
            family,
            package,
            ldflags: STRIPPED,
            tags: "",
        };
        let kubernetes = |package| Recipe {
            ldflags: STAMPED,
            ..plain("kubernetes", package)
        };
        let containerd = |package| Recipe {
            // file systems that no test uses, and that need C libraries
            tags: "no_btrfs,no_devmapper,no_zfs",
            ..plain("containerd", package)
        };
        let prometheus = |package| Recipe {
            // without the service discoveries of all the clouds: a third of the build
            tags: "remove_all_sd,enable_kubernetes_sd",
            ..plain("prometheus", package)
        };
        match self {
            Self::Etcd => plain("etcd", "go.etcd.io/etcd/server/v3"),
            Self::KubeApiserver => kubernetes("k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::Kubectl => kubernetes("k8s.io/kubernetes/cmd/kubectl"),
            Self::KubeControllerManager => kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager"),
            Self::KubeScheduler => kubernetes("k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubelet => kubernetes("k8s.io/kubernetes/cmd/kubelet"),
            Self::Containerd => containerd("github.com/containerd/containerd/v2/cmd/containerd"),
            Self::ContainerdShim => {
                containerd("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2")
            }
            Self::Ctr => containerd("github.com/containerd/containerd/v2/cmd/ctr"),
            Self::CniBridge => plain(
                "cni",
                "github.com/containernetworking/plugins/plugins/main/bridge",
            ),
            Self::CniLoopback => plain(
                "cni",
                "github.com/containernetworking/plugins/plugins/main/loopback",
            ),
            Self::CniHostLocal => plain(
                "cni",
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
            ),
            Self::KubeStateMetrics => plain("kube-state-metrics", "k8s.io/kube-state-metrics/v2"),
            Self::Promtool => prometheus("github.com/prometheus/prometheus/cmd/promtool"),
            Self::Prometheus => prometheus("github.com/prometheus/prometheus/cmd/prometheus"),
            Self::Helm => plain("helm", "helm.sh/helm/v4/cmd/helm"),
            Self::Helm3 => Recipe {
                ldflags: HELM3,
                ..plain("helm3", "helm.sh/helm/v3/cmd/helm")
            },
        }
    }
}
