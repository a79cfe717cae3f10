//! The operator under test: its binary, with its ServiceAccount and RBAC.

pub mod helm;
mod installed;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

pub use crate::http::Answer;
use crate::http::{get, get_body};
use crate::process::stats::{peak_resident_mb, resident_mb};
use crate::process::{MemoryCgroup, Process, Scratch, Spec, free_ports, wait_until_ready};
pub use crate::project::repository;
use crate::project::{self, cargo_build};
use crate::{ControlPlane, TokenKubeconfig, images};
pub use installed::Installed;

/// Namespace in `config/rbac`.
pub const NAMESPACE: &str = "sidewatch-system";
/// ServiceAccount in `config/rbac`.
pub const SERVICE_ACCOUNT: &str = "sidewatch";

/// How long requests share a page of metrics.
const PAGE_AGE: Duration = Duration::from_secs(1);
const READY_WITHIN: Duration = Duration::from_mins(1);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A running operator. Dropping the handle kills it.
#[derive(Debug)]
#[must_use]
pub struct Operator {
    process: Process,
    metrics: String,
    health: String,
}

impl Operator {
    /// Starts `sidewatch run` with this kubeconfig and additional flags. Does not wait until it is ready.
    pub async fn start(plane: &ControlPlane, kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_with_env(plane, kubeconfig, flags, &[]).await
    }

    /// The same with environment variables.
    pub(crate) async fn start_with_env(
        plane: &ControlPlane,
        kubeconfig: &Path,
        flags: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let command = Spec::new(binary().await?);
        let log = plane.dir().join(format!("{}.log", plane.unique("operator")));
        Self::launch(command, kubeconfig, flags, env, &log, None)
    }

    /// Starts the binary that users install ([`shipped_binary`]) with a memory limit, and its log in this directory.
    pub async fn start_limited(
        group: &MemoryCgroup,
        dir: &Path,
        kubeconfig: &Path,
        flags: &[&str],
    ) -> Result<Self> {
        let command = Spec::new(shipped_binary().await?);
        Self::launch(
            command,
            kubeconfig,
            flags,
            &[],
            &dir.join("operator.log"),
            Some(group),
        )
    }

    fn launch(
        command: Spec,
        kubeconfig: &Path,
        flags: &[&str],
        env: &[(&str, &str)],
        log: &Path,
        group: Option<&MemoryCgroup>,
    ) -> Result<Self> {
        let (metrics, health) = free_ports()?;
        let (metrics, health) = (format!("127.0.0.1:{metrics}"), format!("127.0.0.1:{health}"));
        let mut command = command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--metrics-address", &metrics, "--health-address", &health])
            .args(flags);
        for (name, value) in env {
            command = command.env(name, value);
        }
        if let Some(group) = group {
            command = command.in_cgroup(group);
        }
        Ok(Self {
            process: Process::start(&command, log)?,
            metrics,
            health,
        })
    }

    /// Installs CRDs and RBAC, starts the operator with its ServiceAccount and waits until it is ready.
    pub async fn install(plane: &ControlPlane) -> Result<(Self, TokenKubeconfig)> {
        install_crds(plane).await?;
        install_rbac(plane).await?;
        let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await?;
        let mut operator = Self::start(plane, kubeconfig.path(), &[]).await?;
        operator.wait_until_ready().await?;
        Ok((operator, kubeconfig))
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        wait_until_ready(&mut [&mut self.process], READY_WITHIN, async || {
            get_body(&self.health, "/readyz").await.map(drop)
        })
        .await
    }

    /// Body of `/metrics`, rendered after the call: waits until the page of an earlier request has expired.
    pub async fn metrics(&self) -> Result<String> {
        tokio::time::sleep(PAGE_AGE).await;
        get_body(&self.metrics, "/metrics").await
    }

    /// Answer of `/readyz`.
    pub async fn readyz(&self) -> Result<Answer> {
        get(&self.health, "/readyz").await
    }

    /// Answer of `/livez`.
    pub async fn livez(&self) -> Result<Answer> {
        get(&self.health, "/livez").await
    }

    /// `HOST:PORT` of the metrics.
    pub fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// `HOST:PORT` of the health pages.
    pub fn health_address(&self) -> &str {
        &self.health
    }

    /// Its log.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.process.log()).context("read the log of the operator")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its resident set, in MB.
    pub fn resident_mb(&self) -> Result<f64> {
        resident_mb(self.id())
    }

    /// Its largest resident set so far, in MB.
    pub fn peak_resident_mb(&self) -> Result<f64> {
        peak_resident_mb(self.id())
    }

    /// The process, to freeze or kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate(STOP_WITHIN).await
    }
}

/// Installs the CRDs in `crds/`.
pub async fn install_crds(plane: &ControlPlane) -> Result<()> {
    for kind in ["sidecarpolicies", "clustersidecarpolicies", "sidecarexemptions"] {
        plane
            .apply(&project::read(format!("crds/sidewatch.dev_{kind}.yaml"))?)
            .await?;
    }
    Ok(())
}

/// Applies `config/rbac`: namespace, ServiceAccount, roles and bindings.
pub async fn install_rbac(plane: &ControlPlane) -> Result<()> {
    plane.kubectl_line("apply -k config/rbac").await.map(drop)
}

/// Path of the operator's binary, which is built once; `SIDEWATCH_BINARY` names another one.
pub async fn binary() -> Result<&'static Path> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    let binary = BINARY.get_or_try_init(|| async {
        match std::env::var_os("SIDEWATCH_BINARY") {
            Some(path) => Ok(PathBuf::from(path)),
            None => build().await,
        }
    });
    binary.await.map(PathBuf::as_path)
}

/// Path of the static binary in the image, with the settings of a release; `SIDEWATCH_BINARY` names another one.
pub async fn shipped_binary() -> Result<PathBuf> {
    match std::env::var_os("SIDEWATCH_BINARY") {
        Some(path) => Ok(PathBuf::from(path)),
        None => tokio::task::spawn_blocking(images::operator_binary).await?,
    }
}

/// Builds the binary together with this crate, so that both builds have the same features and share their dependencies.
async fn build() -> Result<PathBuf> {
    let build = || {
        let cargo = cargo_build()?.args(["--package=sidewatch", "--package=e2e", "--bin=sidewatch"]);
        let scratch = Scratch::new()?;
        let built = project::executables("the operator", &cargo, &scratch.path().join("build.log"))?;
        built
            .into_iter()
            .next_back()
            .context("cargo reports no executable")
    };
    tokio::task::spawn_blocking(build).await?
}
