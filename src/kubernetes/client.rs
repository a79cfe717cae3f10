//! Creates clients for the API server.
//!
//! There are two clients. The client for lists and watches must detect a silent server. The client for writes leaves
//! time limits and retries to the sinks. Neither retries: kube's own retry would hide an outage for minutes. A panic in a
//! client ends the task that sends the request, and with it the process.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{InClusterError, Kubeconfig, KubeconfigError},
};

use super::{
    kubeconfig::{self, InvalidKubeconfig},
    proxy::Variables,
    transport,
};

/// How long the server may be silent on a connection. A watch is silent for at most one minute: it ends after 60 s, and
/// the server sends a bookmark shortly before.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Error that prevents access to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The kubeconfig cannot be used. It comes from `--kubeconfig`, `$KUBECONFIG` or the home directory.
    #[error("cannot use the kubeconfig {0}: {1}")]
    Kubeconfig(String, #[source] Box<InvalidKubeconfig>),
    /// The ServiceAccount of the Pod cannot be used.
    #[error("cannot use the Pod's ServiceAccount: {0}")]
    InCluster(#[source] Box<InClusterError>),
    /// The configuration was read, but no client can be created from it.
    #[error("cannot make a client: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Loads the configuration of the API server: from the given kubeconfig, else from `$KUBECONFIG`, else from the
/// ServiceAccount of this process's Pod, else from `~/.kube/config`. A context needs a kubeconfig.
pub fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConfigError> {
    let variables = Variables::from_env();
    let from_file = |name: String, file: Result<Kubeconfig, KubeconfigError>| {
        let file = file.map_err(|error| InvalidKubeconfig::Kube(Box::new(error)));
        file.and_then(|file| kubeconfig::config(&file, context, &variables))
            .map_err(|error| ConfigError::Kubeconfig(name, Box::new(error)))
    };
    if let Some(path) = kubeconfig {
        return from_file(path.display().to_string(), Kubeconfig::read_from(path));
    }
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_cluster && context.is_none() && std::env::var_os("KUBECONFIG").is_none() {
        let mut config = Config::incluster().map_err(|error| ConfigError::InCluster(Box::new(error)))?;
        config.proxy_url = variables.proxy_for(&config.cluster_url);
        return Ok(config);
    }
    let name = "of $KUBECONFIG or ~/.kube/config (name one with --kubeconfig)".to_owned();
    from_file(name, Kubeconfig::read())
}

/// The two clients.
#[derive(Clone)]
pub struct Clients {
    /// Client for lists and watches.
    pub watch: Client,
    /// Client for Events and statuses.
    pub write: Client,
}

impl Clients {
    /// Creates two clients with separate connections. A token from a file is read again when it changes.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let config = with_timeouts(config, READ_TIMEOUT);
        Ok(Self {
            watch: transport::client(config.clone()).map_err(invalid)?,
            write: transport::default_client(config).map_err(invalid)?,
        })
    }
}

/// Creates a client for reviews of bearer tokens. It belongs to the runtime that calls this function.
pub fn review_client(config: Config) -> Result<Client, ConfigError> {
    transport::default_client(with_timeouts(config, CONNECT_TIMEOUT)).map_err(invalid)
}

/// Sets the timeouts, and disables the retries of kube.
fn with_timeouts(mut config: Config, read_timeout: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(read_timeout);
    // Otherwise the idle time of a pooled connection would count towards the timeout of its next response.
    config.reset_reader_on_write = true;
    config
}

fn invalid(error: kube::Error) -> ConfigError {
    ConfigError::Client(Box::new(error))
}
