//! Test harness of Sidewatch: clusters, the operator under test, faults, scenarios and the demo.
//!
//! | folder | job | uses |
//! | --- | --- | --- |
//! | [`process`] | child processes, programs on the PATH, temporary directories, free ports | |
//! | [`project`] | the work tree, and cargo builds in it | `process` |
//! | [`http`] | HTTP client for loopback endpoints | |
//! | [`tls`] | TLS settings of servers and clients | |
//! | [`tools`] | finds or builds etcd, kube-apiserver, kubelet, Helm, Prometheus | `process` |
//! | `kube_state_metrics` | kube-state-metrics on loopback | `tools` |
//! | [`promtool`] | checks metrics and rules of Prometheus | `tools` |
//! | [`cluster`] | etcd and kube-apiserver on loopback; kubectl, kubeconfigs, tokens | `tools` |
//! | [`images`] | container images of the operator and of the test workload | `project` |
//! | [`node`] | a real node: kubelet and containerd in their own Linux namespaces | `cluster`, `images` |
//! | [`operator`] | the operator under test: as a process, or installed by its chart | `cluster`, `images` |
//! | [`simulated_kubelet`] | writes the Pod statuses of `testkit::kubelet` to an API server | |
//! | [`faults`] | fault proxy in front of the API server, and comparison with an undisturbed run | `operator` |
//! | [`node_failover`] | random Pods, and the comparison of the violations that several operators report | |
//! | [`observers`] | kube-state-metrics, Prometheus and alerts | `node`, `scenario` |
//! | [`scenario`] | what happens to Pods and what Sidewatch must report | `observers`, `operator` |
//! | [`harness`] | reports tests that share one cluster, and so have run before | |
//! | [`bench_scale`] | the operator and kube-state-metrics with many Pods | `operator` |
//! | [`soak`] | two replicas with random disturbances beside an undisturbed operator, for an hour | `faults` |
//! | [`compat`] | the tests with an API server, with several versions of Kubernetes | `tools` |
//! | [`demo`] | the operator and six Pods, five of which fail | `node`, `operator`, `simulated_kubelet` |
//!
//! All processes and files end with the process that started them.

pub mod bench_scale;
pub mod cluster;
pub mod compat;
pub mod demo;
pub mod faults;
pub mod harness;
pub mod http;
pub mod images;
mod kube_state_metrics;
pub mod metrics;
pub mod node;
pub mod node_failover;
pub mod observers;
pub mod operator;
pub mod poll;
pub mod process;
pub mod project;
pub mod promtool;
pub mod scenario;
pub mod simulated_kubelet;
pub mod soak;
pub mod tls;
pub mod tools;

pub use cluster::{AuditLog, Cluster, ControlPlane, TokenKubeconfig, shared};
