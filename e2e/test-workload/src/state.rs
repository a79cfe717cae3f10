//! Answers of the probes, stored in files because exec probes are separate processes.
//!
//! A new container has no file: it is alive, not started and not ready.

use std::path::PathBuf;
use std::{env, fs, io};

/// Environment variable with another directory than `/tmp/test-workload`, for several test workloads on one machine.
const VARIABLE: &str = "TEST_WORKLOAD_STATE";

/// A probe of the kubelet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Probe {
    Ready,
    Live,
    Started,
}

impl Probe {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "ready" => Ok(Self::Ready),
            "live" => Ok(Self::Live),
            "started" => Ok(Self::Started),
            _ => Err(format!("`{name}` is not a probe: ready, live or started")),
        }
    }

    /// Name of a file, and the answer while the file exists.
    fn file(self) -> (&'static str, bool) {
        match self {
            Self::Ready => ("ready", true),
            Self::Live => ("dead", false),
            Self::Started => ("started", true),
        }
    }
}

/// Directory of the files.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    pub(crate) fn from_environment() -> Self {
        Self(env::var_os(VARIABLE).map_or_else(|| PathBuf::from("/tmp/test-workload"), PathBuf::from))
    }

    /// Removes the files of an earlier container: `/tmp` may be a volume.
    pub(crate) fn begin(&self) -> Result<(), String> {
        let begun = match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&self.0),
        };
        begun.map_err(|error| format!("create an empty {}: {error}", self.0.display()))
    }

    /// Sets the answer of a probe.
    pub(crate) fn set(&self, probe: Probe, answer: bool) -> Result<(), String> {
        let (name, while_present) = probe.file();
        let file = self.0.join(name);
        let set = if answer == while_present {
            fs::write(&file, "")
        } else {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        };
        set.map_err(|error| format!("change {}: {error}", file.display()))
    }

    pub(crate) fn answer(&self, probe: Probe) -> bool {
        let (name, while_present) = probe.file();
        self.0.join(name).exists() == while_present
    }
}
