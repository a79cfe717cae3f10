//! Authorization of requests by the API server, as kube-rbac-proxy and controller-runtime do it.
//!
//! A request needs a bearer token. A TokenReview gives the user of the token, and a SubjectAccessReview says whether this
//! user may `get` the path `/metrics`. Without an answer of the API server there is no access.
//!
//! The cost of any client is bounded. Outcomes are cached ([`cache`]), reviews are limited per client and in total
//! ([`limiter`]), and four run at a time. A client with an allowed token keeps its access for five minutes while reviews
//! fail or are limited, so that an outage of the API server makes no gap in the metrics. A client whose token was allowed before
//! has reviews and connections of its own, so that no other client makes one.

mod cache;
mod limiter;
mod review;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use kube::Client;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tracing::warn;

use self::{
    cache::{Cache, Cached, Digests},
    limiter::Limiter,
    review::Outcome,
};
use crate::telemetry::metrics::{Metrics, Review};

/// Maximum time of both requests of a review, including the wait for other reviews.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of reviews at a time.
const CONCURRENT_REVIEWS: usize = 4;

/// The reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request has no bearer token.
    NoToken,
    /// The API server does not accept the token.
    Unauthenticated,
    /// The user may not `get` the path.
    Forbidden,
    /// The API server did not review the token.
    Failed(String),
    /// There were too many requests with unknown tokens.
    Limited,
}

impl Refusal {
    /// Returns the status code of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Limited => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the body of the response.
    pub(super) fn message(&self) -> String {
        match self {
            Self::NoToken => "a bearer token is required\n".to_owned(),
            Self::Unauthenticated => "the API server does not accept the bearer token\n".to_owned(),
            Self::Forbidden => {
                "the user of the bearer token may not get the nonResourceURL /metrics\n".to_owned()
            }
            Self::Failed(reason) => format!("cannot review the bearer token: {reason}\n"),
            Self::Limited => "too many bearer tokens to review, try again later\n".to_owned(),
        }
    }
}

/// Error for a system without random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system provides no random numbers")]
pub struct NoRandomness;

/// Decides which requests are allowed.
pub struct Authorizer {
    client: Client,
    digests: Digests,
    cache: Mutex<Cache>,
    limiter: Mutex<Limiter>,
    reviews: Semaphore,
    /// Reviews for clients whose token was allowed before.
    reserve: Semaphore,
    metrics: Arc<Metrics>,
}

impl Authorizer {
    /// Creates an authorizer that sends its reviews with this client.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Result<Self, NoRandomness> {
        Ok(Self {
            client,
            digests: Digests::new().map_err(|_unspecified| NoRandomness)?,
            cache: Mutex::default(),
            limiter: Mutex::default(),
            reviews: Semaphore::new(CONCURRENT_REVIEWS),
            reserve: Semaphore::new(CONCURRENT_REVIEWS),
            metrics,
        })
    }

    /// Reports whether a token of this client was allowed before.
    pub(super) fn is_known(&self, peer: IpAddr) -> bool {
        self.limiter.lock().is_known(peer, Instant::now())
    }

    /// Returns an error if a request with these headers is not allowed.
    pub(super) async fn authorize(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = bearer_token(headers).ok_or(Refusal::NoToken)?;
        let key = self.digests.digest(token);
        let cached = self.cache.lock().get(&key, Instant::now());
        if let Cached::Fresh(outcome) = cached {
            return outcome.into_result();
        }
        let reviewed = timeout(REVIEW_TIMEOUT, self.review(peer, token, key)).await;
        let result = reviewed.unwrap_or_else(|_elapsed| {
            self.metrics.review(Review::Timeout);
            Err(Refusal::Failed(
                "the API server did not respond in time".to_owned(),
            ))
        });
        match (result, cached) {
            (Err(Refusal::Failed(_) | Refusal::Limited), Cached::Allowed) => Ok(()),
            (result, _) => result,
        }
    }

    /// Reviews a token, unless another request has reviewed it in the meantime.
    async fn review(&self, peer: IpAddr, token: &str, key: cache::Key) -> Result<(), Refusal> {
        let reviews = if self.is_known(peer) {
            &self.reserve
        } else {
            &self.reviews
        };
        let Ok(_permit) = reviews.acquire().await else {
            return Err(Refusal::Failed("the server stops".to_owned()));
        };
        if let Cached::Fresh(outcome) = self.cache.lock().get(&key, Instant::now()) {
            return outcome.into_result();
        }
        if !self.limiter.lock().take(peer, Instant::now()) {
            self.metrics.review(Review::Limited);
            return Err(Refusal::Limited);
        }
        let outcome = match review::review(&self.client, token).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let reason = error.to_string();
                self.metrics.review(Review::Error);
                warn!(error = reason, "bearer token of a metrics request not reviewed");
                return Err(Refusal::Failed(reason));
            }
        };
        self.metrics.review(match outcome {
            Outcome::Allowed => Review::Allowed,
            Outcome::Unauthenticated => Review::Unauthenticated,
            Outcome::Forbidden => Review::Forbidden,
        });
        self.cache.lock().insert(key, outcome, Instant::now());
        if outcome == Outcome::Allowed {
            self.limiter.lock().allowed(peer, Instant::now());
        }
        outcome.into_result()
    }
}

impl Outcome {
    fn into_result(self) -> Result<(), Refusal> {
        match self {
            Self::Allowed => Ok(()),
            Self::Unauthenticated => Err(Refusal::Unauthenticated),
            Self::Forbidden => Err(Refusal::Forbidden),
        }
    }
}

/// Returns the token of an `Authorization` header with the scheme `Bearer`. The scheme is not case-sensitive (RFC 9110).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
