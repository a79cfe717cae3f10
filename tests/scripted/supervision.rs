//! The operator ends with an error when one of its tasks ends.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::{Client, client::Body};
use serde_json::json;
use sidewatch::kubernetes::client::Clients;
use testkit::api_server::{ApiServer, PODS, list, pod, policy, start_at, virtual_clock};

/// Panics at requests of one method, and accepts all others.
#[derive(Clone)]
struct Panics(Method);

impl tower::Service<Request<Body>> for Panics {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let panics = *request.method() == self.0;
        Box::pin(async move {
            assert!(!panics, "a bug in the sink");
            let object = json!({"metadata": {"resourceVersion": "9"}});
            Ok(Response::new(Full::from(object.to_string())))
        })
    }
}

/// The error of an operator whose sink panics at requests of this method.
async fn error_of_panic_at(method: Method) -> String {
    let server = ApiServer::default();
    server.serve_all_but_pods(&[policy("mesh", "3")]);
    let clients = Clients {
        watch: server.clients().watch,
        write: Client::new(Panics(method), "default"),
    };
    let operator = start_at(clients, &[], virtual_clock());
    let pods = server.route(Method::GET, PODS);
    let listed = list("Pod", "5", &[pod("web", "1", false)]);
    pods.next().await.json(StatusCode::OK, &listed);
    tokio::spawn(async move {
        let _watch = pods.any().await.watch();
        std::future::pending::<()>().await;
    });
    operator.failed().await.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_task_ends_the_operator() {
    for (method, task) in [(Method::PATCH, "status"), (Method::POST, "Events")] {
        let error = error_of_panic_at(method).await;
        assert!(
            error.starts_with(&format!("the {task} task panicked: ")),
            "{error}"
        );
        assert!(error.contains("a bug in the sink"), "{error}");
    }
}
