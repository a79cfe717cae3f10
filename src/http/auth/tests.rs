use std::net::Ipv4Addr;

use http::{HeaderValue, Method};
use serde_json::{Value, json};
use testkit::api_server::{ApiServer, Exchange, Route, soon};
use tokio::time::advance;

use super::*;

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const MINUTE: Duration = Duration::from_mins(1);

/// An authorizer, and the requests that it sends.
struct Setup {
    authorizer: Arc<Authorizer>,
    tokens: Route,
    accesses: Route,
}

impl Setup {
    fn new() -> Self {
        let server = ApiServer::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        Self {
            authorizer: Arc::new(Authorizer::new(server.clients().write, metrics).unwrap()),
            tokens: server.route(Method::POST, TOKEN_REVIEWS),
            accesses: server.route(Method::POST, ACCESS_REVIEWS),
        }
    }

    /// Sends a request in the background.
    fn request(&self, host: u8, token: &str) -> tokio::task::JoinHandle<Result<(), Refusal>> {
        let authorizer = Arc::clone(&self.authorizer);
        let headers = authorization(&format!("Bearer {token}"));
        tokio::spawn(async move { authorizer.authorize(client(host), &headers).await })
    }

    /// Sends a request that needs no review.
    async fn cached(&self, token: &str) -> Result<(), Refusal> {
        soon("no review", self.request(1, token)).await.unwrap()
    }

    /// Sends a request, and answers its reviews: the user exists, and is allowed or not.
    async fn reviewed(&self, token: &str, is_allowed: bool) -> Result<(), Refusal> {
        let request = self.request(1, token);
        authenticate(self.tokens.next().await);
        respond(self.accesses.next().await, &json!({"allowed": is_allowed}));
        soon("the reviews are answered", request).await.unwrap()
    }

    /// Sends a request whose review fails.
    async fn failed(&self, token: &str) -> Result<(), Refusal> {
        let request = self.request(1, token);
        self.tokens.next().await.fail(500, "etcd is not available");
        soon("the review fails", request).await.unwrap()
    }
}

fn client(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, host).into()
}

fn authorization(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    headers
}

fn respond(exchange: Exchange, status: &Value) {
    exchange.json(
        StatusCode::CREATED,
        &json!({"metadata": {}, "spec": {}, "status": status}),
    );
}

fn authenticate(exchange: Exchange) {
    let user = json!({
        "username": "system:serviceaccount:monitoring:prometheus",
        "uid": "1234",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
    });
    respond(exchange, &json!({"authenticated": true, "user": user}));
}

fn failure() -> Refusal {
    Refusal::Failed("cannot create tokenreviews: etcd is not available".to_owned())
}

#[test]
fn the_token_follows_the_scheme_bearer() {
    #[rustfmt::skip]
    let table = [
        ("Bearer abc", Some("abc"), "as Prometheus sends it"),
        ("bearer abc", Some("abc"), "the scheme is not case-sensitive"),
        ("Bearer   abc ", Some("abc"), "spaces"),
        ("Bearer", None, "no token"),
        ("Bearer ", None, "an empty token"),
        ("Basic YTpi", None, "another scheme"),
        ("abc", None, "no scheme"),
    ];
    for (value, expected, why) in table {
        assert_eq!(bearer_token(&authorization(value)), expected, "{why}");
    }
    assert_eq!(bearer_token(&HeaderMap::new()), None);
}

#[tokio::test(start_paused = true)]
async fn the_reviews_contain_the_token_the_user_and_the_path() {
    let setup = Setup::new();
    let request = setup.request(1, "secret");
    let exchange = setup.tokens.next().await;
    assert_eq!(exchange.body["spec"], json!({"token": "secret"}));
    authenticate(exchange);
    let exchange = setup.accesses.next().await;
    let expected = json!({
        "user": "system:serviceaccount:monitoring:prometheus",
        "uid": "1234",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
    });
    assert_eq!(exchange.body["spec"], expected);
    respond(exchange, &json!({"allowed": true}));
    assert_eq!(request.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn only_an_allowed_user_has_access() {
    let setup = Setup::new();
    let no_token = setup.authorizer.authorize(client(1), &HeaderMap::new()).await;
    assert_eq!(no_token, Err(Refusal::NoToken));
    for (status, why) in [
        (
            json!({"authenticated": false, "error": "expired"}),
            "a token that is refused",
        ),
        (json!({"authenticated": true}), "an answer without a user"),
        (json!({"user": {"username": "a"}}), "an answer without a decision"),
        (Value::Null, "an answer without a status"),
    ] {
        let request = setup.request(1, why);
        respond(setup.tokens.next().await, &status);
        assert_eq!(request.await.unwrap(), Err(Refusal::Unauthenticated), "{why}");
        advance(MINUTE).await;
    }
    for (status, why) in [
        (json!({"allowed": false}), "no permission"),
        (json!({"allowed": true, "denied": true}), "a contradiction"),
        (Value::Null, "an answer without a status"),
    ] {
        let request = setup.request(1, &format!("user {why}"));
        authenticate(setup.tokens.next().await);
        respond(setup.accesses.next().await, &status);
        assert_eq!(request.await.unwrap(), Err(Refusal::Forbidden), "{why}");
        advance(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_no_access_without_an_answer_of_the_api_server() {
    let setup = Setup::new();
    assert_eq!(setup.failed("a").await, Err(failure()));

    let request = setup.request(1, "a");
    authenticate(setup.tokens.next().await);
    setup
        .accesses
        .next()
        .await
        .fail(403, "subjectaccessreviews is forbidden");
    let reason = "cannot create subjectaccessreviews: subjectaccessreviews is forbidden".to_owned();
    assert_eq!(request.await.unwrap(), Err(Refusal::Failed(reason)));

    let begun = Instant::now();
    let request = setup.request(1, "a");
    let _unanswered = setup.tokens.next().await;
    let refusal = request.await.unwrap().unwrap_err();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        refusal.message().contains("did not respond in time"),
        "{refusal:?}"
    );
    assert_eq!(begun.elapsed().as_secs(), 4);
    assert_eq!(setup.reviewed("a", true).await, Ok(()), "a failure is not cached");
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_cached() {
    let setup = Setup::new();
    assert_eq!(setup.reviewed("good", true).await, Ok(()));
    assert_eq!(setup.reviewed("weak", false).await, Err(Refusal::Forbidden));
    advance(Duration::from_secs(9)).await;
    assert_eq!(setup.cached("good").await, Ok(()));
    assert_eq!(setup.cached("weak").await, Err(Refusal::Forbidden));
    advance(Duration::from_secs(1)).await;
    assert_eq!(
        setup.reviewed("weak", true).await,
        Ok(()),
        "the permission was added"
    );
    advance(MINUTE).await;
    let lost = setup.reviewed("good", false).await;
    assert_eq!(lost, Err(Refusal::Forbidden), "the permission was removed");
}

#[tokio::test(start_paused = true)]
async fn an_allowed_token_stays_allowed_for_five_minutes_while_reviews_fail() {
    let setup = Setup::new();
    assert_eq!(setup.reviewed("good", true).await, Ok(()));
    for _ in 1..5 {
        advance(MINUTE).await;
        assert_eq!(setup.failed("good").await, Ok(()));
        assert_eq!(setup.failed("other").await, Err(failure()), "not another token");
    }
    advance(MINUTE).await;
    assert_eq!(setup.failed("good").await, Err(failure()));
}

#[tokio::test(start_paused = true)]
async fn requests_with_one_token_share_four_reviews() {
    let setup = Setup::new();
    let requests: Vec<_> = (0..64).map(|_| setup.request(1, "good")).collect();
    let mut exchanges = Vec::new();
    for _ in 0..4 {
        exchanges.push(setup.tokens.next().await);
    }
    setup.tokens.stays_silent(Duration::from_secs(1)).await;
    for exchange in exchanges {
        authenticate(exchange);
        respond(setup.accesses.next().await, &json!({"allowed": true}));
    }
    for request in requests {
        assert_eq!(request.await.unwrap(), Ok(()));
    }
    setup.tokens.stays_silent(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn many_bad_tokens_do_not_become_many_reviews() {
    let setup = Setup::new();
    let flood: Vec<_> = (0..500)
        .map(|n| setup.request(66, &format!("guess {n}")))
        .collect();
    for _ in 0..5 {
        respond(setup.tokens.next().await, &json!({"authenticated": false}));
    }
    let mut refusals = Vec::new();
    for request in flood {
        refusals.push(request.await.unwrap().unwrap_err());
    }
    let count = |refusal| refusals.iter().filter(|one| **one == refusal).count();
    assert_eq!(count(Refusal::Unauthenticated), 5);
    assert_eq!(count(Refusal::Limited), 495);
    assert_eq!(Refusal::Limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        setup.reviewed("good", true).await,
        Ok(()),
        "another client has its own limit"
    );
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_counted() {
    let setup = Setup::new();
    setup.reviewed("good", true).await.unwrap();
    setup.reviewed("weak", false).await.unwrap_err();
    setup.failed("late").await.unwrap_err();
    for (outcome, count) in [
        ("allowed", 1),
        ("forbidden", 1),
        ("error", 1),
        ("unauthenticated", 0),
        ("limited", 0),
    ] {
        let series = format!("sidewatch_metrics_reviews_total{{outcome=\"{outcome}\"}}");
        assert_eq!(setup.authorizer.metrics.counter(&series), count, "{outcome}");
    }
}
