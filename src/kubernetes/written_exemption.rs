//! Reads, applies and deletes one exemption by its name, for `sidewatch snooze`.
//!
//! `managedFields` and the status, which other clients can write, never make it unreadable.

use kube::{
    Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::{Request, params::GetParams},
};
use serde_json::Value;

use super::{
    decode::custom::Checked,
    list_watch::{in_scope, single},
};
use crate::{
    api::{SidecarExemption, SidecarExemptionSpec},
    domain::index::Scope,
};

/// Reads an exemption. Returns `None` if it does not exist, or if its spec is invalid.
pub async fn get(client: &Client, scope: &Scope, name: &str) -> kube::Result<Option<SidecarExemption>> {
    let request = requests(scope).get(name, &GetParams::default());
    let found: Option<Checked<SidecarExemption>> = single::existing(client, request).await?;
    Ok(found.and_then(|found| found.0.ok()))
}

/// Applies an exemption. Returns it as the API server has it, without `managedFields`.
pub async fn apply(
    client: &Client,
    scope: &Scope,
    name: &str,
    params: &PatchParams,
    wanted: &SidecarExemption,
) -> kube::Result<SidecarExemption> {
    let request = requests(scope).patch(name, params, &Patch::Apply(wanted));
    let DynamicObject {
        metadata, mut data, ..
    } = single::whole(client, request).await?;
    let mut part = |name: &str| data.get_mut(name).map(Value::take).unwrap_or_default();
    let spec: SidecarExemptionSpec = serde_json::from_value(part("spec")).map_err(kube::Error::SerdeError)?;
    Ok(SidecarExemption {
        metadata,
        spec,
        status: serde_json::from_value(part("status")).unwrap_or_default(),
    })
}

/// Deletes the exemption with this UID. The answer is a Status, or the object while it has finalizers; it is not read.
pub async fn delete(client: &Client, scope: &Scope, name: &str, uid: Option<String>) -> kube::Result<()> {
    let same = Preconditions {
        uid,
        resource_version: None,
    };
    let params = DeleteParams::default().preconditions(same);
    let request = requests(scope).delete(name, &params);
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await.map(drop)
}

fn requests(scope: &Scope) -> Request {
    Request::new(in_scope::<SidecarExemption>(scope))
}
