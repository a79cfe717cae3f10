//! A real Kubernetes control plane on loopback: etcd and kube-apiserver, no root needed.
//!
//! Input: the programs that [`tools`](crate::tools) provides. Output: a [`ControlPlane`] that hands out clients, runs
//! kubectl, and lets its API server die, freeze and come back. Nothing survives it: processes and files end with its
//! handle, or with the process that holds it ([`process`](crate::process), [`scratch`](crate::scratch)).
//!
//! What it lacks, as there is no controller manager, scheduler or node: namespaces are never finalized (take a new one for
//! each test), no ServiceAccount is made by itself, nothing is garbage-collected, no Deployment makes Pods. TokenRequest,
//! RBAC, CRDs, Events and writes to `pods/status` all work; the fake kubelet plays scheduler and node.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::kubeconfig::{self, User};
use crate::kubectl::Cluster;
use crate::pki::Pki;
use crate::process::{Process, Spec};
use crate::scratch::Scratch;
use crate::tools::{self, Tool, ToolPaths};

/// Generous, for a busy machine: alone it takes about three seconds.
const READY_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(50);

/// A running control plane. Dropping it ends it.
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
    // In this order: the server before its store, and the files last.
    api_server: Process,
    etcd: Process,
    scratch: Scratch,
}

/// The control plane that all tests of one test binary share; it ends with the process. Take a namespace of your own. A
/// test that kills or freezes the API server needs a [`ControlPlane`] of its own too.
pub async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_try_init(ControlPlane::start).await
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver, and returns when the API server is ready. Builds the programs if need be.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further flags for kube-apiserver.
    pub async fn start_with(flags: &[String]) -> Result<Self> {
        // nothing here makes the ServiceAccounts that this plugin asks of every Pod
        let mut all = vec!["--disable-admission-plugins=ServiceAccount".to_owned()];
        all.extend_from_slice(flags);
        Self::start_on(None, &all).await
    }

    /// One at this address instead of loopback, for a node.
    pub(crate) async fn start_at(address: SocketAddrV4, flags: &[String]) -> Result<Self> {
        Self::start_on(Some(address), flags).await
    }

    async fn start_on(address: Option<SocketAddrV4>, flags: &[String]) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&Tool::CONTROL_PLANE)).await??;
        // Between our look for a free port and the server's use of it somebody else may take it; then try other ports.
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

    /// A client with every right. Make one per test: a client's connections belong to the runtime that it was made in.
    pub async fn client(&self) -> Result<Client> {
        self.client_of(&self.admin()).await
    }

    /// A client that acts as this user and these groups, by impersonation.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let admin = self.pki.admin.clone();
        let groups = groups.iter().map(ToString::to_string).collect();
        self.client_of(&User::Impersonated {
            public: admin.public,
            key: admin.key,
            user: user.into(),
            groups,
        })
        .await
    }

    /// A client that shows this bearer token.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        self.client_of(&User::Token(token.into())).await
    }

    /// What a person has who administers it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The kubeconfig file of the administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        self.cluster.kubeconfig_path()
    }

    /// The API server's address, `https://HOST:PORT`.
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

    /// The certificate of the authority that signed the API server's, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pki.ca_pem
    }

    /// A directory for the files of a test (kubeconfigs, tokens, logs) that goes away with the control plane.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The path of kubectl, for tests that need it as a process.
    pub fn kubectl_path(&self) -> &Path {
        self.cluster.kubectl_path()
    }

    /// The ids of the server processes: etcd and kube-apiserver.
    pub fn process_ids(&self) -> [u32; 2] {
        [self.etcd.id(), self.api_server.id()]
    }

    /// Makes a namespace that no other test uses, and returns its name: the prefix and a number.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = self.unique(prefix);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let api: Api<Namespace> = Api::all(self.client().await?);
        api.create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("create namespace {name}"))?;
        Ok(name)
    }

    /// Kills the API server (SIGKILL): connections break and new ones are refused.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api_server.kill().map(|_| ())
    }

    /// Stops the API server (SIGSTOP): connections stay, new ones are accepted by the system, and nothing answers.
    pub fn freeze_api_server(&mut self) -> Result<()> {
        self.api_server.freeze()
    }

    /// Lets a frozen API server go on.
    pub fn thaw_api_server(&mut self) -> Result<()> {
        self.api_server.thaw()
    }

    /// Kills the API server if it runs and starts it again: same port, same data, etcd untouched. Returns when it is ready.
    pub async fn restart_api_server(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.kill_api_server()?;
            let program = self.tools.path(Tool::KubeApiserver)?;
            let command = api_server_command(program, self.dir(), &self.etcd_url, self.address, &self.pki)
                .args(&self.flags);
            // A log of its own: what the last one said must not be taken for this one's words.
            let log = self
                .dir()
                .join(format!("kube-apiserver-{}.log", self.api_server.id()));
            self.api_server = Process::start(&command, &log)?;
            match self.wait_until_ready().await {
                // While it was down, an outgoing connection of somebody may have been given its port; those do not last.
                Err(error) if Instant::now() < deadline && address_in_use(&format!("{error:#}")) => {
                    tokio::time::sleep(POLL).await;
                }
                result => return result,
            }
        }
    }

    /// Ends everything now, and says what could not be ended.
    pub fn stop(mut self) -> Result<()> {
        self.api_server.kill()?;
        self.etcd.kill()?;
        Ok(())
    }

    /// The prefix and a number that no other name here has.
    pub(crate) fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn admin(&self) -> User {
        User::Certificate {
            public: self.pki.admin.public.clone(),
            key: self.pki.admin.key.clone(),
        }
    }

    fn kubeconfig_of(&self, user: &User) -> serde_json::Value {
        kubeconfig::kubeconfig(&self.url, &self.pki.ca, user)
    }

    async fn client_of(&self, user: &User) -> Result<Client> {
        kubeconfig::client(self.kubeconfig_of(user)).await
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            for process in [&mut self.etcd, &mut self.api_server] {
                if let Some(status) = process.try_wait()? {
                    let log = process
                        .log()
                        .file_stem()
                        .unwrap_or_default()
                        .display()
                        .to_string();
                    bail!(
                        "{log} ended ({status}) before it was ready; its log ends with:\n{}",
                        process.log_tail()
                    );
                }
            }
            let answer = tokio::time::timeout(Duration::from_secs(2), ready(&client)).await;
            match answer {
                Ok(Ok(())) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Ok(Err(error)) => bail!(
                    "the API server is not ready after {READY_WITHIN:?}: {error}; its log ends with:\n{}",
                    self.api_server.log_tail()
                ),
                Err(_) => bail!(
                    "the API server does not answer; its log ends with:\n{}",
                    self.api_server.log_tail()
                ),
            }
        }
    }
}

/// Ready, and with the namespace that Events of cluster-scoped objects go to, which the server makes a little later.
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

/// Two different ports that were free a moment ago.
pub(crate) fn free_ports() -> Result<(u16, u16)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let (one, two) = (listen()?, listen()?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

fn etcd_command(program: &Path, dir: &Path, url: &str) -> Spec {
    Spec::new(program)
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        // nobody else joins: any port will do
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        // the data need not outlive the machine
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
