//! Backup and restore of etcd.
//!
//! A restore sets the versions of all objects back, as `etcdutl snapshot restore` does without `--bump-revision`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ControlPlane, etcd_command};
use crate::process::Process;
use crate::tools::Tool;

/// A copy of the data directory of etcd.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl ControlPlane {
    /// Copies the data of etcd, which is frozen meanwhile.
    pub fn back_up(&mut self) -> Result<Backup> {
        let backup = Backup(self.dir().join(self.unique("etcd-backup")));
        self.etcd.freeze()?;
        let copied = copy(&self.dir().join("etcd"), &backup.0);
        self.etcd.thaw()?;
        copied.map(|()| backup)
    }

    /// Stops the API server and etcd, replaces the data of etcd, and starts both.
    pub async fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.kill_api_server()?;
        self.etcd.kill()?;
        let data = self.dir().join("etcd");
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        copy(&backup.0, &data)?;
        let command = etcd_command(self.tools.path(Tool::Etcd)?, self.dir(), &self.etcd_url);
        let log = self.dir().join(format!("{}.log", self.unique("etcd-restored")));
        self.etcd = Process::start(&command, &log)?;
        self.restart_api_server().await
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), &copied).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
