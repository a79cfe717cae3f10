//! Passes a panic of an HTTP client to the caller.
//!
//! kube runs a client's service in a task of its own. A panic there would end that task, and every later request would
//! fail while the process lives. The operator ends when one of the tasks that send requests panics.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use kube::client::Body;
use tower::{Layer, Service};

/// Adds [`PanicsToCaller`] to a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct PanicsToCallerLayer;

impl<S> Layer<S> for PanicsToCallerLayer {
    type Service = PanicsToCaller<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanicsToCaller::new(inner)
    }
}

/// A service whose panics occur where the response is awaited.
#[derive(Debug)]
pub(super) struct PanicsToCaller<S> {
    inner: S,
    /// A panic that the next call reports.
    panic: Option<Box<dyn Any + Send>>,
}

impl<S> PanicsToCaller<S> {
    /// Wraps a service.
    fn new(inner: S) -> Self {
        Self { inner, panic: None }
    }
}

impl<S> Service<Request<Body>> for PanicsToCaller<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = AssertUnwindSafe(|| self.inner.poll_ready(context));
        catch_unwind(ready).unwrap_or_else(|panic| {
            self.panic = Some(panic);
            Poll::Ready(Ok(()))
        })
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let called = match self.panic.take() {
            Some(panic) => Err(panic),
            None => catch_unwind(AssertUnwindSafe(|| self.inner.call(request))),
        };
        match called {
            Ok(response) => Box::pin(response),
            Err(panic) => Box::pin(async { resume_unwind(panic) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use kube::Client;

    use super::*;

    /// Panics when it becomes ready or when it is called.
    struct Panics {
        when_ready: bool,
    }

    impl Service<Request<Body>> for Panics {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            assert!(!self.when_ready, "a bug of the client");
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("a bug of the client")
        }
    }

    #[tokio::test]
    async fn a_panic_of_a_client_reaches_the_task_of_each_request() {
        for when_ready in [false, true] {
            let client = Client::new(PanicsToCaller::new(Panics { when_ready }), "default");
            for _ in 0..2 {
                let client = client.clone();
                let sent = tokio::spawn(async move {
                    let request = Request::get("/version").body(Body::empty()).unwrap();
                    client.send(request).await.map(drop)
                });
                let panic = sent.await.unwrap_err().into_panic();
                assert_eq!(panic.downcast_ref(), Some(&"a bug of the client"));
            }
        }
    }
}
