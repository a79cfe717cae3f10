//! What the API server permits to a user.

use anyhow::Result;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

/// A permission: API group, resource with subresource, and verb.
pub type Permission = (&'static str, &'static str, &'static str);

/// Reports whether a user has a permission in a namespace or, without one, in the whole cluster.
pub async fn is_permitted(
    client: &Client,
    user: &str,
    namespace: Option<&str>,
    (group, resource, verb): Permission,
) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({
        "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
    });
    let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": attributes}});
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = serde_json::from_value(review)?;
    let review = reviews.create(&PostParams::default(), &review).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}
