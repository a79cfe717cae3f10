//! Temporary directories that go away on every way out.
//!
//! Input: none. Output: a [`Scratch`] directory that only this user can read, removed when it is dropped, and by a watchdog
//! when this process dies without running any destructor: by SIGKILL, or because it belongs to a `static`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Watchdog;

/// Servers that are being killed at the same moment may still write a file; hence several tries.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
