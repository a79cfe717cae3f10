//! Reads, applies and watches one object by its name.
//!
//! The object is written by server-side apply only, so each verb of the role can name it. Each write of content requires the
//! UID and the version that were read, so only one of two replicas succeeds. An object that does not exist is created without
//! content first. An apply without content changes nothing in an object that exists, whoever has created it. All replicas use
//! the same field managers, so `metadata.managedFields` does not grow with each process.

use std::fmt::Debug;

use futures::{Stream, TryStreamExt, future::ready};
use http::StatusCode;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::installation::FIELD_MANAGER;

/// The field manager of a write without content. It never owns a field, so it has no entry in `metadata.managedFields`.
const CREATOR: &str = "sidewatch-create";
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
    /// Creates the access of a replica. The client must not retry.
    pub fn new(client: Client, namespace: &str, name: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
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
        let Some(version) = self.version_for(precondition).await? else {
            return Ok(Applied::Conflict);
        };
        let patch = Patch::Apply(identified(object, &self.name, &version));
        outcome(self.api.patch(&self.name, &content(), &patch).await)
    }

    /// Writes the object as [`Self::apply`] does. The response does not contain the content.
    pub async fn apply_for_version(
        &self,
        precondition: Option<&Version>,
        object: K,
    ) -> Result<Applied<Version>, kube::Error> {
        let Some(version) = self.version_for(precondition).await? else {
            return Ok(Applied::Conflict);
        };
        let patch = Patch::Apply(identified(object, &self.name, &version));
        let written = self.api.patch_metadata(&self.name, &content(), &patch).await;
        outcome(written.map(|object| object.metadata.into()))
    }

    /// Returns the version that the object must have. Creates it without content for `None`; then returns `None` if it exists
    /// and a client has written content.
    async fn version_for(&self, precondition: Option<&Version>) -> Result<Option<Version>, kube::Error> {
        if let Some(version) = precondition {
            return Ok(Some(version.clone()));
        }
        let patch = Patch::Apply(json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": self.name },
        }));
        let params = PatchParams::apply(CREATOR);
        let object = self.api.patch_metadata(&self.name, &params, &patch).await?;
        let is_without_content = object.metadata.managed_fields.as_ref().is_none_or(Vec::is_empty);
        Ok(is_without_content.then(|| object.metadata.into()))
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

/// Returns the parameters of a write of content.
fn content() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Returns the object with its name and the version that it must have as its only metadata.
pub(super) fn identified<K: Resource>(mut object: K, name: &str, version: &Version) -> K {
    *object.meta_mut() = ObjectMeta {
        name: Some(name.to_owned()),
        uid: Some(version.uid.clone()),
        resource_version: Some(version.resource_version.clone()),
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
