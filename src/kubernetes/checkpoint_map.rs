//! Reads, applies and watches the ConfigMap that stores the checkpoint.
//!
//! It is written by server-side apply only, so each verb of the role can name the object. A write to an existing object
//! requires the UID and the version that were read. A write that creates the object uses no force: if another replica has
//! created it, that replica owns the content, and the API server responds with a conflict. Each replica therefore needs a
//! field manager of its own.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt, TryStreamExt, future::ready};
use http::StatusCode;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};

/// The key in `binaryData`.
const KEY: &str = "checkpoint";
/// The server-side timeout of a watch in seconds.
const WATCH_SECONDS: u32 = 60;

/// The ConfigMap as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The identity of this state of the object.
    pub version: Version,
    /// The encoded checkpoint; `None` if the key is missing.
    pub bytes: Option<Vec<u8>>,
}

/// The identity of a state of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

impl From<ConfigMap> for StoredCheckpoint {
    fn from(map: ConfigMap) -> Self {
        let bytes = map.binary_data.and_then(|mut data| data.remove(KEY));
        Self {
            version: Version::of(map.metadata),
            bytes: bytes.map(|ByteString(bytes)| bytes),
        }
    }
}

impl Version {
    fn of(metadata: ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

/// The result of an apply that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object has this version after the write.
    Written(Version),
    /// The object does not meet the precondition.
    Conflict,
}

/// Access to the ConfigMap of one installation.
#[derive(Clone)]
pub struct CheckpointMap {
    api: Api<ConfigMap>,
    name: String,
    field_manager: String,
}

impl CheckpointMap {
    /// Creates the access of a replica. The client must not retry. The field manager must be unique among the replicas.
    pub fn new(client: Client, namespace: &str, lease: &str, field_manager: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: format!("{lease}-checkpoint"),
            field_manager: field_manager.to_owned(),
        }
    }

    /// Returns the name of the ConfigMap.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the ConfigMap. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<StoredCheckpoint>, kube::Error> {
        Ok(self.api.get_opt(&self.name).await?.map(StoredCheckpoint::from))
    }

    /// Writes the checkpoint if the object has the version, or does not exist for `None`. The response does not contain the
    /// content.
    pub async fn apply(&self, version: Option<&Version>, bytes: Vec<u8>) -> Result<Applied, kube::Error> {
        let params = PatchParams {
            force: version.is_some(),
            ..PatchParams::apply(&self.field_manager)
        };
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: version.map(|version| version.uid.clone()),
                resource_version: version.map(|version| version.resource_version.clone()),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))])),
            ..ConfigMap::default()
        };
        let written = self
            .api
            .patch_metadata(&self.name, &params, &Patch::Apply(object))
            .await;
        match written {
            Ok(map) => Ok(Applied::Written(Version::of(map.metadata))),
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

    /// Watches the ConfigMap from a version. Returns each later state, `None` if it was deleted.
    pub async fn watch(
        &self,
        resource_version: &str,
    ) -> Result<
        impl Stream<Item = Result<Option<StoredCheckpoint>, kube::Error>> + Send + Unpin + use<>,
        kube::Error,
    > {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let events = self.api.watch(&params, resource_version).await?;
        let states = events.try_filter_map(|event| {
            ready(match event {
                WatchEvent::Added(map) | WatchEvent::Modified(map) => Ok(Some(Some(map.into()))),
                WatchEvent::Deleted(_) => Ok(Some(None)),
                WatchEvent::Bookmark(_) => Ok(None),
                WatchEvent::Error(status) => Err(kube::Error::Api(status)),
            })
        });
        Ok(states.boxed())
    }
}
