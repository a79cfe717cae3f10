//! One object on the scripted server, which a client reads, applies and watches by its name.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ApiServer, Exchange, WatchStream, failure};

/// The namespace of the objects.
pub(super) const NAMESPACE: &str = "sidewatch-system";

/// An object on the server, and the watches that follow it.
pub(super) struct StoredObject {
    /// The name of the resource, such as `leases`.
    resource: &'static str,
    name: &'static str,
    object: Option<Value>,
    version: u64,
    watches: Vec<WatchStream>,
    failure: Option<u16>,
}

/// The state of an object on the server, with the rules of its writes.
pub(super) trait Served: Send + 'static {
    /// Returns the object.
    fn stored(&mut self) -> &mut StoredObject;
    /// Answers an apply of the object.
    fn apply(&mut self, exchange: Exchange);
}

impl ApiServer {
    /// Answers all requests for an object. `group_version` is the start of its path, such as `/api/v1`.
    pub(super) fn serve_object<S: Served>(&self, group_version: &str, state: S) -> Arc<Mutex<S>> {
        let state = Arc::new(Mutex::new(state));
        let StoredObject { resource, name, .. } = *state.lock().unwrap().stored();
        let collection = format!("{group_version}/namespaces/{NAMESPACE}/{resource}");
        let path = format!("{collection}/{name}");
        let get: fn(&mut S, Exchange) = |state, exchange| state.stored().get(exchange);
        for (method, path, answer) in [
            (Method::GET, &path, get),
            (Method::PATCH, &path, S::apply),
            (Method::GET, &collection, |state, exchange| {
                state.stored().watch(exchange);
            }),
        ] {
            let state = Arc::clone(&state);
            self.answer(method, path, move |exchange| {
                let mut state = state.lock().unwrap();
                match state.stored().failure {
                    Some(code) => exchange.fail(code, "not now"),
                    None => answer(&mut state, exchange),
                }
            });
        }
        state
    }
}

impl StoredObject {
    /// Returns the state of an object that does not exist yet.
    pub(super) const fn new(resource: &'static str, name: &'static str) -> Self {
        Self {
            resource,
            name,
            object: None,
            version: 0,
            watches: Vec::new(),
            failure: None,
        }
    }

    /// Returns the object, if it exists.
    pub(super) const fn object(&self) -> Option<&Value> {
        self.object.as_ref()
    }

    /// Returns the version of the last write.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Stores an object with this UID and content, and returns it.
    pub(super) fn store(&mut self, uid: &str, mut content: Value) -> Value {
        self.version += 1;
        content["metadata"] = json!({
            "name": self.name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": self.version.to_string(),
        });
        let kind = if self.object.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.object = Some(content.clone());
        self.send(kind, &content);
        content
    }

    /// Deletes the object.
    pub(super) fn delete(&mut self) {
        if let Some(object) = self.object.take() {
            self.send("DELETED", &object);
        }
    }

    /// Makes all requests fail with this code, or ends that. Ends all watches.
    pub(super) fn set_failure(&mut self, code: Option<u16>) {
        self.failure = code;
        self.watches.clear();
    }

    fn send(&mut self, kind: &str, object: &Value) {
        self.watches.retain(WatchStream::is_open);
        for watch in &self.watches {
            watch.event(kind, object);
        }
    }

    fn get(&self, exchange: Exchange) {
        if let Some(object) = &self.object {
            exchange.json(StatusCode::OK, object);
        } else {
            let message = format!("{} {:?} not found", self.resource, self.name);
            exchange.json(StatusCode::NOT_FOUND, &failure(404, "NotFound", &message));
        }
    }

    fn watch(&mut self, exchange: Exchange) {
        assert_eq!(
            exchange.parameter("fieldSelector"),
            Some(format!("metadata.name={}", self.name)),
            "the role names the object"
        );
        let from = exchange.parameter("resourceVersion").unwrap();
        let watch = exchange.watch();
        if let Some(object) = &self.object
            && object["metadata"]["resourceVersion"] != *from
        {
            watch.event("MODIFIED", object);
        }
        self.watches.push(watch);
    }
}

impl Exchange {
    /// Returns whether a server-side apply has force. Fails the test if the request is not one.
    pub(super) fn is_forced_apply(&self) -> bool {
        assert_eq!(self.content_type.as_deref(), Some("application/apply-patch+yaml"));
        self.parameter("force").as_deref() == Some("true")
    }

    /// Answers that the object does not meet the precondition, or that another client owns it.
    pub(super) fn conflict(self) {
        self.json(StatusCode::CONFLICT, &failure(409, "Conflict", "conflict"));
    }
}
