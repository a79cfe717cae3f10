//! The programs of a test cluster: found, or built once from pinned Go modules. Each tool comes from the first of these
//! places that has it:
//!
//! 1. the variable that controller-runtime's envtest reads: `TEST_ASSET_ETCD`, `TEST_ASSET_KUBE_APISERVER`,
//!    `TEST_ASSET_KUBECTL` (likewise `TEST_ASSET_HELM` and so on);
//! 2. the directory `KUBEBUILDER_ASSETS`;
//! 3. the cache `sidewatch/tools` under `XDG_CACHE_HOME` or `~/.cache`, in a directory named by a hash of all inputs of the
//!    build: a fresh clone finds existing binaries, a new version never uses an old one;
//! 4. `go build` into that cache.
//!
//! Each family of tools has its own Go module (`e2e/tools/<family>`), so that their dependencies do not mix. Nothing is
//! written to the work tree. The components of Kubernetes have one family for each version, and containerd for some
//! ([`KubernetesVersion`]).

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sidewatch::domain::hash::stable_hash;

use crate::process::Spec;
use crate::process::programs::{run_with_progress, say};

mod go;
mod kubernetes;
mod recipes;

pub use go::{module_files, module_version};
pub use kubernetes::KubernetesVersion;
use recipes::Recipe;
pub use recipes::Tool;

const TOPIC: &str = "tools";

/// Paths of tools.
#[derive(Debug, Clone)]
pub struct ToolPaths(BTreeMap<Tool, PathBuf>);

impl ToolPaths {
    /// Path of a tool that was passed to [`ensure`].
    pub fn path(&self, tool: Tool) -> Result<&Path> {
        self.0
            .get(&tool)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} was not requested", tool.name()))
    }

    /// All tools and their paths.
    pub fn iter(&self) -> impl Iterator<Item = (Tool, &Path)> {
        self.0.iter().map(|(tool, path)| (*tool, path.as_path()))
    }
}

/// Finds the tools and builds those that are missing, with progress on standard error. Blocks, for minutes when it builds.
/// Several processes may call it at once: one builds, the others wait. The components of Kubernetes have the version that
/// [`KubernetesVersion::selected`] returns.
pub fn ensure(tools: &[Tool]) -> Result<ToolPaths> {
    ensure_version(tools, KubernetesVersion::selected()?)
}

/// The same with this version of Kubernetes.
pub fn ensure_version(tools: &[Tool], version: KubernetesVersion) -> Result<ToolPaths> {
    let mut paths = BTreeMap::new();
    for &tool in tools {
        let path = match given(tool, |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        })? {
            Some(path) => path,
            None => cached_or_built(tool, version).with_context(|| format!("provide {}", tool.name()))?,
        };
        paths.insert(tool, path);
    }
    Ok(ToolPaths(paths))
}

/// The tool that the environment names. A variable of one tool that names no file is an error; a directory of assets
/// without the tool is not.
fn given(tool: Tool, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = variable(&tool.variable()) {
        if !path.is_file() {
            bail!("{}={} is not a file", tool.variable(), path.display());
        }
        return Ok(Some(path));
    }
    Ok(variable("KUBEBUILDER_ASSETS")
        .map(|dir| dir.join(tool.name()))
        .filter(|path| path.is_file()))
}

fn cached_or_built(tool: Tool, version: KubernetesVersion) -> Result<PathBuf> {
    let recipe = tool.recipe(version)?;
    let module = directory(&recipe.family);
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
    // another process may have built it before it released the lock
    if !path.is_file() {
        build(tool, &recipe, &module, &path)?;
    }
    Ok(path)
}

/// Directory of the Go module of a family.
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

/// A hash of all inputs of the build.
fn fingerprint(module: &Path, recipe: &Recipe) -> Result<u64> {
    let read =
        |file| fs::read(module.join(file)).with_context(|| format!("read {file} in {}", module.display()));
    let modules = [read("go.mod")?, read("go.sum")?];
    let flags = [&*recipe.ldflags, recipe.tags, env::consts::OS, env::consts::ARCH];
    Ok(stable_hash(
        modules.iter().map(Vec::as_slice).chain(flags.map(str::as_bytes)),
    ))
}

/// Takes a lock, which is released when the file is dropped or this process dies.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => say(TOPIC, "another process builds these tools; waiting for it"),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn build(tool: Tool, recipe: &Recipe, module: &Path, path: &Path) -> Result<()> {
    let name = tool.name();
    let go = go::find(module)?;
    let log = path.with_extension("log");
    let unfinished = path.with_extension("unfinished");
    let command = Spec::new(go)
        .arg("build")
        .args(["-mod=readonly", "-buildvcs=false", "-trimpath"])
        .arg(format!("-tags={}", recipe.tags))
        .arg(format!("-ldflags={}", recipe.ldflags))
        .arg("-o")
        .arg(&unfinished)
        .arg(&recipe.package)
        .env("CGO_ENABLED", "0")
        // defaults and workspace of the user must not change the result
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .dir(module);
    say(
        TOPIC,
        &format!("building {name} from source; this happens once and can take minutes"),
    );
    let progress = |seconds| say(TOPIC, &format!("building {name}: {seconds} s"));
    let ended = run_with_progress(&command, &log, progress)?;
    if !ended.status.success() {
        bail!(
            "go build {} failed ({}):\n{}",
            recipe.package,
            ended.status,
            ended.log_tail
        );
    }
    fs::rename(&unfinished, path).with_context(|| format!("move {name} into place"))?;
    say(TOPIC, &format!("built {name} in {} s", ended.took.as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_precedence() {
        let dir = crate::process::Scratch::new().unwrap();
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
