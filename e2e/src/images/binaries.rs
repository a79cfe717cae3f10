//! The binaries of the images: static, so that an image needs to hold nothing else.
//!
//! Input: the work tree and cargo. Output: [`Binaries`], below `target/` where they do not disturb what `cargo build` and
//! `cargo test` keep there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::operator::{repository, variables_of_this_crate};
use crate::process::{Process, Spec};

/// The value of `p_type` in a program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// Where the binaries are.
#[derive(Debug)]
pub(super) struct Binaries {
    /// The operator.
    pub(super) operator: PathBuf,
    /// The workload of the tests.
    pub(super) puppet: PathBuf,
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
        puppet: binaries.join("puppet"),
    };
    for path in [&built.operator, &built.puppet] {
        ensure!(is_static(path)?, "{} is not static", path.display());
    }
    use_them(&built)
}

/// As `make binary` does for a release, but with a profile that compiles in a third of the time.
fn build(log: &Path) -> Result<PathBuf> {
    let host = host()?;
    let cargo = Spec::new(program("cargo")?)
        .args([
            "build",
            "--locked",
            "--package=sidewatch",
            "--package=puppet",
            "--bins",
        ])
        .args(["--profile=image", "--target-dir=target"])
        // the target is named, or build scripts and procedural macros would have to be static as well
        .arg(format!("--target={host}"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .unset(variables_of_this_crate())
        .dir(repository());
    compile("the operator and the puppet", &cargo, log)?;
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

fn program(name: &str) -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("there is no {name} on the PATH"))
}

/// Says nothing when it is done within seconds: then nothing had changed.
fn compile(what: &str, command: &Spec, log: &Path) -> Result<()> {
    const EVERY: Duration = Duration::from_secs(15);
    fs::write(log, "").with_context(|| format!("write {}", log.display()))?;
    let start = Instant::now();
    let mut process = Process::start(command, log)?;
    let mut next = EVERY;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        if start.elapsed() >= next {
            say(&format!("compiling {what}: {} s", next.as_secs()));
            next += EVERY;
        }
        sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("{status}:\n{}", process.log_tail());
    }
    if next > EVERY {
        say(&format!("compiled {what} in {} s", start.elapsed().as_secs()));
    }
    Ok(())
}

/// Straight to standard error: the test harness would keep what `eprintln!` says from the person who waits.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "images: {message}");
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
