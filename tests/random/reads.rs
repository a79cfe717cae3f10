//! Lists and watches of the API server, and their outages.

use std::{collections::BTreeMap, io, time::Duration};

use futures::{StreamExt, stream};
use http::{Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};

use testkit::{
    api_server::{CLUSTER_POLICIES, EXEMPTIONS, NAMESPACES, PODS, POLICIES, failure},
    protobuf,
    rng::Rng,
};

use crate::{
    api_server::{Answer, Error, answer},
    counts::Faults,
};

/// The timeout of a watch.
const WATCH_TIMEOUT: Duration = Duration::from_mins(1);

/// The objects and the watches of all resources.
pub(crate) struct Reads {
    rng: Rng,
    version: u64,
    collections: BTreeMap<&'static str, Collection>,
    /// Every list and watch fails.
    is_out: bool,
    /// The next list of Pods is incomplete.
    breaks_off: bool,
    pub(crate) faults: Faults,
    /// The lists and the watches since the last call of [`Reads::take_requests`], by path.
    requests: Requests,
}

/// The numbers of lists and watches by path.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) lists: BTreeMap<&'static str, usize>,
    pub(crate) watches: BTreeMap<&'static str, usize>,
}

/// The objects of one resource.
#[derive(Default)]
struct Collection {
    /// By UID.
    objects: BTreeMap<String, Value>,
    /// The event of each version, encoded.
    events: Vec<(u64, Bytes)>,
    /// Older versions are expired.
    oldest: u64,
    watches: Vec<mpsc::UnboundedSender<Piece>>,
}

/// A part of a response, or the failure of its connection.
type Piece = io::Result<Bytes>;

impl Reads {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            version: 100,
            collections: [PODS, NAMESPACES, POLICIES, CLUSTER_POLICIES, EXEMPTIONS]
                .into_iter()
                .map(|path| (path, Collection::default()))
                .collect(),
            is_out: false,
            breaks_off: false,
            faults: Faults::default(),
            requests: Requests::default(),
        }
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&mut self) -> Requests {
        std::mem::take(&mut self.requests)
    }

    /// Increments and returns the version.
    pub(crate) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Stores an object, and sends the event.
    pub(crate) fn put(&mut self, path: &'static str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        let collection = self.collections.get_mut(path).unwrap();
        let is_new = collection.objects.insert(uid, object.clone()).is_none();
        self.send(path, if is_new { "ADDED" } else { "MODIFIED" }, &object);
    }

    /// Deletes an object, and sends the event.
    pub(crate) fn delete(&mut self, path: &'static str, uid: &str) {
        let mut object = self
            .collections
            .get_mut(path)
            .unwrap()
            .objects
            .remove(uid)
            .unwrap();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.send(path, "DELETED", &object);
    }

    fn send(&mut self, path: &'static str, kind: &str, object: &Value) {
        let line = event(path, kind, object);
        let is_twice = self.rng.chance(20);
        let collection = self.collections.get_mut(path).unwrap();
        collection.events.push((self.version, line.clone()));
        collection
            .watches
            .retain(|watch| watch.send(Ok(line.clone())).is_ok());
        if is_twice && !collection.watches.is_empty() {
            self.faults.count("event twice");
            for watch in &collection.watches {
                drop(watch.send(Ok(line.clone())));
            }
        }
    }

    /// Starts an outage: every watch ends, some of them in the middle of an event.
    pub(crate) fn begin_outage(&mut self) {
        self.is_out = true;
        for (path, collection) in &mut self.collections {
            for watch in collection.watches.drain(..) {
                if self.rng.chance(50) {
                    self.faults.count("watch cut in an event");
                    let half = event(path, "MODIFIED", &json!({"kind": "Pod"})).slice(..20);
                    drop(watch.send(Ok(half)));
                    drop(watch.send(Err(io::ErrorKind::ConnectionReset.into())));
                } else {
                    self.faults.count("watch ended");
                }
            }
        }
    }

    /// Ends the outage. `expires` makes all older versions expire; `breaks_off` makes the next list of Pods incomplete.
    pub(crate) fn end_outage(&mut self, expires: bool, breaks_off: bool) {
        self.is_out = false;
        self.breaks_off = breaks_off;
        if expires {
            self.version += 1;
            for collection in self.collections.values_mut() {
                collection.oldest = self.version;
                collection.events.clear();
            }
        }
    }

    /// Answers a list or a watch.
    pub(crate) fn answer(&mut self, uri: &Uri) -> Result<Answer, Error> {
        let (path, collection) = self
            .collections
            .iter()
            .find(|(path, _)| **path == uri.path())
            .unwrap_or_else(|| panic!("{uri}: the operator has no right to that"));
        let (path, oldest) = (*path, collection.oldest);
        if self.is_out {
            return self.refuse();
        }
        let query = uri.query().unwrap_or_default();
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        if value("sendInitialEvents").is_some() {
            return Ok(answer(422, &status(422)));
        }
        if value("watch") == Some("true") {
            *self.requests.watches.entry(path).or_default() += 1;
            let since: u64 = value("resourceVersion").unwrap().parse().unwrap();
            if since < oldest {
                return Ok(self.gone(path));
            }
            return Ok(self.watch(path, since));
        }
        if value("limit") == Some("1") {
            // A broken watch asks for the current version.
            let metadata = json!({"resourceVersion": self.version.to_string()});
            return Ok(page(path, &[], &metadata));
        }
        *self.requests.lists.entry(path).or_default() += 1;
        Ok(self.list(path, value("continue").is_some()))
    }

    fn refuse(&mut self) -> Result<Answer, Error> {
        let refusals = [
            ("read refused with 429", Some(429)),
            ("read refused with 500", Some(500)),
            ("read refused with 503", Some(503)),
            ("no connection for a read", None),
        ];
        let (fault, code) = self.rng.pick(&refusals);
        self.faults.count(fault);
        code.map(|code| answer(code, &status(code)))
            .ok_or_else(|| "connection refused".into())
    }

    /// Answers 410, as the status of the response or as an event.
    fn gone(&mut self, path: &str) -> Answer {
        if self.rng.chance(50) {
            self.faults.count("410 as an answer");
            return answer(410, &status(410));
        }
        self.faults.count("410 as an event");
        encoded(path, whole(event(path, "ERROR", &status(410))))
    }

    fn list(&mut self, path: &str, is_rest: bool) -> Answer {
        if is_rest {
            self.faults.count("list broken off");
            return answer(410, &status(410));
        }
        let collection = &self.collections[path];
        let mut items: Vec<Value> = collection.objects.values().cloned().collect();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if path == PODS && self.breaks_off {
            self.breaks_off = false;
            items.truncate(self.rng.below(items.len()));
            metadata["continue"] = json!("the-rest");
        }
        page(path, &items, &metadata)
    }

    fn watch(&mut self, path: &str, since: u64) -> Answer {
        let (watch, pieces) = mpsc::unbounded_channel();
        let collection = self.collections.get_mut(path).unwrap();
        for (_, line) in collection.events.iter().filter(|(version, _)| *version > since) {
            watch.send(Ok(line.clone())).unwrap();
        }
        collection.watches.push(watch);
        let pieces = stream::unfold(pieces, |mut pieces| async {
            let piece: Piece = pieces.recv().await?;
            Some((piece.map(Frame::data), pieces))
        });
        let until_timeout = pieces.take_until(Box::pin(sleep(WATCH_TIMEOUT)));
        encoded(path, StreamBody::new(until_timeout).boxed_unsync())
    }
}

/// Whether responses about this path are in protobuf.
fn is_protobuf(path: &str) -> bool {
    path == PODS && !protobuf::is_disabled()
}

/// The bytes of an event.
fn event(path: &str, kind: &str, object: &Value) -> Bytes {
    if is_protobuf(path) {
        protobuf::event(kind, object).into()
    } else {
        Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
    }
}

/// A page of a list.
fn page(path: &str, items: &[Value], metadata: &Value) -> Answer {
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
    let body = if is_protobuf(path) {
        protobuf::object(&list)
    } else {
        list.to_string().into_bytes()
    };
    encoded(path, whole(body.into()))
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A success with this body.
fn encoded(path: &str, body: UnsyncBoxBody<Bytes, io::Error>) -> Answer {
    let content_type = if is_protobuf(path) {
        protobuf::CONTENT_TYPE
    } else {
        "application/json"
    };
    Response::builder()
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

fn status(code: u16) -> Value {
    failure(code, if code == 410 { "Expired" } else { "" }, "an outage")
}
