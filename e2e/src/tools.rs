//! The programs a test cluster is made of: found, or built once from pinned Go modules.
//!
//! Input: which [`Tool`]s. Output: [`ToolPaths`]. For each tool, the first of these that has it:
//!
//! 1. the variable that controller-runtime's envtest reads: `TEST_ASSET_ETCD`, `TEST_ASSET_KUBE_APISERVER`,
//!    `TEST_ASSET_KUBECTL` (and, in the same spirit, `TEST_ASSET_HELM` and so on);
//! 2. the directory `KUBEBUILDER_ASSETS`;
//! 3. our cache, `sidewatch/tools` under `XDG_CACHE_HOME` or `~/.cache`, in a directory named after all that goes into
//!    the build, so that a fresh clone finds what an older one built, and a new version never meets an old binary;
//! 4. `go build` into that cache.
//!
//! Every family of tools has a Go module of its own (`e2e/tools/<family>`), so that their dependencies do not mix.
//! Must not: write into the work tree.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sidewatch::domain::hash::stable_hash;

use crate::process::{Process, Spec};

mod go;

pub use go::module_files;

/// A program that tests may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The store of the API server.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// The command line client.
    Kubectl,
    /// The controllers: namespaces, garbage, roles that are made of others.
    KubeControllerManager,
    /// Prometheus' checker of metrics and rules.
    Promtool,
    /// Prometheus itself.
    Prometheus,
    /// Helm 4.
    Helm,
    /// Helm 3, which many still use.
    Helm3,
}

/// What `go build` needs to know.
struct Recipe {
    family: &'static str,
    package: &'static str,
    ldflags: &'static str,
    tags: &'static str,
}

/// Kubernetes' own build stamps its version in like this; an unstamped server says `v0.0.0`.
const STAMPED: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
    -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=v1.37.1";
const STRIPPED: &str = "-s -w";
/// Helm 3 takes an unknown cluster for one of the version that it was stamped with (Helm 4 asks its own modules).
const HELM3: &str = "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37";

impl Tool {
    /// The tools of a control plane.
    pub const CONTROL_PLANE: [Self; 3] = [Self::Etcd, Self::KubeApiserver, Self::Kubectl];
    /// Every tool.
    pub const ALL: [Self; 8] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::Promtool,
        Self::Prometheus,
        Self::Helm,
        Self::Helm3,
    ];

    /// The name of the binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Promtool => "promtool",
            Self::Prometheus => "prometheus",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Etcd => "TEST_ASSET_ETCD",
            Self::KubeApiserver => "TEST_ASSET_KUBE_APISERVER",
            Self::Kubectl => "TEST_ASSET_KUBECTL",
            Self::KubeControllerManager => "TEST_ASSET_KUBE_CONTROLLER_MANAGER",
            Self::Promtool => "TEST_ASSET_PROMTOOL",
            Self::Prometheus => "TEST_ASSET_PROMETHEUS",
            Self::Helm => "TEST_ASSET_HELM",
            Self::Helm3 => "TEST_ASSET_HELM3",
        }
    }

    fn recipe(self) -> Recipe {
        let plain = |family, package| Recipe {
            family,
            package,
            ldflags: STRIPPED,
            tags: "",
        };
        let kubernetes = |package| Recipe {
            ldflags: STAMPED,
            ..plain("kubernetes", package)
        };
        let prometheus = |package| Recipe {
            // without the service discoveries of all the clouds: a third of the build
            tags: "remove_all_sd,enable_kubernetes_sd",
            ..plain("prometheus", package)
        };
        match self {
            Self::Etcd => plain("etcd", "go.etcd.io/etcd/server/v3"),
            Self::KubeApiserver => kubernetes("k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::Kubectl => kubernetes("k8s.io/kubernetes/cmd/kubectl"),
            Self::KubeControllerManager => kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager"),
            Self::Promtool => prometheus("github.com/prometheus/prometheus/cmd/promtool"),
            Self::Prometheus => prometheus("github.com/prometheus/prometheus/cmd/prometheus"),
            Self::Helm => plain("helm", "helm.sh/helm/v4/cmd/helm"),
            Self::Helm3 => Recipe {
                ldflags: HELM3,
                ..plain("helm3", "helm.sh/helm/v3/cmd/helm")
            },
        }
    }
}

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct ToolPaths(BTreeMap<Tool, PathBuf>);

impl ToolPaths {
    /// The path of a tool that [`ensure`] was asked for.
    pub fn path(&self, tool: Tool) -> Result<&Path> {
        self.0
            .get(&tool)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} was not asked for", tool.name()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Tool, &Path)> {
        self.0.iter().map(|(tool, path)| (*tool, path.as_path()))
    }
}

/// Finds the tools and builds those that are missing, with progress on standard error. This blocks, for minutes when it
/// has to build. Several processes may call it at once: one builds, the others wait.
pub fn ensure(tools: &[Tool]) -> Result<ToolPaths> {
    let mut paths = BTreeMap::new();
    for &tool in tools {
        let path = match given(tool, |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        })? {
            Some(path) => path,
            None => cached_or_built(tool).with_context(|| format!("provide {}", tool.name()))?,
        };
        paths.insert(tool, path);
    }
    Ok(ToolPaths(paths))
}

/// What the environment names. A variable for one tool that names no file is a mistake worth an error; a directory of
/// assets without, say, promtool is not.
fn given(tool: Tool, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = variable(tool.variable()) {
        if !path.is_file() {
            bail!("{}={} is not a file", tool.variable(), path.display());
        }
        return Ok(Some(path));
    }
    Ok(variable("KUBEBUILDER_ASSETS")
        .map(|dir| dir.join(tool.name()))
        .filter(|path| path.is_file()))
}

fn cached_or_built(tool: Tool) -> Result<PathBuf> {
    let recipe = tool.recipe();
    let module = directory(recipe.family);
    let dir = cache_root()?.join(format!(
        "{}-{:016x}",
        recipe.family,
        fingerprint(&module, &recipe)?
    ));
    let path = dir.join(tool.name());
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let _lock = lock(&dir.join("lock"))?;
    // whoever held the lock may have built it
    if !path.is_file() {
        build(tool, &recipe, &module, &path)?;
    }
    Ok(path)
}

/// Where the Go module of a family is.
fn directory(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(family)
}

fn cache_root() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("sidewatch")
        .join("tools"))
}

/// A hash of all that goes into the build.
fn fingerprint(module: &Path, recipe: &Recipe) -> Result<u64> {
    let read =
        |file| fs::read(module.join(file)).with_context(|| format!("read {file} in {}", module.display()));
    let modules = [read("go.mod")?, read("go.sum")?];
    let flags = [recipe.ldflags, recipe.tags, env::consts::OS, env::consts::ARCH];
    Ok(stable_hash(
        modules.iter().map(Vec::as_slice).chain(flags.map(str::as_bytes)),
    ))
}

/// Held until the file is dropped, and given back by the system if we die.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => say("another process builds these tools; waiting for it"),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn build(tool: Tool, recipe: &Recipe, module: &Path, path: &Path) -> Result<()> {
    const EVERY: Duration = Duration::from_secs(15);
    let name = tool.name();
    let go = go::find(module)?;
    let log = path.with_extension("log");
    let unfinished = path.with_extension("unfinished");
    fs::write(&log, "").with_context(|| format!("write {}", log.display()))?;
    let command = Spec::new(go)
        .arg("build")
        .args(["-mod=readonly", "-buildvcs=false", "-trimpath"])
        .arg(format!("-tags={}", recipe.tags))
        .arg(format!("-ldflags={}", recipe.ldflags))
        .arg("-o")
        .arg(&unfinished)
        .arg(recipe.package)
        .env("CGO_ENABLED", "0")
        // the caller's own defaults and workspace must not change what is built
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .dir(module);
    let start = Instant::now();
    say(&format!(
        "building {name} from source; this happens once and can take minutes"
    ));
    let mut go = Process::start(&command, &log)?;
    let mut next = EVERY;
    let status = loop {
        if let Some(status) = go.try_wait()? {
            break status;
        }
        if start.elapsed() >= next {
            say(&format!("building {name}: {} s", next.as_secs()));
            next += EVERY;
        }
        sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!(
            "go build {} failed ({status}):\n{}",
            recipe.package,
            go.log_tail()
        );
    }
    fs::rename(&unfinished, path).with_context(|| format!("move {name} into place"))?;
    say(&format!("built {name} in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Straight to standard error: the test harness would keep what `eprintln!` says from the person who waits.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "tools: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let etcd = dir.path().join("etcd");
        let other = dir.path().join("my-etcd");
        fs::write(&etcd, "").unwrap();
        fs::write(&other, "").unwrap();
        let assets = |name: &str| (name == "KUBEBUILDER_ASSETS").then(|| dir.path().to_owned());
        let both = |name: &str| assets(name).or_else(|| (name == "TEST_ASSET_ETCD").then(|| other.clone()));
        let wrong = |name: &str| (name == "TEST_ASSET_ETCD").then(|| dir.path().join("missing"));

        assert_eq!(given(Tool::Etcd, |_| None).unwrap(), None, "nothing set");
        assert_eq!(
            given(Tool::Etcd, assets).unwrap(),
            Some(etcd),
            "the directory has it"
        );
        assert_eq!(
            given(Tool::Promtool, assets).unwrap(),
            None,
            "the directory lacks it"
        );
        assert_eq!(
            given(Tool::Etcd, both).unwrap(),
            Some(other),
            "the tool's own variable wins"
        );
        let error = given(Tool::Etcd, wrong).unwrap_err().to_string();
        assert!(
            error.contains("TEST_ASSET_ETCD"),
            "a variable that names no file is an error: {error}"
        );
    }
}
