//! Client of etcd's JSON gateway.
//!
//! Keys and values are base64 in JSON, as [`ByteString`] serializes them.

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http;

/// Limits of etcd for one transaction: 128 operations, 1.5 MiB. A batch stays below both.
const BATCH_OPERATIONS: usize = 100;
const BATCH_BYTES: usize = 1_000_000;

/// A key and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// The gateway of one etcd.
pub(super) struct Etcd {
    address: String,
}

#[derive(Serialize)]
struct Key {
    key: ByteString,
}

#[derive(Serialize)]
struct KeyValue {
    key: ByteString,
    value: ByteString,
}

#[derive(Serialize)]
struct Transaction {
    success: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    #[serde(rename = "requestPut")]
    put: KeyValue,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: ByteString,
}

impl Etcd {
    /// The etcd at `http://HOST:PORT`.
    pub(super) fn new(url: &str) -> Self {
        Self {
            address: url.trim_start_matches("http://").to_owned(),
        }
    }

    /// Returns the value of a key.
    pub(super) async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let range: Range = self.call("/v3/kv/range", &key_of(key)).await?;
        let found = range.kvs.into_iter().next();
        Ok(found.with_context(|| format!("etcd has no key {key}"))?.value.0)
    }

    /// Deletes a key.
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        self.call::<serde_json::Value>("/v3/kv/deleterange", &key_of(key))
            .await
            .map(drop)
    }

    /// Writes all entries, in transactions of many.
    pub(super) async fn put_all(&self, entries: impl Iterator<Item = Result<Entry>>) -> Result<()> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let Entry { key, value } = entry?;
            bytes += key.len() + value.len();
            batch.push(Operation {
                put: KeyValue {
                    key: ByteString(key.into_bytes()),
                    value: ByteString(value),
                },
            });
            if batch.len() >= BATCH_OPERATIONS || bytes >= BATCH_BYTES {
                self.put(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.put(batch).await
    }

    async fn put(&self, success: Vec<Operation>) -> Result<()> {
        self.call::<serde_json::Value>("/v3/kv/txn", &Transaction { success })
            .await
            .map(drop)
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T> {
        let body = http::post(&self.address, path, serde_json::to_vec(request)?).await?;
        serde_json::from_slice(&body).with_context(|| format!("etcd {path}"))
    }
}

fn key_of(key: &str) -> Key {
    Key {
        key: ByteString(key.into()),
    }
}
