//! Reads, applies and watches one object by its name.
//!
//! The object is written by server-side apply only, so each verb of the role can name it. Each write of content requires the
//! UID and the version that were read, so only one of two replicas succeeds. An object that does not exist is created without
//! content first. An apply without content changes nothing in an object that exists, whoever has created it. All replicas use
//! the same field managers, so `metadata.managedFields` does not grow with each process.

use std::marker::PhantomData;

use futures::Stream;
use http::StatusCode;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Client, Resource,
    api::{Patch, PatchParams, WatchParams},
    core::{Request, params::GetParams},
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;

use super::{
    decode::list,
    installation::FIELD_MANAGER,
    list_watch::single::{changes, existing, object},
};

/// The field manager of a write without content. It never owns a field, so it has no entry in `metadata.managedFields`.
const CREATOR: &str = "sidewatch-create";
/// Server-side timeout of a watch in seconds.
const WATCH_SECONDS: u32 = 60;

/// The identity of a state of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// An object of which only the version is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Identified {
    metadata: Version,
}

/// An object of which only the version is read, and whether a client has written content.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Created {
    metadata: CreatedMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CreatedMetadata {
    uid: String,
    resource_version: String,
    /// Clients can write any content.
    #[serde(deserialize_with = "list")]
    managed_fields: Vec<IgnoredAny>,
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

/// Access to one object of a namespace: `K` is its kind, `T` what is read of it.
pub struct NamedObject<K, T> {
    client: Client,
    path: String,
    name: String,
    kind: PhantomData<fn(K) -> T>,
}

impl<K, T> Clone for NamedObject<K, T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            path: self.path.clone(),
            name: self.name.clone(),
            kind: PhantomData,
        }
    }
}

impl<K, T> NamedObject<K, T>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    T: DeserializeOwned,
{
    /// Creates the access of a replica. The client must not retry.
    pub fn new(client: Client, namespace: &str, name: String) -> Self {
        Self {
            client,
            path: K::url_path(&(), Some(namespace)),
            name,
            kind: PhantomData,
        }
    }

    /// Returns the name of the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the object. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<T>, kube::Error> {
        let request = self.request().get(&self.name, &GetParams::default());
        existing(&self.client, request).await
    }

    /// Reads the version of the object, without its content. Returns `None` if it does not exist.
    pub async fn version(&self) -> Result<Option<Version>, kube::Error> {
        let request = self.request().get_metadata(&self.name, &GetParams::default());
        let found: Option<Identified> = existing(&self.client, request).await?;
        Ok(found.map(|found| found.metadata))
    }

    /// Writes the object if it has the version, or does not exist for `None`.
    pub async fn apply(&self, precondition: Option<&Version>, object: K) -> Result<Applied<T>, kube::Error> {
        let Some(version) = self.version_for(precondition).await? else {
            return Ok(Applied::Conflict);
        };
        let patch = Patch::Apply(identified(object, &self.name, &version));
        outcome(self::object(&self.client, self.request().patch(&self.name, &content(), &patch)).await)
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
        let request = self.request().patch_metadata(&self.name, &content(), &patch);
        let written = self::object::<Identified>(&self.client, request).await;
        outcome(written.map(|written| written.metadata))
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
        let request = self.request().patch_metadata(&self.name, &params, &patch);
        let CreatedMetadata {
            uid,
            resource_version,
            managed_fields,
        } = object::<Created>(&self.client, request).await?.metadata;
        Ok(managed_fields.is_empty().then_some(Version {
            uid,
            resource_version,
        }))
    }

    /// Watches the object from a version. Returns each later state, `None` if the object was deleted.
    pub async fn watch(
        &self,
        version: &Version,
    ) -> Result<impl Stream<Item = Result<Option<T>, kube::Error>> + Send + use<K, T>, kube::Error> {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let request = self.request().watch(&params, &version.resource_version);
        changes(&self.client, request).await
    }

    fn request(&self) -> Request {
        Request::new(&self.path)
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
