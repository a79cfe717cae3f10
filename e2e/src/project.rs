//! The work tree: its root directory, and cargo builds in it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Spec;
use crate::process::programs::{on_path, run_with_progress, say};

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The text of a file of the repository.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = repository().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The content of a file of the repository in YAML or JSON, with one document.
pub fn read_yaml(path: impl AsRef<Path>) -> Result<Value> {
    let path = path.as_ref();
    serde_saphyr::from_str(&read(path)?).with_context(|| format!("parse {}", path.display()))
}

/// A command of cargo with `--locked`, at the root of the repository.
pub(crate) fn cargo(command: &str) -> Result<Spec> {
    let cargo = env::var_os("CARGO").map(PathBuf::from);
    let cargo = cargo.or_else(|| on_path("cargo"));
    Ok(Spec::new(cargo.context("cargo is not on the PATH")?)
        .args([command, "--locked"])
        .unset(variables_of_this_crate())
        .dir(repository()))
}

/// `cargo build` whose executables [`executables`] returns.
pub(crate) fn cargo_build() -> Result<Spec> {
    Ok(cargo("build")?.arg("--message-format=json-render-diagnostics"))
}

/// Runs a build made by [`cargo_build`] and returns the executables that it names. Reports progress on standard error;
/// `what` is the object of "compiling". The output goes to `log`.
pub(crate) fn executables(what: &str, build: &Spec, log: &Path) -> Result<Vec<PathBuf>> {
    let progress = |seconds| say("cargo", &format!("compiling {what}: {seconds} s"));
    let ended = run_with_progress(build, log, progress)?;
    if !ended.status.success() {
        bail!("compiling {what} failed ({}):\n{}", ended.status, ended.log_tail);
    }
    if ended.was_reported {
        say("cargo", &format!("compiled {what} in {} s", ended.took.as_secs()));
    }
    let output = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let messages = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executables = messages.filter_map(|message| Some(message.get("executable")?.as_str()?.into()));
    Ok(executables.collect())
}

/// Environment variables that `cargo run` and `cargo test` set for this crate. Build scripts that read them would run
/// again, and their dependents would be recompiled, whenever a build by hand follows a build by a test.
fn variables_of_this_crate() -> impl Iterator<Item = OsString> {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    env::vars_os().map(|(name, _)| name).filter(move |name| {
        prefixes
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
    })
}
