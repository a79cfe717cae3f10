//! Backup and restore of etcd.
//!
//! A restore sets the versions of all objects back, as `etcdutl snapshot restore` does without `--bump-revision`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{ControlPlane, etcd_command};
use crate::process::{Process, copy_directory};
use crate::tools::Tool;

/// A copy of the data directory of etcd.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl ControlPlane {
    /// Copies the data of etcd, which is frozen meanwhile.
    pub fn back_up(&mut self) -> Result<Backup> {
        let backup = Backup(self.dir().join(self.unique("etcd-backup")));
        self.etcd.freeze()?;
        let copied = copy_directory(&self.dir().join("etcd"), &backup.0);
        self.etcd.thaw()?;
        copied.map(|()| backup)
    }

    /// Stops the API server and etcd, replaces the data of etcd, and starts both.
    pub async fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.kill_api_server()?;
        self.etcd.kill()?;
        let data = self.dir().join("etcd");
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        copy_directory(&backup.0, &data)?;
        let command = etcd_command(self.tools.path(Tool::Etcd)?, self.dir(), &self.etcd_url);
        let log = self.dir().join(format!("{}.log", self.unique("etcd-restored")));
        self.etcd = Process::start(&command, &log)?;
        self.restart_api_server().await
    }
}
