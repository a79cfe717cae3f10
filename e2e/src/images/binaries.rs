//! Static binaries for the images, which need no other file. They are built in a separate profile and target directory, so
//! that other builds stay fresh.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::programs::stdout_of;
use crate::project::{cargo_build, executables, repository};

/// The value of `p_type` in a program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// Paths of the binaries.
#[derive(Debug)]
pub(super) struct Binaries {
    /// The operator.
    pub(super) operator: PathBuf,
    /// The test workload.
    pub(super) workload: PathBuf,
}

/// Compiles the binaries, with progress on standard error, and passes them to `use_them`. No other process compiles them
/// before that returns.
pub(super) fn with<T>(use_them: impl FnOnce(&Binaries) -> Result<T>) -> Result<T> {
    let dir = repository().join("target/image");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let lock = File::create(dir.join("lock")).context("open the lock of the images' binaries")?;
    lock.lock().context("wait for the images' binaries")?;
    let built = build(&dir.join("build.log"))?;
    for path in [&built.operator, &built.workload] {
        ensure!(is_static(path)?, "{} is not static", path.display());
    }
    use_them(&built)
}

/// Builds like `make binary`, with a profile that compiles in a third of the time.
fn build(log: &Path) -> Result<Binaries> {
    // The target is named, or build scripts and procedural macros would have to be static as well.
    let host = stdout_of(
        Command::new("rustc")
            .args(["--print", "host-tuple"])
            .current_dir(repository()),
    )?;
    let cargo = cargo_build()?
        .args(["--package=sidewatch", "--package=test-workload", "--bins"])
        .args(["--profile=image", "--target-dir=target"])
        .arg(format!("--target={}", host.trim()))
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let built = executables("the operator and the test workload", &cargo, log)?;
    let find = |name: &str| {
        let path = built.iter().find(|path| path.ends_with(name));
        path.cloned().with_context(|| format!("cargo reports no {name}"))
    };
    Ok(Binaries {
        operator: find("sidewatch")?,
        workload: find("test-workload")?,
    })
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
