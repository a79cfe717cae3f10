//! ServiceAccounts and their tokens (TokenRequest), and kubeconfig files with the token in a separate file, so that it can be
//! replaced under a running client, as a kubelet does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::kubeconfig::{self, User};

/// Shortest lifetime of a token that the API server accepts.
const SHORTEST_TOKEN_LIFE: Duration = Duration::from_mins(10);

/// A kubeconfig file with the token in a separate file.
#[derive(Debug, Clone)]
pub struct TokenKubeconfig {
    path: PathBuf,
    token: PathBuf,
}

impl TokenKubeconfig {
    /// The kubeconfig file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A client with the token. Like the kubeconfig, it reads the file again from time to time.
    pub async fn client(&self) -> Result<Client> {
        kubeconfig::client(Kubeconfig::read_from(&self.path)?).await
    }

    /// Replaces the token atomically. Clients read it again within about a minute.
    pub fn replace_token(&self, token: &str) -> Result<()> {
        let next = self.token.with_extension("next");
        fs::write(&next, token).with_context(|| format!("write {}", next.display()))?;
        fs::rename(&next, &self.token).with_context(|| format!("replace {}", self.token.display()))
    }
}

impl ControlPlane {
    /// Creates a ServiceAccount if it does not exist.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        api.patch(name, &PatchParams::apply("e2e"), &Patch::Apply(object))
            .await
            .with_context(|| format!("create ServiceAccount {namespace}/{name}"))?;
        Ok(())
    }

    /// Requests a token of a ServiceAccount, with this lifetime but at least ten minutes.
    pub async fn token(&self, namespace: &str, service_account: &str, life: Duration) -> Result<String> {
        let seconds = life.max(SHORTEST_TOKEN_LIFE).as_secs();
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": seconds}}))?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let issued = api
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("request a token for ServiceAccount {namespace}/{service_account}"))?;
        Ok(issued.status.context("a TokenRequest without an answer")?.token)
    }

    /// Writes a kubeconfig file for this token, which is removed with the control plane.
    pub fn kubeconfig_for_token(&self, token: &str) -> Result<TokenKubeconfig> {
        self.kubeconfig_at(self.url(), self.ca_path(), token)
    }

    /// Writes a kubeconfig file for an API server at another address, with another authority.
    pub(crate) fn kubeconfig_at(&self, url: &str, ca: &Path, token: &str) -> Result<TokenKubeconfig> {
        let name = self.unique("token");
        let files = TokenKubeconfig {
            path: self.dir().join(format!("{name}.kubeconfig")),
            token: self.dir().join(&name),
        };
        files.replace_token(token)?;
        kubeconfig::write(
            &files.path,
            &kubeconfig::kubeconfig(url, ca, &User::TokenFile(files.token.clone())),
        )?;
        Ok(files)
    }

    /// Creates a ServiceAccount, a token for an hour and a kubeconfig file.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> Result<TokenKubeconfig> {
        self.service_account(namespace, service_account).await?;
        let token = self
            .token(namespace, service_account, Duration::from_hours(1))
            .await?;
        self.kubeconfig_for_token(&token)
    }
}
