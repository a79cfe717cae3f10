//! Creates clients for the API server, and records the activity of watches.
//!
//! There are two clients. The client for lists and watches must detect a silent server. The client for writes leaves
//! time limits and retries to the sinks. Neither retries: kube's own retry would hide an outage for minutes. A panic in a
//! client ends the task that sends the request, and with it the process.
//!
//! [`observed`] wraps the first client in a layer that updates a [`Pulse`]: the time of the last data from the server,
//! whether a watch was answered or cut off, and the wait that a response requests. kube's watcher reports none of them.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Bytes;
use kube::{
    Client, Config,
    client::Body,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{failure, transport};
use crate::telemetry::monitor::Pulse;

/// How long the server may be silent on a connection. A watch is silent for at most one minute: it ends after 60 s, and
/// the server sends a bookmark shortly before.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Error that prevents access to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The kubeconfig cannot be used. It comes from `--kubeconfig`, `$KUBECONFIG` or the home directory.
    #[error("cannot use the kubeconfig {0}: {1}")]
    Kubeconfig(String, #[source] Box<KubeconfigError>),
    /// The ServiceAccount of the Pod cannot be used.
    #[error("cannot use the Pod's ServiceAccount: {0}")]
    InCluster(#[source] Box<InClusterError>),
    /// The configuration was read, but no client can be created from it.
    #[error("cannot make a client: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Loads the configuration of the API server: from the given kubeconfig, else from `$KUBECONFIG`, else from the
/// ServiceAccount of this process's Pod, else from `~/.kube/config`. A context needs a kubeconfig.
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConfigError> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let fail = |name: String| move |error| ConfigError::Kubeconfig(name, Box::new(error));
    if let Some(path) = kubeconfig {
        let named = path.display().to_string();
        let file = Kubeconfig::read_from(path).map_err(fail(named.clone()))?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(fail(named));
    }
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_cluster && context.is_none() && std::env::var_os("KUBECONFIG").is_none() {
        return Config::incluster().map_err(|error| ConfigError::InCluster(Box::new(error)));
    }
    Config::from_kubeconfig(&options).await.map_err(fail(
        "of $KUBECONFIG or ~/.kube/config (name one with --kubeconfig)".to_owned(),
    ))
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

/// Returns a client that records its traffic in `pulse`. Each watch needs its own client and pulse.
pub fn observed(client: Client, pulse: Arc<Pulse>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(ObservedClient { client, pulse }, namespace)
}

#[derive(Clone)]
struct ObservedClient {
    client: Client,
    pulse: Arc<Pulse>,
}

impl tower::Service<Request<Body>> for ObservedClient {
    type Response = Response<ObservedBody>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // `Client::send` waits for its own readiness.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, pulse } = self.clone();
        let is_watch = is_watch(request.uri());
        Box::pin(async move {
            pulse.record_retry_after(None);
            let response = client.send(request).await?;
            pulse.record_retry_after(failure::retry_after(response.headers()));
            let is_success = response.status().is_success();
            if is_success && is_watch {
                pulse.record_answer();
            }
            Ok(response.map(|inner| ObservedBody {
                inner,
                pulse: is_success.then_some(pulse),
                is_watch,
                is_complete: false,
            }))
        })
    }
}

/// Reports whether a request is a watch. A list is not.
fn is_watch(uri: &http::Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    pairs.any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// A response body that records the arrival of data, and how the response of a watch ends.
struct ObservedBody {
    inner: Body,
    /// `None` for the response of an unsuccessful request.
    pulse: Option<Arc<Pulse>>,
    is_watch: bool,
    is_complete: bool,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(pulse)) = (&frame, &self.pulse)
            && frame.data_ref().is_some_and(|bytes| !is_error_event(bytes))
        {
            pulse.record_activity();
        }
        if let (Poll::Ready(None), Some(pulse)) = (&frame, &self.pulse) {
            pulse.record_activity();
            self.is_complete = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Records a watch that did not end at its timeout. The watcher of kube drops the body of a silent watch.
impl Drop for ObservedBody {
    fn drop(&mut self) {
        if let Some(pulse) = &self.pulse
            && self.is_watch
            && !self.is_complete
        {
            pulse.record_cut();
        }
    }
}

/// Reports whether a frame begins a watch event of type ERROR. The API server sends one, with status 200, when it no
/// longer has the requested resource version. Every such frame has this prefix.
fn is_error_event(frame: &[u8]) -> bool {
    frame.starts_with(br#"{"type":"ERROR""#)
}
