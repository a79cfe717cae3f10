//! The scripted server without a network: a request becomes an exchange directly. Where no socket is waited for, a test
//! may pause tokio's clock, and minutes pass in milliseconds.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use sidewatch::{clock::Clock, kubernetes::client::Clients, kubernetes::inputs::WatchScope};
use tokio::time::Instant;

use super::{
    operator::{Running, run},
    server::{Body, Routes, handle},
};

#[derive(Clone)]
struct InProcess(Routes);

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        Box::pin(handle(request, self.0.clone()))
    }
}

/// Clients whose requests go to these routes.
pub fn clients_in_process(routes: &Routes) -> Clients {
    let client = || Client::new(InProcess(routes.clone()), "default");
    Clients {
        watch: client(),
        write: client(),
    }
}

/// A clock that follows tokio's, which tests may pause.
pub fn virtual_clock() -> Arc<dyn Clock> {
    let start: Timestamp = "2026-11-20T11:00:00Z".parse().unwrap();
    let begun = Instant::now();
    Arc::new(move || start + begun.elapsed())
}

/// Starts an operator for the whole cluster on [`virtual_clock`], against these routes.
pub fn start_in_process(routes: &Routes) -> Running {
    let installation = WatchScope {
        namespaces: Vec::new(),
    };
    run(clients_in_process(routes), &installation, virtual_clock())
}
