//! Reads objects and reviews rights, with the rights of the caller.

use std::fmt::Display;

use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use jiff::{Timestamp, fmt::rfc2822};
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use kube::client::Body;
use serde_json::{Value, json};

use crate::{
    cli::{cluster::Cluster, exit::Failure},
    kubernetes::{decode::whole, failure::chain},
};

/// The answer of the API server to a read.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The object, or the list.
    Found(Value),
    /// There is no such object, or no such kind.
    Missing,
    /// The caller may not read it, or the API server cannot answer.
    Unknown(String),
}

/// Whether a user has a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Review {
    Allowed,
    Denied,
    /// The caller may not ask, or the API server cannot answer.
    Unknown(String),
}

/// Access to the API server.
pub(super) struct Access<'a> {
    pub(super) cluster: &'a Cluster,
}

impl Access<'_> {
    /// Reads the object or the list at a path. Fails if the API server cannot be reached.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        Ok(self.get_with_time(path).await?.0)
    }

    /// Reads a list. `None` stands for a kind that does not exist.
    pub(super) async fn list(&self, path: &str) -> Result<Result<Option<Vec<Value>>, String>, Failure> {
        Ok(match self.get(path).await? {
            Answer::Found(mut list) => match list.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => Ok(Some(items)),
                _ => Err(format!("{path} is not a list")),
            },
            Answer::Missing => Ok(None),
            Answer::Unknown(reason) => Err(reason),
        })
    }

    /// Reads an object, and the time of the API server.
    pub(super) async fn get_with_time(&self, path: &str) -> Result<(Answer, Option<Timestamp>), Failure> {
        self.send(Method::GET, path, Body::empty()).await
    }

    /// Asks whether a user has a right. `namespace` is that of the right, for callers who may ask only there.
    pub(super) async fn review(
        &self,
        spec: &SubjectAccessReviewSpec,
        namespace: Option<&str>,
    ) -> Result<Review, Failure> {
        let group = "authorization.k8s.io/v1";
        let everywhere = json!({"apiVersion": group, "kind": "SubjectAccessReview", "spec": spec});
        let path = format!("/apis/{group}/subjectaccessreviews");
        let review = self.reviewed(&path, &everywhere).await?;
        let (Review::Unknown(_), Some(namespace)) = (&review, namespace) else {
            return Ok(review);
        };
        let local = json!({
            "apiVersion": group, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": namespace}, "spec": spec,
        });
        let path = format!("/apis/{group}/namespaces/{namespace}/localsubjectaccessreviews");
        self.reviewed(&path, &local).await
    }

    async fn reviewed(&self, path: &str, review: &Value) -> Result<Review, Failure> {
        let body = Body::from(serde_json::to_vec(review)?);
        Ok(match self.send(Method::POST, path, body).await?.0 {
            Answer::Found(review) if review["status"]["allowed"] == true => Review::Allowed,
            Answer::Found(_) => Review::Denied,
            Answer::Missing => Review::Unknown(format!("the API server has no {path}")),
            Answer::Unknown(reason) => Review::Unknown(reason),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(Answer, Option<Timestamp>), Failure> {
        let unreachable = |error: &dyn Display| self.cluster.failed(&format!("cannot read {path}: {error}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)?;
        let exchange = async {
            let response = self.cluster.client().send(request).await?;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok::<_, kube::Error>((head, bytes))
        };
        let (head, bytes) = self
            .cluster
            .answer(exchange)
            .await?
            .map_err(|error| unreachable(&chain(&error)))?;
        let time = server_time(&head.headers);
        let object = whole::value(&bytes);
        let answer = match head.status.as_u16() {
            200..300 if object.is_object() => Answer::Found(object),
            404 => Answer::Missing,
            401 => return Err(unreachable(&"the API server does not accept the credentials")),
            code => {
                let message = object["message"].as_str().unwrap_or("no message");
                Answer::Unknown(format!("{code}: {message}"))
            }
        };
        Ok((answer, time))
    }
}

/// Returns the time in the header `Date`, in whole seconds.
fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    let time = rfc2822::DateTimeParser::new().parse_timestamp(text);
    time.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_server_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(server_time(&headers), None);
        headers.insert(header::DATE, "Sun, 22 Nov 2026 20:25:07 GMT".parse().unwrap());
        let expected = "2026-11-22T20:25:07Z".parse().unwrap();
        assert_eq!(server_time(&headers), Some(expected));
        headers.insert(header::DATE, "yesterday".parse().unwrap());
        assert_eq!(server_time(&headers), None);
    }
}
