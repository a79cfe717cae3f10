//! Reads the configuration of the API server from a kubeconfig.
//!
//! kube's own conversion fails for some values of NO_PROXY, and compares it with the proxy in place of the server. This one
//! applies [`super::proxy`]: a `proxy-url` of the kubeconfig comes first, and NO_PROXY does not concern it.

use http::Uri;
use k8s_openapi::ByteString;
use kube::{
    Config,
    config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError},
};
use serde_json::Value;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::proxy::Variables;

/// Error of a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKubeconfig {
    /// kube cannot read it.
    #[error(transparent)]
    Kube(#[from] Box<KubeconfigError>),
    /// The certificate authority cannot be read.
    #[error("cannot read the certificate authority: {0}")]
    CertificateAuthority(String),
    /// `proxy-url` is no URL.
    #[error("proxy-url {0:?} is not a URL")]
    ProxyUrl(String),
}

/// Returns the configuration of a context, or of the current one.
pub(super) fn config(
    file: &Kubeconfig,
    context: Option<&str>,
    variables: &Variables,
) -> Result<Config, InvalidKubeconfig> {
    let name = context
        .or(file.current_context.as_deref())
        .ok_or(KubeconfigError::CurrentContextNotSet)
        .map_err(Box::new)?;
    let context = file.contexts.iter().find(|known| known.name == name);
    let context = context
        .and_then(|known| known.context.as_ref())
        .ok_or_else(|| Box::new(KubeconfigError::LoadContext(name.to_owned())))?;
    let cluster = file.clusters.iter().find(|known| known.name == context.cluster);
    let cluster = cluster
        .and_then(|known| known.cluster.as_ref())
        .ok_or_else(|| Box::new(KubeconfigError::LoadClusterOfContext(context.cluster.clone())))?;
    let user = context.user.as_ref();
    let user = user.and_then(|user| file.auth_infos.iter().find(|known| known.name == *user));
    let mut auth: AuthInfo = user.and_then(|known| known.auth_info.clone()).unwrap_or_default();
    if let Some(exec) = &mut auth.exec
        && exec.provide_cluster_info
    {
        exec.cluster = Some(cluster.try_into().map_err(Box::new)?);
    }
    let server: Uri = cluster
        .server
        .as_deref()
        .ok_or(KubeconfigError::MissingClusterUrl)
        .and_then(|server| server.parse().map_err(KubeconfigError::ParseClusterUrl))
        .map_err(Box::new)?;
    let mut config = Config::new(server);
    config.default_namespace = context.namespace.clone().unwrap_or_else(|| "default".to_owned());
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    config.root_cert = authority(cluster).map_err(InvalidKubeconfig::CertificateAuthority)?;
    config.auth_info = auth;
    config.proxy_url = match cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) => Some(
            url.parse()
                .map_err(|_| InvalidKubeconfig::ProxyUrl(url.to_owned()))?,
        ),
        None => variables.proxy_for(&config.cluster_url),
    };
    Ok(config)
}

/// Returns the certificates of the certificate authority. The data comes before the file.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let is_set = |value: &&String| !value.is_empty();
    let pem = if let Some(data) = cluster.certificate_authority_data.as_ref().filter(is_set) {
        let decoded: Result<ByteString, _> = serde_json::from_value(Value::String(data.clone()));
        decoded.map_err(|error| error.to_string())?.0
    } else if let Some(path) = cluster.certificate_authority.as_ref().filter(is_set) {
        std::fs::read(path).map_err(|error| format!("{path}: {error}"))?
    } else {
        return Ok(None);
    };
    let certificates = CertificateDer::pem_slice_iter(&pem).map(|found| found.map(|found| found.to_vec()));
    let certificates: Result<_, _> = certificates.collect();
    certificates.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: &str) -> Kubeconfig {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a,
            contexts: [{{name: a, context: {{cluster: c, user: u, namespace: pay}}}}, {{name: b, context: {{cluster: none}}}}],
            clusters: [{{name: c, cluster: {{server: 'https://api.example.com:6443'{cluster}}}}}],
            users: [{{name: u, user: {{token: t}}}}]}}"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    fn proxied() -> Variables {
        Variables::of_https("http://proxy:3128", "other,")
    }

    #[test]
    fn a_context_has_its_cluster_user_and_namespace() {
        let config = config(&kubeconfig(""), None, &Variables::default()).unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://api.example.com:6443/");
        assert_eq!(config.default_namespace, "pay");
        assert!(config.auth_info.token.is_some());
        assert_eq!((config.root_cert, config.proxy_url), (None, None));
    }

    #[test]
    fn the_proxy_url_of_the_kubeconfig_comes_before_the_environment() {
        let proxy = |cluster: &str, variables: &Variables| {
            let config = config(&kubeconfig(cluster), None, variables).unwrap();
            config.proxy_url.map(|url| url.to_string())
        };
        let own = ", proxy-url: 'socks5://own:1080'";
        assert_eq!(
            proxy("", &proxied()).as_deref(),
            Some("http://proxy:3128/"),
            "a comma at the end of NO_PROXY"
        );
        assert_eq!(proxy(own, &proxied()).as_deref(), Some("socks5://own:1080/"));
        let none = Variables::of_https("http://proxy:3128", "*");
        assert_eq!(
            proxy(own, &none).as_deref(),
            Some("socks5://own:1080/"),
            "NO_PROXY does not concern it"
        );
        assert_eq!(proxy("", &none), None);
        assert_eq!(
            proxy(", proxy-url: ''", &proxied()).as_deref(),
            Some("http://proxy:3128/")
        );
    }

    #[test]
    fn what_is_missing_or_invalid_is_named() {
        let table = [
            ("", Some("x"), "x"),
            ("", Some("b"), "none"),
            (", proxy-url: 'a b'", None, "proxy-url \"a b\""),
            (", certificate-authority-data: '!'", None, "certificate authority"),
            (", certificate-authority: /missing.pem", None, "/missing.pem"),
        ];
        for (cluster, context, expected) in table {
            let error = config(&kubeconfig(cluster), context, &Variables::default()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
