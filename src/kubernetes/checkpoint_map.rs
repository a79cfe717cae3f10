//! Reads, applies and watches the ConfigMap that stores the checkpoint, as a [`NamedObject`].

use std::collections::BTreeMap;

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::Client;
use serde::{Deserialize, Deserializer};

use super::{
    decode::or_default,
    named_object::{Applied, NamedObject, Version},
};

/// The key in `binaryData`, as [`BinaryData`] reads it.
const KEY: &str = "checkpoint";

/// The ConfigMap as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StoredCheckpoint {
    /// The identity of this state of the object.
    #[serde(rename = "metadata")]
    pub version: Version,
    /// The encoded checkpoint; `None` if the key is missing.
    #[serde(rename = "binaryData", deserialize_with = "checkpoint")]
    pub bytes: Option<Vec<u8>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BinaryData {
    checkpoint: Option<ByteString>,
}

fn checkpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let BinaryData { checkpoint } = or_default(deserializer)?;
    Ok(checkpoint.map(|ByteString(bytes)| bytes))
}

/// Access to the ConfigMap of one installation.
#[derive(Clone)]
pub struct CheckpointMap(NamedObject<ConfigMap, StoredCheckpoint>);

impl CheckpointMap {
    /// Creates the access of a replica. The client must not retry.
    pub fn new(client: Client, namespace: &str, lease: &str) -> Self {
        let name = format!("{lease}-checkpoint");
        Self(NamedObject::new(client, namespace, name))
    }

    /// Returns the name of the ConfigMap.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Reads the ConfigMap. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<StoredCheckpoint>, kube::Error> {
        self.0.get().await
    }

    /// Reads the version of the ConfigMap, without its content. Returns `None` if it does not exist.
    pub async fn version(&self) -> Result<Option<Version>, kube::Error> {
        self.0.version().await
    }

    /// Writes the checkpoint if the object has the version, or does not exist for `None`. The response does not contain the
    /// content.
    pub async fn apply(
        &self,
        version: Option<&Version>,
        bytes: Vec<u8>,
    ) -> Result<Applied<Version>, kube::Error> {
        let object = ConfigMap {
            binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))])),
            ..ConfigMap::default()
        };
        self.0.apply_for_version(version, object).await
    }

    /// Watches the ConfigMap from a version. Returns each later state, `None` if it was deleted.
    pub async fn watch(
        &self,
        version: &Version,
    ) -> Result<BoxStream<'static, Result<Option<StoredCheckpoint>, kube::Error>>, kube::Error> {
        Ok(self.0.watch(version).await?.boxed())
    }
}
