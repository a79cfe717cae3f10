//! The two requests of a review.

use std::{error::Error, iter};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

/// The path and verb for which the user needs a permission.
const PATH: &str = "/metrics";
const VERB: &str = "get";

/// Answer of the API server about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The user of the token has the permission.
    Allowed,
    /// The token has no user.
    Unauthenticated,
    /// The user of the token does not have the permission.
    Forbidden,
}

/// The API server gave no answer. The cause is its message, or the innermost error.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {resource}: {cause}")]
pub(super) struct ReviewError {
    resource: &'static str,
    cause: String,
}

impl ReviewError {
    fn new(resource: &'static str, error: &kube::Error) -> Self {
        let cause = match error {
            kube::Error::Api(status) => status.message.clone(),
            error => {
                let causes = iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
                causes.last().map(ToString::to_string).unwrap_or_default()
            }
        };
        Self { resource, cause }
    }
}

/// Asks the API server for the user of a token and for the permission of this user.
pub(super) async fn review(client: &Client, token: &str) -> Result<Outcome, ReviewError> {
    let Some(user) = user(client, token).await? else {
        return Ok(Outcome::Unauthenticated);
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(PATH.to_owned()),
                verb: Some(VERB.to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let review = review.map_err(|error| ReviewError::new("subjectaccessreviews", &error))?;
    let is_allowed = review
        .status
        .is_some_and(|status| status.allowed && status.denied != Some(true));
    Ok(if is_allowed {
        Outcome::Allowed
    } else {
        Outcome::Forbidden
    })
}

/// Returns the user of a token, or `None` if the API server does not accept the token.
async fn user(client: &Client, token: &str) -> Result<Option<UserInfo>, ReviewError> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token.to_owned()),
            audiences: None,
        },
        ..TokenReview::default()
    };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let review = review.map_err(|error| ReviewError::new("tokenreviews", &error))?;
    let status = review.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)))
}
