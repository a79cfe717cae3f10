//! etcd and kube-apiserver on loopback. No root needed.
//!
//! A test can kill, freeze and restart the API server. All processes and files end with the handle, or with the process that
//! holds it.
//!
//! There is no controller manager, scheduler or node: namespaces are never finalized (use a new one for each test), no
//! ServiceAccount is created automatically, nothing is garbage-collected, no Deployment creates Pods. TokenRequest, RBAC,
//! CRDs, Events and writes to `pods/status` work; [`simulated_kubelet`](crate::simulated_kubelet) acts as scheduler and node.

mod backup;
mod upgrade;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::OnceCell;

use super::kubeconfig::{self, User};
use super::kubectl::Cluster;
use super::pki::Pki;
use crate::process::{Process, Scratch, Spec, free_ports, wait_until_ready};
use crate::tools::{self, Tool, ToolPaths};
pub use backup::Backup;

/// An idle machine needs about three seconds, and a busy one minutes for 50,000 Pods.
const READY_WITHIN: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(50);

/// A running control plane. Dropping the handle stops it.
#[derive(Debug)]
#[must_use]
pub struct ControlPlane {
    url: String,
    address: SocketAddrV4,
    etcd_url: String,
    tools: ToolPaths,
    flags: Vec<String>,
    pki: Pki,
    cluster: Cluster,
    names: AtomicU32,
    // Dropped in this order: the API server before etcd, the files last.
    api_server: Process,
    etcd: Process,
    scratch: Scratch,
}

/// The control plane that all tests of one test binary share; it ends with the process. Each test uses its own namespace. A
/// test that kills or freezes the API server needs its own [`ControlPlane`].
pub async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_try_init(ControlPlane::start).await
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver and waits until the API server is ready. Builds the programs if they are missing.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts it with additional flags for kube-apiserver.
    pub async fn start_with(flags: &[String]) -> Result<Self> {
        // The plugin requires a ServiceAccount for every Pod, and no controller creates them here.
        let mut all = vec!["--disable-admission-plugins=ServiceAccount".to_owned()];
        all.extend_from_slice(flags);
        Self::start_on(None, &all).await
    }

    /// Starts it at this address instead of loopback, for a node.
    pub(crate) async fn start_at(address: SocketAddrV4, flags: &[String]) -> Result<Self> {
        Self::start_on(Some(address), flags).await
    }

    async fn start_on(address: Option<SocketAddrV4>, flags: &[String]) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&Tool::CONTROL_PLANE)).await??;
        // Another process may take a port before the server listens on it.
        let mut tries = 3;
        loop {
            tries -= 1;
            match Self::start_once(tools.clone(), address, flags).await {
                Err(error) if tries > 0 && address_in_use(&format!("{error:#}")) => {}
                result => return result,
            }
        }
    }

    async fn start_once(tools: ToolPaths, address: Option<SocketAddrV4>, flags: &[String]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let dir = scratch.path();
        let pki = Pki::create(dir)?;
        let (etcd_port, port) = free_ports()?;
        let address = address.unwrap_or(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let etcd = Process::start(
            &etcd_command(tools.path(Tool::Etcd)?, dir, &etcd_url),
            &dir.join("etcd.log"),
        )?;
        let command =
            api_server_command(tools.path(Tool::KubeApiserver)?, dir, &etcd_url, address, &pki).args(flags);
        let api_server = Process::start(&command, &dir.join("kube-apiserver.log"))?;
        let mut plane = Self {
            url: format!("https://{address}"),
            address,
            etcd_url,
            cluster: Cluster::new(
                tools.path(Tool::Kubectl)?,
                &dir.join("admin.kubeconfig"),
                dir.join("kubectl"),
            ),
            tools,
            flags: flags.to_vec(),
            names: AtomicU32::new(0),
            pki,
            api_server,
            etcd,
            scratch,
        };
        kubeconfig::write(
            plane.kubeconfig_path(),
            &kubeconfig::kubeconfig(&plane.url, &plane.pki.ca, &plane.admin()),
        )?;
        plane.wait_until_ready().await?;
        Ok(plane)
    }

    /// A client with all permissions. Create one per test: its connections belong to the runtime that created it.
    pub async fn client(&self) -> Result<Client> {
        self.client_of(&self.admin()).await
    }

    /// A client with this bearer token.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        self.client_of(&User::Token(token.into())).await
    }

    /// The cluster, with the kubeconfig of the administrator.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// See [`Cluster::kubectl`]; with the credentials of the administrator.
    pub async fn kubectl(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.cluster().kubectl(args).await
    }

    /// See [`Cluster::kubectl_line`].
    pub async fn kubectl_line(&self, line: &str) -> Result<String> {
        self.cluster().kubectl_line(line).await
    }

    /// See [`Cluster::kubectl_with_input`].
    pub async fn kubectl_with_input(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        self.cluster().kubectl_with_input(args, input).await
    }

    /// See [`Cluster::apply`].
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.cluster().apply(manifests).await
    }

    /// See [`Cluster::apply_in`].
    pub async fn apply_in(&self, namespace: &str, manifests: &str) -> Result<()> {
        self.cluster().apply_in(namespace, manifests).await
    }

    /// The kubeconfig file of the administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        self.cluster.kubeconfig_path()
    }

    /// URL of the API server, `https://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.into()
    }

    /// The address of etcd, `http://HOST:PORT`.
    pub(crate) fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    pub(crate) fn ca_path(&self) -> &Path {
        &self.pki.ca
    }

    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Certificate of the authority that signed the certificate of the API server, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pki.ca_pem
    }

    /// Directory for files of a test (kubeconfigs, tokens, logs), which is removed with the control plane.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Path of kubectl, for tests that run it as a process.
    pub fn kubectl_path(&self) -> &Path {
        self.cluster.kubectl_path()
    }

    /// Process ids of etcd and kube-apiserver.
    pub fn process_ids(&self) -> [u32; 2] {
        [self.etcd.id(), self.api_server.id()]
    }

    /// Creates a namespace that no other test uses, and returns its name: the prefix and a number.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = self.unique(prefix);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let api: Api<Namespace> = Api::all(self.client().await?);
        api.create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("create namespace {name}"))?;
        Ok(name)
    }

    /// Kills the API server (SIGKILL): connections break, new ones are refused.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api_server.kill().map(|_| ())
    }

    /// Stops the API server (SIGSTOP): connections stay open, the kernel accepts new ones, nothing answers.
    pub fn freeze_api_server(&mut self) -> Result<()> {
        self.api_server.freeze()
    }

    /// Resumes a frozen API server.
    pub fn thaw_api_server(&mut self) -> Result<()> {
        self.api_server.thaw()
    }

    /// Kills the API server if it runs, starts it again with the same port and etcd, and waits until it is ready.
    pub async fn restart_api_server(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.kill_api_server()?;
            let program = self.tools.path(Tool::KubeApiserver)?;
            let command = api_server_command(program, self.dir(), &self.etcd_url, self.address, &self.pki)
                .args(&self.flags);
            // A new log, so that messages of the killed server do not count.
            let log = self
                .dir()
                .join(format!("kube-apiserver-{}.log", self.api_server.id()));
            self.api_server = Process::start(&command, &log)?;
            match self.wait_until_ready().await {
                // An outgoing connection may have got the port in the meantime; it does not last.
                Err(error) if Instant::now() < deadline && address_in_use(&format!("{error:#}")) => {
                    tokio::time::sleep(POLL).await;
                }
                result => return result,
            }
        }
    }

    /// Stops everything now; an error names what could not be stopped.
    pub fn stop(mut self) -> Result<()> {
        self.api_server.kill()?;
        self.etcd.kill()?;
        Ok(())
    }

    /// A name that is unique in this control plane: the prefix and a number.
    pub(crate) fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn admin(&self) -> User {
        User::Certificate {
            public: self.pki.admin.public.clone(),
            key: self.pki.admin.key.clone(),
        }
    }

    async fn client_of(&self, user: &User) -> Result<Client> {
        let kubeconfig = kubeconfig::kubeconfig(&self.url, &self.pki.ca, user);
        kubeconfig::client(serde_json::from_value(kubeconfig)?).await
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let mut servers = [&mut self.etcd, &mut self.api_server];
        wait_until_ready(&mut servers, READY_WITHIN, async || {
            let ready = tokio::time::timeout(Duration::from_secs(2), ready(&client)).await;
            Ok(ready.context("no answer within 2 s")??)
        })
        .await
    }
}

/// Checks `/readyz`, and the namespace for Events of cluster-scoped objects, which the server creates a little later.
async fn ready(client: &Client) -> kube::Result<()> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await?;
    Api::<Namespace>::all(client.clone())
        .get("default")
        .await
        .map(|_| ())
}

fn address_in_use(text: &str) -> bool {
    text.contains("address already in use")
}

fn etcd_command(program: &Path, dir: &Path, url: &str) -> Spec {
    Spec::new(program)
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        // no other member joins: any port
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        // the data need not survive a crash of the machine
        .arg("--unsafe-no-fsync=true")
        // the default of 2 GiB is too small for the Pods of a large cluster
        .arg("--quota-backend-bytes=8589934592")
}

fn api_server_command(program: &Path, dir: &Path, etcd_url: &str, address: SocketAddrV4, pki: &Pki) -> Spec {
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    Spec::new(program)
        .arg(format!("--etcd-servers={etcd_url}"))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--advertise-address={}", address.ip()))
        .arg(format!("--secure-port={}", address.port()))
        .arg(file("cert-dir", &dir.join("certs")))
        .arg(file("tls-cert-file", &pki.server.public))
        .arg(file("tls-private-key-file", &pki.server.key))
        .arg(file("client-ca-file", &pki.ca))
        .arg(file("service-account-key-file", &pki.service_account.public))
        .arg(file("service-account-signing-key-file", &pki.service_account.key))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--authorization-mode=Node,RBAC")
        // logs and exec
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg(file("kubelet-client-certificate", &pki.admin.public))
        .arg(file("kubelet-client-key", &pki.admin.key))
        .args([
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
        ])
        .args(["--allow-privileged=true", "--profiling=false", "--event-ttl=1h"])
}
