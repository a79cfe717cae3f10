//! Packages of the distribution: QEMU, busybox, cpio and a kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::node::namespaces::{install, is_installed};
use crate::process::programs::stdout_of;
use crate::project::repository;

/// Programs and their packages.
const PROGRAMS: [(&str, &str); 3] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
];
/// The package that depends on the current kernel of Debian for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// A kernel and its modules.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// `lib/modules/VERSION`
    pub(super) modules: PathBuf,
}

/// Installs the programs, and unpacks the kernel below `target/`.
pub(super) fn ensure() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the virtual machine needs x86_64");
    for (program, package) in PROGRAMS {
        if !is_installed(program) {
            install(package).with_context(|| format!("the virtual machine needs the package {package}"))?;
        }
    }
    if kernel().is_ok() {
        return Ok(());
    }
    let dir = directory();
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let depends = stdout_of(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("no package {KERNEL}: the virtual machine needs Debian"))?;
    // Downloaded and unpacked only: this machine keeps its kernel.
    let mut download = Command::new("apt-get");
    stdout_of(download.args(["download", package]).current_dir(&dir))?;
    let archive = only_file(&dir, |name| name.starts_with(package))?;
    let mut unpack = Command::new("dpkg-deb");
    stdout_of(unpack.arg("--extract").arg(&archive).arg(&dir))?;
    fs::remove_file(&archive)?;
    kernel().map(drop)
}

/// The unpacked kernel.
pub(super) fn kernel() -> Result<Kernel> {
    let dir = directory();
    let image = only_file(&dir.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    let modules = only_file(&dir.join("lib/modules"), |_| true)?;
    Ok(Kernel { image, modules })
}

fn directory() -> PathBuf {
    repository().join("target/vm")
}

fn only_file(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let read = || format!("read {}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&wanted)
        {
            found.push(path);
        }
    }
    match found.as_slice() {
        [file] => Ok(file.clone()),
        others => bail!("{} files instead of one in {}", others.len(), dir.display()),
    }
}
