//! The operator under test: the real binary, under its real ServiceAccount and RBAC.
//!
//! Input: a control plane and flags. Output: an [`Operator`] whose endpoints can be asked, and that ends with its handle.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::ControlPlane;
use crate::control_plane::free_ports;
use crate::process::{Process, Spec};
use crate::tokens::TokenKubeconfig;

/// The namespace and the ServiceAccount that `config/rbac` makes.
pub const NAMESPACE: &str = "sidewatch-system";
/// See [`NAMESPACE`].
pub const SERVICE_ACCOUNT: &str = "sidewatch";

const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A running operator. Dropping it kills it.
#[derive(Debug)]
#[must_use]
pub struct Operator {
    process: Process,
    metrics: String,
    health: String,
}

/// An answer of one of the operator's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Operator {
    /// Starts `sidewatch run` with this kubeconfig and further flags. Does not wait until it is ready.
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
        let binary = binary().await?;
        let (metrics, health) = free_ports()?;
        let (metrics, health) = (format!("127.0.0.1:{metrics}"), format!("127.0.0.1:{health}"));
        let mut command = Spec::new(binary)
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--metrics-address", &metrics, "--health-address", &health])
            .args(flags);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let log = plane.dir().join(format!("{}.log", plane.unique("operator")));
        Ok(Self {
            process: Process::start(&command, &log)?,
            metrics,
            health,
        })
    }

    /// Installs CRDs and RBAC, and starts the operator under the ServiceAccount that they name; returns when it is ready.
    pub async fn install(plane: &ControlPlane) -> Result<(Self, TokenKubeconfig)> {
        install_crds(plane).await?;
        install_rbac(plane).await?;
        let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await?;
        let mut operator = Self::start(plane, kubeconfig.path(), &[]).await?;
        operator.wait_until_ready().await?;
        Ok((operator, kubeconfig))
    }

    /// Waits until `/readyz` says so.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the operator ended ({status}); its log ends with:\n{}",
                    self.process.log_tail()
                );
            }
            let answer = self.readyz().await;
            match answer {
                Ok(Answer { status: 200, .. }) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                other => bail!(
                    "the operator is not ready: {other:?}; its log ends with:\n{}",
                    self.process.log_tail()
                ),
            }
        }
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> Result<String> {
        let answer = get(&self.metrics, "/metrics").await?;
        if answer.status != 200 {
            bail!("/metrics answers {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// What `/readyz` answers.
    pub async fn readyz(&self) -> Result<Answer> {
        get(&self.health, "/readyz").await
    }

    /// What `/livez` answers.
    pub async fn livez(&self) -> Result<Answer> {
        get(&self.health, "/livez").await
    }

    /// `HOST:PORT` of the metrics.
    pub fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// Everything that it logged.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.process.log()).context("read the operator's log")
    }

    /// The process, to freeze or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end (SIGTERM) and returns how it did.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate(STOP_WITHIN).await
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Installs the CRDs as `crds/` has them.
pub async fn install_crds(plane: &ControlPlane) -> Result<()> {
    for kind in ["sidecarpolicies", "clustersidecarpolicies"] {
        let file = repository().join(format!("crds/sidewatch.dev_{kind}.yaml"));
        let manifest = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        plane.apply(&manifest).await?;
    }
    Ok(())
}

/// Applies `config/rbac`: the namespace, the ServiceAccount, the role and its binding.
pub async fn install_rbac(plane: &ControlPlane) -> Result<()> {
    let directory = repository().join("config/rbac");
    plane
        .kubectl([
            Path::new("apply").as_os_str(),
            "-k".as_ref(),
            directory.as_os_str(),
        ])
        .await
        .map(drop)
}

/// The operator's binary, built once if it is not fresh; `SIDEWATCH_BINARY` names another.
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

async fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command.args([
        "build",
        "--locked",
        "--package",
        "sidewatch",
        "--bin",
        "sidewatch",
    ]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for name in variables_of_this_crate() {
        command.env_remove(name);
    }
    command
        .current_dir(repository())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().await.context("run cargo")?;
    if !output.status.success() {
        bail!("the operator does not build");
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let executable = messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .next_back();
    executable.context("cargo names no executable")
}

/// What `cargo run` and `cargo test` say of our own crate. Build scripts that ask for these would run again, and with them half
/// of the dependencies be built again, each time that we build after a person did, and the other way round.
pub(crate) fn variables_of_this_crate() -> impl Iterator<Item = OsString> {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    std::env::vars_os().map(|(name, _)| name).filter(move |name| {
        prefixes
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
    })
}

/// One GET over a connection of its own.
async fn get(address: &str, path: &str) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        anyhow::Ok(bytes)
    };
    let bytes = tokio::time::timeout(ANSWER_WITHIN, exchange)
        .await
        .with_context(|| format!("no answer to {path}"))??;
    let text = String::from_utf8(bytes)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an answer without an end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .context("an answer without a status")?
        .parse()?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        bail!("{path} answers in chunks, which this client does not read");
    }
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
