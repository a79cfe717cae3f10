//! Lists workloads in pages, with all their fields, for `sidewatch lint --live`.
//!
//! Input: a client, a kind, and what the user selects. Output: one page of objects that no other workload controls, so a
//! Deployment is listed without its ReplicaSets and Pods.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{
    Client, Resource,
    api::{ApiResource, DynamicObject},
    core::TypeMeta,
};

use super::{
    failure,
    inputs::LIVE_PODS,
    list::{ListError, PodSelection},
    list_watch::{self, Selection},
    watch::Selectors,
};
use crate::telemetry::logging::clean;

/// Number of objects in a page. They have all their fields, so a Pod takes about 100 kB of memory.
const PAGE: u32 = 100;

/// A kind of workloads.
#[derive(Clone, Debug)]
pub struct WorkloadKind {
    resource: ApiResource,
    /// Objects of the kind can be controlled by another workload.
    has_owners: bool,
    /// A field selector.
    fields: &'static str,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The objects without `managedFields` and `status`.
    pub objects: Vec<DynamicObject>,
    /// The objects that cannot be decoded, with the errors.
    pub undecodable: Vec<String>,
    /// The token of the next page.
    pub next: Option<String>,
}

impl WorkloadKind {
    /// Returns all kinds.
    pub fn all() -> [Self; 7] {
        let kind = |resource, has_owners, fields| Self {
            resource,
            has_owners,
            fields,
        };
        [
            kind(ApiResource::erase::<Deployment>(&()), false, ""),
            kind(ApiResource::erase::<StatefulSet>(&()), false, ""),
            kind(ApiResource::erase::<DaemonSet>(&()), false, ""),
            kind(ApiResource::erase::<ReplicaSet>(&()), true, ""),
            kind(ApiResource::erase::<CronJob>(&()), false, ""),
            kind(ApiResource::erase::<Job>(&()), true, ""),
            kind(ApiResource::erase::<Pod>(&()), true, LIVE_PODS),
        ]
    }

    /// Lists one page. The field selector of `selection` is not used.
    pub async fn page(
        &self,
        client: &Client,
        selection: &PodSelection,
        token: Option<String>,
    ) -> Result<Page, ListError> {
        let PodSelection {
            scope,
            fields: _,
            labels,
        } = selection;
        let fields = self.fields;
        let path = DynamicObject::url_path(&self.resource, scope.as_deref());
        let selected = Selection::new(path, Selectors { fields, labels }).with_limit(PAGE);
        let page = list_watch::page(client, &selected, token).await;
        let list_watch::Page { objects, next } = page.map_err(|error| ListError {
            reason: failure::reason(&error),
            message: failure::sentence(&error, &self.resource.plural, scope),
        })?;
        let mut page = Page {
            objects: Vec::new(),
            undecodable: Vec::new(),
            next,
        };
        for object in objects {
            match object {
                Ok(object) if self.has_owners && is_controlled(&object) => {}
                Ok(object) => page.objects.push(self.complete(object)),
                Err(error) => page
                    .undecodable
                    .push(clean(&format!("{} {error}", self.resource.kind))),
            }
        }
        Ok(page)
    }

    /// Sets the kind, which the items of a list do not have, and removes the fields that a manifest does not have.
    fn complete(&self, mut object: DynamicObject) -> DynamicObject {
        object.types = Some(TypeMeta {
            api_version: self.resource.api_version.clone(),
            kind: self.resource.kind.clone(),
        });
        if let Some(data) = object.data.as_object_mut() {
            data.remove("status");
        }
        object
    }
}

fn is_controlled(object: &DynamicObject) -> bool {
    let mut owners = object.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller.unwrap_or_default())
}
