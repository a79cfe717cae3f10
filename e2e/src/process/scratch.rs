//! Temporary directories that are always removed.
//!
//! Only this user can read a [`Scratch`] directory. A watchdog removes it when the handle is dropped or this process dies
//! without running destructors: by SIGKILL, or because a `static` holds the handle.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use anyhow::{Context, Result};

use super::Watchdog;

/// Tries several times: servers that are being killed may still write a file.
const REMOVE: &str =
    r#"read -r _; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit; sleep 0.2; done"#;

/// A temporary directory. Declare it after the processes that use it: fields are dropped in order.
#[derive(Debug)]
#[must_use]
pub struct Scratch {
    path: PathBuf,
    _remover: Watchdog,
}

impl Scratch {
    /// Creates an empty directory.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("sidewatch-{}-{number}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // left by another process with the same id
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
            }
        };
        let remover = Watchdog::start(REMOVE, path.as_os_str())?;
        Ok(Self {
            path,
            _remover: remover,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Copies a directory with everything in it.
pub fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), &copied).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
