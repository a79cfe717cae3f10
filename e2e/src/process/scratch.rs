//! Temporary directories that are always removed.
//!
//! Only this user can read a [`Scratch`] directory. A watchdog removes it when the handle is dropped or this process dies
//! without running destructors: by SIGKILL, or because a `static` holds the handle.

use std::path::{Path, PathBuf};

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
    /// Makes a new empty directory.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("sidewatch-")
            .tempdir()
            .context("make a temporary directory")?;
        let remover = Watchdog::start(REMOVE, dir.path().as_os_str())?;
        Ok(Self {
            path: dir.keep(),
            _remover: remover,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
