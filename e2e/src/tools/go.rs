//! The Go toolchain, and files of Go modules. Does not change a go.mod or go.sum.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::programs::{on_path, stdout_of};

/// Directory with the files of a Go module that `e2e/tools/<family>/go.mod` requires. Downloads the module if it is missing
/// and checks it against go.sum.
pub fn module_files(family: &str, module: &str) -> Result<PathBuf> {
    let directory = super::directory(family);
    let mut download = Command::new(find(&directory)?);
    download
        .args(["mod", "download", "-json", module])
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .current_dir(&directory);
    let answer: serde_json::Value = serde_json::from_str(&stdout_of(&mut download)?)?;
    let files = answer.get("Dir").and_then(|value| value.as_str());
    Ok(files
        .with_context(|| format!("go mod download does not say where {module} is"))?
        .into())
}

/// Version of a module in `e2e/tools/<family>/go.mod`, with its `v`.
pub fn module_version(family: &str, module: &str) -> Result<String> {
    let file = super::directory(family).join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let version = text.lines().find_map(|line| {
        line.trim()
            .trim_start_matches("require ")
            .strip_prefix(module)?
            .strip_prefix(' ')?
            .split(' ')
            .next()
    });
    let version = version.with_context(|| format!("no {module} in {}", file.display()))?;
    Ok(version.to_owned())
}

/// Path of a `go` that is new enough for the module, or that downloads such a toolchain (the default of newer versions).
pub(super) fn find(module: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(module.join("go.mod"))?;
    let wanted = wanted
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .context("no go line in go.mod")?
        .trim();
    let go = on_path("go")
        .with_context(|| format!("building needs Go {wanted} or newer, and there is no go on the PATH"))?;
    let found = stdout_of(Command::new(&go).args(["env", "GOVERSION"]).current_dir(module))?;
    let found = found.trim().trim_start_matches("go");
    if version(found) < version(wanted) {
        bail!("building needs Go {wanted} or newer; {} is {found}", go.display());
    }
    Ok(go)
}

/// Numbers of a version such as `1.26.8`, `1.27rc1` or `1.26.1-vendor`, for comparison.
fn version(text: &str) -> Vec<u32> {
    let number = |part: &str| {
        part.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap_or(0)
    };
    text.split('.').take(3).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let rows = [
            ("1.26.8", "1.26.0", true, "newer patch"),
            ("1.26.0", "1.26.0", true, "the same"),
            ("1.30", "1.26.0", true, "newer minor, without a patch"),
            ("1.27rc1", "1.26.0", true, "a release candidate of a newer one"),
            ("1.9.7", "1.26.0", false, "9 is less than 26"),
            ("1.25.12", "1.26.0", false, "an older minor with a larger patch"),
            ("", "1.26.0", false, "nothing at all"),
        ];
        for (found, wanted, enough, message) in rows {
            assert_eq!(version(found) >= version(wanted), enough, "{message}");
        }
    }
}
