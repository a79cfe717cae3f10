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
    /// Stores the content of an apply that meets its preconditions, and answers it.
    fn apply(&mut self, exchange: Exchange);
    /// Creates the object without content.
    fn create(&mut self) -> Value;
}

/// Answers an apply as the API server does. One without content creates the object, or changes nothing; its field manager
/// owns nothing. One with content must have the UID and the version of the object, and uses force.
fn apply<S: Served>(state: &mut S, exchange: Exchange) {
    let is_forced = exchange.is_forced_apply();
    let applied = &exchange.body["metadata"];
    if applied.get("uid").is_none() {
        let fields = exchange.body.as_object().unwrap();
        assert!(
            !is_forced && fields.len() == 3,
            "without content: {}",
            exchange.body
        );
        let (status, object) = match state.stored().object() {
            Some(object) => (StatusCode::OK, object.clone()),
            None => (StatusCode::CREATED, state.create()),
        };
        return exchange.json(status, &partial(&object));
    }
    let meets = state.stored().object().is_some_and(|object| {
        let stored = &object["metadata"];
        ["uid", "resourceVersion"]
            .iter()
            .all(|field| applied[*field] == stored[*field])
    });
    if meets && is_forced {
        state.apply(exchange);
    } else {
        exchange.conflict();
    }
}

/// Returns the metadata of an object, as a response.
pub(super) fn partial(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
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
            (Method::PATCH, &path, apply::<S>),
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

    /// Stores an object with this UID and content, and returns it. An object with content has a field manager, and one that a
    /// client has written: with any time and any nesting.
    pub(super) fn store(&mut self, uid: &str, mut content: Value) -> Value {
        self.version += 1;
        let has_content = content.as_object().is_some_and(|fields| fields.len() > 2);
        let managers = if has_content {
            let fields = (0..200).fold(json!({}), |fields, _| json!({"f:a": fields}));
            json!([
                {"manager": "sidewatch", "operation": "Apply"},
                {"manager": "x", "operation": "Update", "time": "9999-12-31T23:59:59Z", "fieldsV1": fields},
            ])
        } else {
            json!([])
        };
        content["metadata"] = json!({
            "name": self.name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": self.version.to_string(),
            "managedFields": managers,
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
    fn is_forced_apply(&self) -> bool {
        assert_eq!(self.content_type.as_deref(), Some("application/apply-patch+yaml"));
        self.parameter("force").as_deref() == Some("true")
    }

    /// Answers that the object does not meet the precondition.
    fn conflict(self) {
        self.json(StatusCode::CONFLICT, &failure(409, "Conflict", "conflict"));
    }
}
