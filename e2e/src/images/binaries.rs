//! The binaries of the images: static, so that an image needs to hold nothing else.
//!
//! Input: the work tree and cargo. Output: [`Binaries`], below `target/` where they do not disturb what `cargo build` and
//! `cargo test` keep there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::operator::{repository, variables_of_this_crate};
use crate::process::Spec;
use crate::programs::{on_path, run_patiently, say};

const TOPIC: &str = "images";
/// The value of `p_type` in a program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// Where the binaries are.
#[derive(Debug)]
pub(super) struct Binaries {
    /// The operator.
    pub(super) operator: PathBuf,
    /// The workload of the tests.
    pub(super) workload: PathBuf,
}

/// Compiles what has changed, with progress on standard error, and hands it to `use_them`. Until that returns, no other
/// process compiles: the files stay as they are.
pub(super) fn with<T>(use_them: impl FnOnce(&Binaries) -> Result<T>) -> Result<T> {
    let dir = repository().join("target/image");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let lock = File::create(dir.join("lock")).context("open the lock of the images' binaries")?;
    lock.lock().context("wait for the images' binaries")?;
    let binaries = build(&dir.join("build.log"))?;
    let built = Binaries {
        operator: binaries.join("sidewatch"),
        workload: binaries.join("test-workload"),
    };
    for path in [&built.operator, &built.workload] {
        ensure!(is_static(path)?, "{} is not static", path.display());
    }
    use_them(&built)
}

/// As `make binary` does for a release, but with a profile that compiles in a third of the time.
fn build(log: &Path) -> Result<PathBuf> {
    let host = host()?;
    let cargo = Spec::new(on_path("cargo").context("there is no cargo on the PATH")?)
        .args([
            "build",
            "--locked",
            "--package=sidewatch",
            "--package=test-workload",
            "--bins",
        ])
        .args(["--profile=image", "--target-dir=target"])
        // the target is named, or build scripts and procedural macros would have to be static as well
        .arg(format!("--target={host}"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .unset(variables_of_this_crate())
        .dir(repository());
    compile("the operator and the test workload", &cargo, log)?;
    Ok(repository().join("target").join(host).join("image"))
}

/// The target that rustc compiles for when it is not told.
fn host() -> Result<String> {
    let output = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .current_dir(repository())
        .output()
        .context("run rustc")?;
    ensure!(
        output.status.success(),
        "rustc --print host-tuple: {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Says nothing when it is done within seconds: then nothing had changed.
fn compile(what: &str, command: &Spec, log: &Path) -> Result<()> {
    let announce = |seconds| say(TOPIC, &format!("compiling {what}: {seconds} s"));
    let ended = run_patiently(command, log, announce)?;
    if !ended.status.success() {
        bail!("{}:\n{}", ended.status, ended.log_tail);
    }
    if ended.was_announced {
        say(TOPIC, &format!("compiled {what} in {} s", ended.took.as_secs()));
    }
    Ok(())
}

/// Whether the kernel can start it without a dynamic linker: none of its program headers names one.
fn is_static(path: &Path) -> Result<bool> {
    let file = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    ensure!(
        file.starts_with(b"\x7fELF\x02\x01"),
        "{} is not an ELF file of 64 bits, little-endian",
        path.display()
    );
    let headers =
        program_headers(&file).with_context(|| format!("{}: no program headers", path.display()))?;
    Ok(!headers.contains(&PT_INTERP))
}

/// The types of the program headers of such a file; <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>.
fn program_headers(file: &[u8]) -> Option<Vec<u32>> {
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(*file.get(at..)?.first_chunk()?)));
    let table = usize::try_from(u64::from_le_bytes(*file.get(0x20..)?.first_chunk()?)).ok()?;
    let (size, count) = (short(0x36)?, short(0x38)?);
    (0..count)
        .map(|index| {
            Some(u32::from_le_bytes(
                *file.get(table + index * size..)?.first_chunk()?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_needs_a_dynamic_linker_is_not_static() {
        let ourselves = std::env::current_exe().unwrap();
        assert!(!is_static(&ourselves).unwrap(), "tests are linked dynamically");
        let error = is_static(&repository().join("Cargo.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("not an ELF file"), "{error}");
    }
}
