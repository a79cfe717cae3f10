//! A scripted API server on loopback, and its kubeconfig.

use http::Method;
use serde_json::{Value, json};
use testkit::api_server::{ApiServer, Listener, PODS, Route, list, pod};
use tokio::net::TcpListener;

use crate::support::{Directory, Run, sidewatch};

/// Returns a kubeconfig for a server, without credentials.
pub(crate) fn kubeconfig(server: &str) -> String {
    config(&json!({"server": server}), &json!({}))
}

/// Returns a kubeconfig with this cluster and this user.
pub(crate) fn config(cluster: &Value, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "pay"}}],
    });
    config.to_string()
}

/// Listens on a free port of loopback. Returns its URL too.
pub(crate) async fn loopback() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A scripted API server on loopback, and a directory with its kubeconfig.
pub(crate) struct Setup {
    pub(crate) server: ApiServer,
    listener: Listener,
    pub(crate) directory: Directory,
    pub(crate) kubeconfig: String,
}

impl Setup {
    pub(crate) async fn new(server: ApiServer) -> Self {
        let listener = server.listen().await;
        let directory = Directory::new();
        Self {
            kubeconfig: directory.file("kubeconfig", kubeconfig(&listener.url())),
            server,
            listener,
            directory,
        }
    }

    /// A server with these policies. The test answers requests for Pods.
    pub(crate) async fn without_pods(policies: &[Value]) -> Self {
        let server = ApiServer::default();
        server.serve_all_but_pods(policies);
        Self::new(server).await
    }

    /// A server with two Pods, of which one has an unready sidecar, and these policies.
    pub(crate) async fn with_pods(policies: &[Value]) -> Self {
        let setup = Self::without_pods(policies).await;
        let pods = [pod("web-1", "5", false), pod("web-2", "6", true)];
        setup.server.serve_quietly(PODS, list("Pod", "7", &pods));
        setup
    }

    /// The URL of the server.
    pub(crate) fn url(&self) -> String {
        self.listener.url()
    }

    /// The requests for Pods.
    pub(crate) fn pods(&self) -> Route {
        self.server.route(Method::GET, PODS)
    }

    /// Runs a command on the cluster.
    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        sidewatch(&[args, &["--kubeconfig", &self.kubeconfig]].concat()).await
    }

    /// Runs a command on all namespaces of the cluster.
    pub(crate) async fn run_on_all(&self, args: &[&str]) -> Run {
        self.run(&[args, &["-A"]].concat()).await
    }

    /// Tries a SidecarPolicy with this spec on the cluster.
    pub(crate) async fn simulate(&self, spec: &Value, more: &[&str]) -> Run {
        let policy = self.directory.policy("policy.json", spec);
        self.run_on_all(&[&["simulate", "-p", &policy], more].concat())
            .await
    }
}
