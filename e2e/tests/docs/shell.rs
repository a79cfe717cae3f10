//! A shell in which commands of a page run with a control plane.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use e2e::ControlPlane;
use e2e::poll::eventually;
use e2e::process::{Process, Scratch, Spec};
use e2e::project::repository;
use e2e::tools::{self, Tool};

const SOON: Duration = Duration::from_mins(5);

/// A shell with a control plane.
pub(crate) struct Shell {
    pub(crate) plane: ControlPlane,
    pub(crate) files: Scratch,
}

impl Shell {
    pub(crate) async fn start() -> Result<Self> {
        let helm = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Helm])).await??;
        let plane = ControlPlane::start().await?;
        let files = Scratch::new()?;
        let programs = files.path().join("bin");
        std::fs::create_dir(&programs)?;
        std::os::unix::fs::symlink(plane.kubectl_path(), programs.join("kubectl"))?;
        std::os::unix::fs::symlink(helm.path(Tool::Helm)?, programs.join("helm"))?;
        Ok(Self { plane, files })
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.files.path().display();
        vec![
            ("PATH", format!("{home}/bin:{path}")),
            ("KUBECONFIG", self.plane.kubeconfig_path().display().to_string()),
            ("KUBECACHEDIR", format!("{home}/kubectl")),
            ("HELM_CACHE_HOME", format!("{home}/helm")),
            ("HELM_CONFIG_HOME", format!("{home}/helm")),
            ("HELM_DATA_HOME", format!("{home}/helm")),
            // The default ports may be in use.
            ("SIDEWATCH_METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("SIDEWATCH_HEALTH_ADDRESS", "127.0.0.1:0".to_owned()),
        ]
    }

    /// Runs commands in a directory and returns their output.
    pub(crate) async fn run(&self, commands: &str, directory: &Path) -> Result<String> {
        let output = tokio::process::Command::new("bash")
            .args(["-euc", commands])
            .envs(self.variables())
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SOON, output).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{commands}\n{printed}{said}");
        }
        Ok(printed)
    }

    /// Repeats commands without side effects until they print the expected text.
    pub(crate) async fn expect(&self, commands: &str, expected: &str) -> Result<()> {
        eventually(SOON, async || {
            let printed = self.run(commands, repository()).await?;
            ensure!(
                comparable(&printed) == comparable(expected),
                "{commands}\nprints\n{printed}\nand not\n{expected}"
            );
            Ok(())
        })
        .await
    }

    /// Starts a command in the background.
    pub(crate) fn background(&self, command: &str) -> Result<Process> {
        // Variables of the crate under test would rerun build scripts.
        let command = format!("unset ${{!CARGO_PKG_@}} ${{!CARGO_MANIFEST_@}}\nexec {command}");
        let mut bash = ["/bin/bash", "/usr/bin/bash"].into_iter().map(Path::new);
        let bash = bash.find(|bash| bash.is_file()).unwrap();
        let mut spec = Spec::new(bash).args(["-c", &command]).dir(repository());
        for (name, value) in self.variables() {
            spec = spec.env(name, value);
        }
        Process::start(&spec, &self.files.path().join("background.log"))
    }
}

/// The words without times, and names of Pods without generated suffixes.
pub(crate) fn comparable(text: &str) -> Vec<String> {
    let is_age =
        |word: &str| word.ends_with(['s', 'm']) && word.starts_with(|first: char| first.is_ascii_digit());
    let is_time = |word: &str| {
        word.len() == "10:42:07Z".len()
            && word.ends_with('Z')
            && word.starts_with(|first: char| first.is_ascii_digit())
    };
    text.split_whitespace()
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| !is_age(word) && !is_time(word))
        .map(|word| without_hashes(word).to_owned())
        .collect()
}

/// `pod/web` for `pod/web-7d9f8c6b5-x2x7k`; other words are not changed.
fn without_hashes(word: &str) -> &str {
    let is_hash =
        |part: &str| part.len() >= 5 && part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    let mut parts = word.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(own), Some(template), Some(name))
            if name.starts_with("pod/") && is_hash(own) && is_hash(template) =>
        {
            name
        }
        _ => word,
    }
}
