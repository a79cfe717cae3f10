//! Reads, applies and watches one object by its name.
//!
//! The object is written by server-side apply only, so each verb of the role can name it. A write to an existing object
//! requires the UID and the version that were read, and all replicas use one field manager for it. A write that creates the
//! object uses no force and a field manager that only this replica has: if another replica has created the object, that
//! replica owns the fields, and the API server responds with a conflict. So `metadata.managedFields` has one entry of the
//! replica that created the object and one of all replicas, however often replicas end.

use std::fmt::Debug;

use futures::{Stream, TryStreamExt, future::ready};
use http::StatusCode;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::installation::FIELD_MANAGER;

/// Server-side timeout of a watch in seconds.
const WATCH_SECONDS: u32 = 60;

/// The identity of a state of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

impl From<ObjectMeta> for Version {
    fn from(metadata: ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

/// Result of an apply that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied<T> {
    /// The object after the write, or a part of it.
    Written(T),
    /// The object does not meet the precondition.
    Conflict,
}

impl<T> Applied<T> {
    /// Maps the written object.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Applied<U> {
        match self {
            Self::Written(written) => Applied::Written(f(written)),
            Self::Conflict => Applied::Conflict,
        }
    }
}

/// Access to one object of a namespace.
#[derive(Clone)]
pub struct NamedObject<K> {
    api: Api<K>,
    name: String,
    /// The field manager of a write that creates the object.
    creator: String,
}

impl<K> NamedObject<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + 'static,
{
    /// Creates the access of a replica. The client must not retry. `creator` must be unique among the replicas.
    pub fn new(client: Client, namespace: &str, name: String, creator: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            creator: creator.to_owned(),
        }
    }

    /// Returns the name of the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the object. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<K>, kube::Error> {
        self.api.get_opt(&self.name).await
    }

    /// Reads the version of the object, without its content. Returns `None` if it does not exist.
    pub async fn version(&self) -> Result<Option<Version>, kube::Error> {
        let object = self.api.get_metadata_opt(&self.name).await?;
        Ok(object.map(|object| object.metadata.into()))
    }

    /// Writes the object if it has the version, or does not exist for `None`.
    pub async fn apply(&self, precondition: Option<&Version>, object: K) -> Result<Applied<K>, kube::Error> {
        let patch = Patch::Apply(identified(object, &self.name, precondition));
        outcome(
            self.api
                .patch(&self.name, &self.params(precondition), &patch)
                .await,
        )
    }

    /// Writes the object as [`Self::apply`] does. The response does not contain the content.
    pub async fn apply_for_version(
        &self,
        precondition: Option<&Version>,
        object: K,
    ) -> Result<Applied<Version>, kube::Error> {
        let patch = Patch::Apply(identified(object, &self.name, precondition));
        let params = self.params(precondition);
        let written = self.api.patch_metadata(&self.name, &params, &patch).await;
        outcome(written.map(|object| object.metadata.into()))
    }

    fn params(&self, precondition: Option<&Version>) -> PatchParams {
        match precondition {
            Some(_) => PatchParams::apply(FIELD_MANAGER).force(),
            None => PatchParams::apply(&self.creator),
        }
    }

    /// Watches the object from a version. Returns each later state, `None` if the object was deleted.
    pub async fn watch(
        &self,
        version: &Version,
    ) -> Result<impl Stream<Item = Result<Option<K>, kube::Error>> + Send + use<K>, kube::Error> {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let events = self.api.watch(&params, &version.resource_version).await?;
        Ok(events.try_filter_map(|event| {
            ready(match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Ok(Some(Some(object))),
                WatchEvent::Deleted(_) => Ok(Some(None)),
                WatchEvent::Bookmark(_) => Ok(None),
                WatchEvent::Error(status) => Err(kube::Error::Api(status)),
            })
        }))
    }
}

/// Returns the object with its name and the precondition as its only metadata.
pub(super) fn identified<K: Resource>(mut object: K, name: &str, precondition: Option<&Version>) -> K {
    *object.meta_mut() = ObjectMeta {
        name: Some(name.to_owned()),
        uid: precondition.map(|version| version.uid.clone()),
        resource_version: precondition.map(|version| version.resource_version.clone()),
        ..ObjectMeta::default()
    };
    object
}

fn outcome<T>(written: Result<T, kube::Error>) -> Result<Applied<T>, kube::Error> {
    match written {
        Ok(object) => Ok(Applied::Written(object)),
        Err(kube::Error::Api(status))
            if [StatusCode::CONFLICT, StatusCode::NOT_FOUND]
                .iter()
                .any(|code| code.as_u16() == status.code) =>
        {
            Ok(Applied::Conflict)
        }
        Err(error) => Err(error),
    }
}
