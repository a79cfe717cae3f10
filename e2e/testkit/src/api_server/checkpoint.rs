//! The ConfigMap of the checkpoint on the scripted server, with the rules of server-side apply that its writes need.

use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, StatusCode};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sidewatch::operator::checkpoint::CheckpointLocation;

use super::{ApiServer, Exchange, WatchStream, failure};

/// Namespace of the ConfigMap.
const NAMESPACE: &str = "sidewatch-system";
/// Name of the ConfigMap.
const NAME: &str = "sidewatch-checkpoint";

/// The ConfigMap on the server. Clones share it.
#[derive(Clone, Default)]
pub struct ServedCheckpoint(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    object: Option<Value>,
    version: u64,
    /// The UID changes when the object is created again.
    created: u64,
    writes: usize,
    watches: Vec<WatchStream>,
    failure: Option<u16>,
}

/// Returns the location of the checkpoint, for a replica with this identity.
pub fn checkpoint_location(identity: &str) -> CheckpointLocation {
    CheckpointLocation {
        namespace: NAMESPACE.to_owned(),
        lease: "sidewatch".to_owned(),
        identity: identity.to_owned(),
    }
}

impl ApiServer {
    /// Answers all requests for the ConfigMap of [`checkpoint_location`].
    pub fn serve_checkpoint(&self) -> ServedCheckpoint {
        let checkpoint = ServedCheckpoint::default();
        let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let path = format!("{maps}/{NAME}");
        for (method, path, answer) in [
            (
                Method::GET,
                &path,
                ServedCheckpoint::get as fn(&ServedCheckpoint, Exchange),
            ),
            (Method::PATCH, &path, ServedCheckpoint::patch),
            (Method::GET, &maps, ServedCheckpoint::watch),
        ] {
            let (route, checkpoint) = (self.route(method, path), checkpoint.clone());
            tokio::spawn(async move {
                loop {
                    answer(&checkpoint, route.any().await);
                }
            });
        }
        checkpoint
    }
}

impl ServedCheckpoint {
    /// Returns the stored bytes, if there are any.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let data = self.state().object.as_ref()?["binaryData"]["checkpoint"].clone();
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
        let mut state = self.state();
        if let Some(object) = state.object.take() {
            state.send("DELETED", &object);
        }
    }

    /// Returns the number of writes that were accepted.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    /// Makes all requests fail with this code, or ends that.
    pub fn set_failure(&self, code: Option<u16>) {
        let mut state = self.state();
        state.failure = code;
        state.watches.clear();
    }

    fn get(&self, exchange: Exchange) {
        let state = self.state();
        match (&state.object, state.failure) {
            (_, Some(code)) => exchange.fail(code, "not now"),
            (Some(object), None) => exchange.json(StatusCode::OK, object),
            (None, None) => exchange.json(
                StatusCode::NOT_FOUND,
                &failure(404, "NotFound", "configmaps \"sidewatch-checkpoint\" not found"),
            ),
        }
    }

    fn watch(&self, exchange: Exchange) {
        let mut state = self.state();
        if let Some(code) = state.failure {
            return exchange.fail(code, "not now");
        }
        let selector = exchange.parameter("fieldSelector");
        assert_eq!(
            selector.as_deref(),
            Some("metadata.name=sidewatch-checkpoint"),
            "the role names the object"
        );
        state.watches.push(exchange.watch());
    }

    fn patch(&self, exchange: Exchange) {
        let mut state = self.state();
        if let Some(code) = state.failure {
            return exchange.fail(code, "not now");
        }
        assert_eq!(
            exchange.content_type.as_deref(),
            Some("application/apply-patch+yaml")
        );
        let applied = &exchange.body["metadata"];
        let is_forced = exchange.parameter("force").as_deref() == Some("true");
        let meets = match &state.object {
            Some(object) => {
                is_forced
                    && ["uid", "resourceVersion"]
                        .into_iter()
                        .all(|field| applied[field] == object["metadata"][field])
            }
            None => applied.get("uid").is_none() && !is_forced,
        };
        if !meets {
            return exchange.json(StatusCode::CONFLICT, &failure(409, "Conflict", "conflict"));
        }
        state.writes += 1;
        let object = state.store(&exchange.body["binaryData"]);
        exchange.json(
            StatusCode::OK,
            &json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
            }),
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn store(&mut self, data: &Value) -> Value {
        self.version += 1;
        let kind = if self.object.is_some() {
            "MODIFIED"
        } else {
            self.created += 1;
            "ADDED"
        };
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": format!("uid-{}", self.created),
                "resourceVersion": self.version.to_string(),
            },
            "binaryData": data,
        });
        self.object = Some(object.clone());
        self.send(kind, &object);
        object
    }

    fn send(&mut self, kind: &str, object: &Value) {
        self.watches.retain(WatchStream::is_open);
        for watch in &self.watches {
            watch.event(kind, object);
        }
    }
}
