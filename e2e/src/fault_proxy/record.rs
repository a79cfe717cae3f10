//! What passed through the proxy.
//!
//! Input: requests and what became of them. Output: [`Call`]s in their order, as tests read them. The record also knows which
//! exchanges are still going on, so that they can be cut.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Bytes;
use sidewatch::domain::hash::stable_hash;
use tokio::sync::Notify;

use super::request::Verb;

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it wanted.
    pub verb: Verb,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// The request's body.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
    /// Whether a rule had something against it.
    pub faulted: bool,
    /// What the API server answered, if it was asked.
    pub server_status: Option<u16>,
    /// What the client was told, if anything.
    pub status: Option<u16>,
    /// When it was over, in whatever way.
    pub ended: Option<Instant>,
}

impl Call {
    /// The same for requests that say the same.
    pub fn body_hash(&self) -> u64 {
        stable_hash([&*self.body])
    }
}

/// All calls so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    call: Call,
    cut: Arc<Notify>,
}

impl Record {
    pub(super) fn begin(&self, call: Call) -> Exchange {
        let cut = Arc::new(Notify::new());
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry {
            call,
            cut: Arc::clone(&cut),
        });
        Exchange {
            record: self.clone(),
            index: entries.len() - 1,
            cut,
        }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.call.clone()).collect()
    }

    /// Cuts those that are going on and wanted; returns how many.
    pub(super) fn cut(&self, wanted: impl Fn(&Call) -> bool) -> usize {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = entries
            .iter()
            .filter(|entry| entry.call.ended.is_none() && wanted(&entry.call));
        running.map(|entry| entry.cut.notify_one()).count()
    }
}

/// A call that is going on; its end is recorded when this is dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    record: Record,
    index: usize,
    cut: Arc<Notify>,
}

impl Exchange {
    /// Ready when the test cuts this exchange.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    pub(super) fn server_answered(&self, status: u16) {
        self.update(|call| call.server_status = Some(status));
    }

    pub(super) fn answered(&self, status: u16) {
        self.update(|call| call.status = Some(status));
    }

    fn update(&self, change: impl FnOnce(&mut Call)) {
        let mut entries = self.record.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(self.index) {
            change(&mut entry.call);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.update(|call| call.ended = Some(Instant::now()));
    }
}
