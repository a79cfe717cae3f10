//! The audit log of the API server.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::ControlPlane;
use crate::process::Scratch;

/// Logs every request without bodies when its answer starts.
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// The audit log of a control plane.
#[derive(Debug)]
pub struct AuditLog(PathBuf);

impl AuditLog {
    /// Starts a control plane with an audit log in the directory.
    pub async fn start(files: &Scratch) -> Result<(ControlPlane, Self)> {
        let (policy, log) = (files.path().join("policy.yaml"), files.path().join("audit.log"));
        std::fs::write(&policy, POLICY).with_context(|| format!("write {}", policy.display()))?;
        let flags = [
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
        ];
        Ok((ControlPlane::start_with(&flags).await?, Self(log)))
    }

    /// The requests of a user so far.
    pub fn requests(&self, user: &str) -> Result<Vec<Value>> {
        let log = std::fs::read_to_string(&self.0).with_context(|| format!("read {}", self.0.display()))?;
        // the last line may be incomplete
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events
            .filter(|event| event.pointer("/user/username").and_then(Value::as_str) == Some(user))
            .collect())
    }
}
