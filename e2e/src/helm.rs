//! Helm and our chart.
//!
//! Input: a version of Helm, and a cluster if it shall install there. Output: what Helm prints.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::Cluster;
pub use crate::operator::NAMESPACE;
use crate::operator::repository;
use crate::scratch::Scratch;
use crate::tools::{self, Tool};

/// The chart's directory.
pub const CHART: &str = "charts/sidewatch";
/// The name of the release.
pub const RELEASE: &str = "sidewatch";

/// A Helm with a home of its own.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: Scratch,
}

impl Helm {
    /// One that only renders.
    pub async fn new(version: Tool) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(move || tools::ensure(&[version])).await??;
        Ok(Self {
            program: tools.path(version)?.to_owned(),
            kubeconfig: None,
            home: Scratch::new()?,
        })
    }

    /// One that talks to this cluster.
    pub async fn on(cluster: &Cluster, version: Tool) -> Result<Self> {
        let mut helm = Self::new(version).await?;
        helm.kubeconfig = Some(cluster.kubeconfig_path().to_owned());
        Ok(helm)
    }

    /// Runs it and returns what it prints; an error has what it said.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let home = self.home.path();
        let output = tokio::process::Command::new(&self.program)
            .args(args)
            .current_dir(repository())
            .env("HELM_CACHE_HOME", home)
            .env("HELM_CONFIG_HOME", home)
            .env("HELM_DATA_HOME", home)
            // without a cluster, the caller's own must not be asked
            .env(
                "KUBECONFIG",
                self.kubeconfig.as_deref().unwrap_or(Path::new("/dev/null")),
            )
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("helm {}: {} {}", args.join(" "), printed.trim(), said.trim());
        }
        Ok(printed)
    }

    /// The chart with these further flags, as YAML.
    pub async fn template(&self, flags: &[&str]) -> Result<String> {
        let release = ["template", RELEASE, CHART, "--namespace", NAMESPACE];
        self.run(&[&release[..], flags].concat()).await
    }
}
