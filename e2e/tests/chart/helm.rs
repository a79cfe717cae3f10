//! Helm as a process, and what it renders as values.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use e2e::ControlPlane;
use e2e::operator::repository;
use e2e::scratch::Scratch;
use e2e::tools::{self, Tool};
use serde_json::Value;

/// The versions of Helm that the chart is made for.
pub(crate) const VERSIONS: [Tool; 2] = [Tool::Helm3, Tool::Helm];

/// A Helm with a home of its own.
pub(crate) struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: Scratch,
}

impl Helm {
    /// One that only renders.
    pub(crate) async fn new(version: Tool) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(move || tools::ensure(&[version])).await??;
        Ok(Self {
            program: tools.path(version)?.to_owned(),
            kubeconfig: None,
            home: Scratch::new()?,
        })
    }

    /// One that talks to this control plane as administrator.
    pub(crate) async fn on(plane: &ControlPlane, version: Tool) -> Result<Self> {
        let mut helm = Self::new(version).await?;
        helm.kubeconfig = Some(plane.kubeconfig_path().to_owned());
        Ok(helm)
    }

    /// Runs it and returns what it prints; an error has what it said.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<String> {
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
    pub(crate) async fn template(&self, flags: &[&str]) -> Result<String> {
        let release = ["template", RELEASE, CHART, "--namespace", NAMESPACE];
        self.run(&[&release[..], flags].concat()).await
    }
}

/// The chart's directory.
pub(crate) const CHART: &str = "charts/sidewatch";
/// The name of the release in the tests.
pub(crate) const RELEASE: &str = "sidewatch";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "sidewatch-system";

/// The documents of a YAML stream; empty ones are left out.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind namespace/name` or `Kind name`.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap_or_default();
    let kind = text("/kind").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The files in `ci/`, one per feature: name of the feature and path.
pub(crate) fn features() -> Vec<(String, PathBuf)> {
    let directory = repository().join(CHART).join("ci");
    let mut features: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.strip_suffix("-values.yaml").unwrap().to_owned(), path)
        })
        .collect();
    features.sort();
    assert!(!features.is_empty());
    features
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
