//! Transports between the operator and the scripted server, in process or over loopback, and virtual time.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::Client;
use sidewatch::{clock::Clock, kubernetes::client::Clients};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle, time::Instant};

use super::server::{ApiServer, Body};

#[derive(Clone)]
struct InProcess(ApiServer);

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        Box::pin(self.0.clone().handle(request))
    }
}

/// A loopback port on which a scripted server answers. If dropped, it accepts no more connections.
pub struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl ApiServer {
    /// Returns clients whose requests reach the server without a network.
    pub fn clients(&self) -> Clients {
        let client = || Client::new(InProcess(self.clone()), "default");
        Clients {
            watch: client(),
            write: client(),
        }
    }

    /// Listens on a free port of loopback.
    pub async fn listen(&self) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                let service = service_fn(move |request| server.clone().handle(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Listener { address, accepting }
    }
}

impl Listener {
    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns clients that connect to the port.
    pub fn clients(&self) -> Clients {
        Clients::new(kube::Config::new(self.url().parse().unwrap())).unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Returns a runtime with one thread and virtual time: if all its tasks wait, its clock advances to the next timer.
pub fn paused_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// A clock that follows the clock of tokio, which a test can pause.
pub fn virtual_clock() -> Arc<dyn Clock> {
    virtual_clock_from("2026-11-20T11:00:00Z".parse().unwrap())
}

/// A clock that begins now with this time and follows the clock of tokio.
pub fn virtual_clock_from(start: Timestamp) -> Arc<dyn Clock> {
    let begun = Instant::now();
    Arc::new(move || start + begun.elapsed())
}
