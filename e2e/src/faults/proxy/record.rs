//! Record of all requests through the proxy, which can also close active ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Bytes;
use tokio::sync::Notify;

use super::request::Verb;

/// A request and its result.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its verb.
    pub verb: Verb,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// The request's body.
    pub body: Bytes,
    /// When it arrived.
    pub at: Instant,
    /// Whether a rule applied.
    pub faulted: bool,
    /// Status of the API server, if the request was forwarded.
    pub server_status: Option<u16>,
    /// Status that the client received.
    pub status: Option<u16>,
    /// When it ended, with or without success.
    pub ended: Option<Instant>,
}

/// All calls.
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

    /// Closes wanted active calls; returns their number.
    pub(super) fn cut(&self, wanted: impl Fn(&Call) -> bool) -> usize {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = entries
            .iter()
            .filter(|entry| entry.call.ended.is_none() && wanted(&entry.call));
        running.map(|entry| entry.cut.notify_one()).count()
    }
}

/// An active call. Its end is recorded on drop.
#[derive(Debug)]
pub(super) struct Exchange {
    record: Record,
    index: usize,
    cut: Arc<Notify>,
}

impl Exchange {
    /// Resolves when the test closes this call.
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
