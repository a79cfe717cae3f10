//! kubectl, and objects from YAML manifests.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::kubeconfig;
use crate::poll::eventually;
use crate::process::programs::stdout;
use crate::project::repository;

const ACCOUNT_WITHIN: Duration = Duration::from_mins(1);
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// A cluster that a kubeconfig describes: a test cluster or an existing one.
#[derive(Debug, Clone)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    /// Number of times that CRDs were applied. Each change begins an empty cache: an earlier one may have been filled while
    /// the API server served only some of the kinds, and a concurrent kubectl may still write to it.
    crd_changes: Arc<AtomicU32>,
}

impl Cluster {
    /// A cluster with this kubectl, this kubeconfig and this cache directory of kubectl.
    pub fn new(kubectl: &Path, kubeconfig: &Path, cache: PathBuf) -> Self {
        Self {
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache,
            crd_changes: Arc::default(),
        }
    }

    /// The same cluster with a default namespace, by a kubeconfig that is written to `path`. In contrast to `--namespace`,
    /// kubectl accepts objects that name another namespace.
    pub fn in_namespace(&self, namespace: &str, path: &Path) -> Result<Self> {
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        for context in &mut kubeconfig.contexts {
            if let Some(context) = &mut context.context {
                context.namespace = Some(namespace.to_owned());
            }
        }
        kubeconfig::write(path, &serde_json::to_value(kubeconfig)?)?;
        Ok(Self {
            kubeconfig: path.to_owned(),
            ..self.clone()
        })
    }

    /// The kubeconfig file.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The path of kubectl.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// A client with the credentials of the kubeconfig.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Creates a namespace and waits for its ServiceAccount, without which no Pod starts.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let client = self.client().await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("create namespace {name}"))?;
        let accounts = Api::<ServiceAccount>::namespaced(client, name);
        eventually(ACCOUNT_WITHIN, async || Ok(accounts.get("default").await?))
            .await
            .map(drop)
            .with_context(|| format!("namespace {name} has no ServiceAccount"))
    }

    /// Runs kubectl at the root of the repository and returns its output. An error contains its error message.
    pub async fn kubectl(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.kubectl_with_input(args, "").await
    }

    /// Runs kubectl with the words of a command line, such as `get pods --output=name`. It has no quotes: no argument contains
    /// a space.
    pub async fn kubectl_line(&self, line: &str) -> Result<String> {
        self.kubectl(line.split_whitespace()).await
    }

    /// Runs kubectl with this standard input, for `-f -`.
    pub async fn kubectl_with_input(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let changes = self.crd_changes.load(Ordering::Relaxed);
        let mut command = tokio::process::Command::new(&self.kubectl);
        command
            .args(&args)
            .current_dir(repository())
            .env("KUBECONFIG", &self.kubeconfig)
            // its discovery cache, which is valid for one server
            .env("KUBECACHEDIR", self.cache.join(changes.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("run kubectl")?;
        let mut stdin = child.stdin.take().context("no pipe to kubectl")?;
        let write = async move { stdin.write_all(input.as_bytes()).await };
        // Concurrently, because of full pipes. If kubectl exits early, its own error counts.
        let (_, output) = tokio::join!(write, child.wait_with_output());
        stdout(command.as_std(), &output.context("run kubectl")?)
    }

    /// Applies manifests (server-side, any number of documents) and waits until the API server serves the CRDs among them.
    /// Custom resources must be applied in a later call than their CRD.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_with(&[], manifests).await
    }

    /// Applies manifests, with a namespace for objects that name none.
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
        let mut has_crds = false;
        for line in applied.lines() {
            if let Some(name) = line.strip_prefix("customresourcedefinition.apiextensions.k8s.io/") {
                wait_until_served(&client, name).await?;
                has_crds = true;
            }
        }
        if has_crds {
            self.crd_changes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Waits until the API server serves every version of a CRD, lists it in the discovery document, and describes it in the
/// OpenAPI document, which `kubectl explain` reads. The condition `Established` becomes true earlier, and the documents
/// follow one after the other.
async fn wait_until_served(client: &Client, name: &str) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let served = async || {
        let crd = crds.get(name).await?;
        let conditions = crd
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let is_established = |condition: &CustomResourceDefinitionCondition| {
            condition.type_ == "Established" && condition.status == "True"
        };
        ensure!(conditions.iter().any(is_established), "{conditions:?}");
        for version in crd.spec.versions.iter().filter(|version| version.served) {
            let (group, plural) = (&crd.spec.group, &crd.spec.names.plural);
            let of_version = format!("/apis/{group}/{}", version.name);
            let kind = format!("\"kind\":\"{}\"", crd.spec.names.kind);
            for (path, expected) in [
                (format!("{of_version}/{plural}?limit=1"), ""),
                (of_version.clone(), kind.as_str()),
                (format!("/openapi/v3{of_version}"), kind.as_str()),
            ] {
                let request = http::Request::get(&path).body(Vec::new())?;
                let text = client.request_text(request).await.context(path.clone())?;
                ensure!(text.contains(expected), "{path} does not contain {expected}");
            }
        }
        Ok(())
    };
    eventually(SERVED_WITHIN, served)
        .await
        .with_context(|| format!("the API server does not serve {name}"))
}
