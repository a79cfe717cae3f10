//! What the probes answer, in files: exec probes are processes of their own.
//!
//! A container that was only just started, and has no file yet, is alive, not started and not ready.

use std::path::PathBuf;
use std::{env, fs, io};

/// Names another directory than `/tmp/test-workload`; for several test workloads on one machine.
const VARIABLE: &str = "TEST_WORKLOAD_STATE";

/// One of the three questions that a kubelet asks.
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

    /// A file, and the answer while it is there.
    fn file(self) -> (&'static str, bool) {
        match self {
            Self::Ready => ("ready", true),
            Self::Live => ("dead", false),
            Self::Started => ("started", true),
        }
    }
}

/// The directory of these files.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    pub(crate) fn from_environment() -> Self {
        Self(env::var_os(VARIABLE).map_or_else(|| PathBuf::from("/tmp/test-workload"), PathBuf::from))
    }

    /// Forgets what an earlier container left: `/tmp` may be a volume, which outlives it.
    pub(crate) fn begin(&self) -> Result<(), String> {
        let begun = match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&self.0),
        };
        begun.map_err(|error| format!("begin with an empty {}: {error}", self.0.display()))
    }

    /// From now on the probe answers this.
    pub(crate) fn set(&self, probe: Probe, answer: bool) -> Result<(), String> {
        let (name, while_there) = probe.file();
        let file = self.0.join(name);
        let set = if answer == while_there {
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
        let (name, while_there) = probe.file();
        self.0.join(name).exists() == while_there
    }
}
