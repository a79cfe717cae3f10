//! kubectl, and objects from YAML.
//!
//! Input: arguments or manifests, as a person would type or write them. Output: what kubectl printed; objects in the cluster.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::io::AsyncWriteExt;

use crate::ControlPlane;
use crate::kubeconfig;

const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// A cluster that a kubeconfig leads to: one of ours, or one that somebody has.
#[derive(Debug, Clone)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Cluster {
    /// With this program, this kubeconfig, and a directory for what kubectl remembers of the server.
    pub fn new(kubectl: &Path, kubeconfig: &Path, cache: PathBuf) -> Self {
        Self {
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache,
        }
    }

    /// The same, but what names no namespace goes to this one: by a kubeconfig of its own, which is written to `path`. Unlike
    /// the flag `--namespace`, that leaves those alone that name another.
    pub fn in_namespace(&self, namespace: &str, path: &Path) -> Result<Self> {
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        for context in &mut kubeconfig.contexts {
            if let Some(context) = &mut context.context {
                context.namespace = Some(namespace.to_owned());
            }
        }
        kubeconfig::write(path, &serde_json::to_value(kubeconfig)?)?;
        Ok(Self::new(&self.kubectl, path, self.cache.clone()))
    }

    /// The kubeconfig file.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The path of kubectl.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// A client with the rights of the kubeconfig.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl and returns what it prints; an error has what it said.
    pub async fn kubectl(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.kubectl_with_input(args, "").await
    }

    /// The same with an input, for `-f -`.
    pub async fn kubectl_with_input(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut child = tokio::process::Command::new(&self.kubectl)
            .args(&args)
            .env("KUBECONFIG", &self.kubeconfig)
            // its caches of what the server offers, which is another server each time
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run kubectl")?;
        let mut stdin = child.stdin.take().context("no pipe to kubectl")?;
        let write = async move { stdin.write_all(input.as_bytes()).await };
        // Both at once: neither side may wait for the other with a full pipe. A kubectl that gives up early says why itself.
        let (_, output) = tokio::join!(write, child.wait_with_output());
        let output = output.context("run kubectl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "kubectl {}: {}",
                args.join(OsStr::new(" ")).display(),
                said.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies manifests (server-side, any number of documents) and waits until the API serves the CRDs among them. Custom
    /// resources go into a later call than their CRD.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_with(&[], manifests).await
    }

    /// The same, with a namespace for the objects that name none.
    pub async fn apply_in(&self, namespace: &str, manifests: &str) -> Result<()> {
        self.apply_with(&["--namespace", namespace], manifests).await
    }

    async fn apply_with(&self, flags: &[&str], manifests: &str) -> Result<()> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--output=name",
            "--filename=-",
        ];
        let applied = self
            .kubectl_with_input(args.iter().chain(flags), manifests)
            .await?;
        let client = self.client().await?;
        for line in applied.lines() {
            if let Some(name) = line.strip_prefix("customresourcedefinition.apiextensions.k8s.io/") {
                wait_until_served(&client, name).await?;
            }
        }
        Ok(())
    }
}

impl ControlPlane {
    /// See [`Cluster::kubectl`]; as administrator.
    pub async fn kubectl(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.cluster().kubectl(args).await
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
}

/// The condition `Established` comes a moment before the server really has the path.
async fn wait_until_served(client: &Client, name: &str) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let deadline = Instant::now() + SERVED_WITHIN;
    loop {
        let crd = crds.get(name).await?;
        let conditions = crd
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let established = conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True");
        let mut waiting = if established {
            None
        } else {
            Some(format!("{conditions:?}"))
        };
        for version in crd
            .spec
            .versions
            .iter()
            .filter(|version| version.served && established)
        {
            let path = format!(
                "/apis/{}/{}/{}?limit=1",
                crd.spec.group, version.name, crd.spec.names.plural
            );
            let request = http::Request::get(&path).body(Vec::new())?;
            if let Err(error) = client.request_text(request).await {
                waiting = Some(format!("{path}: {error}"));
            }
        }
        match waiting {
            None => return Ok(()),
            Some(why) if Instant::now() >= deadline => bail!("the API does not serve {name}: {why}"),
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
