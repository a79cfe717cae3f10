//! Helm and the chart.

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use super::NAMESPACE;
use crate::Cluster;
use crate::process::Scratch;
use crate::process::programs::stdout_of_async;
use crate::project::repository;
use crate::tools::{self, Tool};

/// Directory of the chart of the operator.
pub const CHART: &str = "charts/sidewatch";
/// Directory of the chart of the default policy.
pub const POLICIES: &str = "charts/sidewatch-policies";
/// Name of the release of [`CHART`].
pub const RELEASE: &str = "sidewatch";
/// Name of the release of [`POLICIES`].
pub const POLICIES_RELEASE: &str = "sidewatch-policies";

/// A Helm with its own cache, configuration and data directories.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: Scratch,
}

impl Helm {
    /// A Helm without access to a cluster.
    pub async fn new(version: Tool) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(move || tools::ensure(&[version])).await??;
        Ok(Self {
            program: tools.path(version)?.to_owned(),
            kubeconfig: None,
            home: Scratch::new()?,
        })
    }

    /// A Helm that installs in this cluster.
    pub async fn on(cluster: &Cluster, version: Tool) -> Result<Self> {
        let mut helm = Self::new(version).await?;
        helm.kubeconfig = Some(cluster.kubeconfig_path().to_owned());
        Ok(helm)
    }

    /// Runs it and returns its output.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let home = self.home.path();
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(args)
            .current_dir(repository())
            .env("HELM_CACHE_HOME", home)
            .env("HELM_CONFIG_HOME", home)
            .env("HELM_DATA_HOME", home)
            // without a cluster, the kubeconfig of the user must not be used
            .env(
                "KUBECONFIG",
                self.kubeconfig.as_deref().unwrap_or(Path::new("/dev/null")),
            );
        stdout_of_async(&mut command).await
    }

    /// Renders the chart of the operator with additional flags, as YAML.
    pub async fn template(&self, flags: &[&str]) -> Result<String> {
        self.template_chart(RELEASE, CHART, flags).await
    }

    /// Renders a chart with additional flags, as YAML.
    pub async fn template_chart(&self, release: &str, chart: &str, flags: &[&str]) -> Result<String> {
        let command = ["template", release, chart, "--namespace", NAMESPACE];
        self.run(&[&command[..], flags].concat()).await
    }
}
