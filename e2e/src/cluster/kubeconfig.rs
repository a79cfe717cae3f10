//! Kubeconfig files, as JSON. They reference certificate and token files instead of embedding them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Credentials of a client.
#[derive(Debug, Clone)]
pub(crate) enum User {
    Certificate {
        public: PathBuf,
        key: PathBuf,
    },
    Token(String),
    /// A file that clients read again from time to time, so that the token can be replaced.
    TokenFile(PathBuf),
}

pub(crate) fn kubeconfig(url: &str, ca: &Path, user: &User) -> Value {
    let user = match user {
        User::Certificate { public, key } => json!({"client-certificate": public, "client-key": key}),
        User::Token(token) => json!({"token": token}),
        User::TokenFile(path) => json!({"tokenFile": path}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sidewatch", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "sidewatch", "context": {"cluster": "sidewatch", "user": "user"}}],
        "current-context": "sidewatch",
    })
}

pub(crate) fn write(path: &Path, kubeconfig: &Value) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(kubeconfig)?)
        .with_context(|| format!("write {}", path.display()))
}

/// A client without the retries of kube, which would hide 429 and 503 from a test.
pub(crate) async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
