//! The ConfigMap of the checkpoint on the scripted server, with the rules of server-side apply that its writes need.

use std::sync::{Arc, Mutex, MutexGuard};

use http::StatusCode;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sidewatch::operator::checkpoint::CheckpointLocation;

use super::{
    ApiServer, Exchange,
    stored_object::{NAMESPACE, Served, StoredObject, partial},
};

/// The ConfigMap on the server. Clones share it.
#[derive(Clone)]
pub struct ServedCheckpoint(Arc<Mutex<State>>);

struct State {
    stored: StoredObject,
    /// The UID changes when the object is created again.
    created: u64,
    writes: usize,
}

/// Returns the location of the checkpoint.
pub fn checkpoint_location() -> CheckpointLocation {
    CheckpointLocation {
        namespace: NAMESPACE.to_owned(),
        lease: "sidewatch".to_owned(),
    }
}

impl ApiServer {
    /// Answers all requests for the ConfigMap of [`checkpoint_location`].
    pub fn serve_checkpoint(&self) -> ServedCheckpoint {
        let state = State {
            stored: StoredObject::new("configmaps", "sidewatch-checkpoint"),
            created: 0,
            writes: 0,
        };
        ServedCheckpoint(self.serve_object("/api/v1", state))
    }
}

impl ServedCheckpoint {
    /// Returns the stored bytes, if there are any.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let data = self.state().stored.object()?["binaryData"]["checkpoint"].clone();
        let ByteString(bytes) = serde_json::from_value(data).ok()?;
        Some(bytes)
    }

    /// Stores other bytes, as another client does.
    pub fn replace(&self, bytes: &[u8]) {
        let data = json!({ "checkpoint": ByteString(bytes.to_vec()) });
        self.state().store(&data);
    }

    /// Stores an object without the key of the checkpoint.
    pub fn empty(&self) {
        self.state().store(&json!({}));
    }

    /// Deletes the ConfigMap.
    pub fn delete(&self) {
        self.state().stored.delete();
    }

    /// Returns the number of writes that were accepted.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    /// Makes all requests fail with this code, or ends that.
    pub fn set_failure(&self, code: Option<u16>) {
        self.state().stored.set_failure(code);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn store(&mut self, data: &Value) -> Value {
        if self.stored.object().is_none() {
            self.created += 1;
        }
        let content = json!({"apiVersion": "v1", "kind": "ConfigMap", "binaryData": data});
        self.stored.store(&format!("uid-{}", self.created), content)
    }
}

impl Served for State {
    fn stored(&mut self) -> &mut StoredObject {
        &mut self.stored
    }

    fn apply(&mut self, exchange: Exchange) {
        self.writes += 1;
        let object = self.store(&exchange.body["binaryData"]);
        exchange.json(StatusCode::OK, &partial(&object));
    }

    fn create(&mut self) -> Value {
        self.created += 1;
        let content = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        self.stored.store(&format!("uid-{}", self.created), content)
    }
}
