//! Clients for the API server, and what passes through them.
//!
//! Two clients: one for lists and watches, which must notice a server that has gone silent, and one for writes, whose
//! time limits and retries the sinks decide. Neither retries by itself: kube's own retry would hide an outage from us
//! for minutes. [`observed`] puts a layer around the first that keeps a [`Pulse`]: when the server last said anything,
//! and whether a watch was answered, which kube's watcher does not tell.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::telemetry::monitor::Pulse;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Bytes;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// How long the server may be silent on a connection that waits for it. A watch is silent for at most a minute: it
/// ends after 60 s, and shortly before that the server sends a bookmark.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--kubeconfig`, or by `$KUBECONFIG`, or in the home directory.
    #[error("cannot use the kubeconfig {0}: {1}")]
    Kubeconfig(String, #[source] Box<KubeconfigError>),
    /// The ServiceAccount of the Pod.
    #[error("cannot use the Pod's ServiceAccount: {0}")]
    InCluster(#[source] Box<InClusterError>),
    /// The configuration was read, and is not usable.
    #[error("cannot make a client: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Finds the API server: the named kubeconfig, else `$KUBECONFIG`, else the ServiceAccount of the Pod that this
/// process runs in, else `~/.kube/config`. A context needs a kubeconfig.
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
    /// For lists and watches.
    pub watch: Client,
    /// For Events and statuses.
    pub write: Client,
}

impl Clients {
    /// Clients with connections of their own. A token that comes from a file is read again as it changes.
    pub fn new(mut config: Config) -> Result<Self, ConfigError> {
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // Or the time that a pooled connection was idle would count against its next answer.
        config.reset_reader_on_write = true;
        let build = |config| {
            ClientBuilder::try_from(config)
                .map(ClientBuilder::build)
                .map_err(|error| ConfigError::Client(Box::new(error)))
        };
        Ok(Self {
            watch: build(config.clone())?,
            write: build(config)?,
        })
    }
}

/// The same client, with its traffic seen by `pulse`. One watch each.
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
        let watch = is_watch(request.uri());
        Box::pin(async move {
            let response = client.send(request).await?;
            let good = response.status().is_success();
            if good && watch {
                pulse.record_answer();
            }
            Ok(response.map(|inner| ObservedBody {
                inner,
                pulse: good.then_some(pulse),
            }))
        })
    }
}

/// Whether a request is a watch, and not the list before it.
fn is_watch(uri: &http::Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs
        .into_iter()
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// A response body whose arrival is noted.
struct ObservedBody {
    inner: Body,
    pulse: Option<Arc<Pulse>>,
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
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether this begins a watch event of type ERROR: the API server says so that it has forgotten our resource version,
/// with status 200, and every such frame begins like this.
fn is_error_event(frame: &[u8]) -> bool {
    frame.starts_with(br#"{"type":"ERROR""#)
}
