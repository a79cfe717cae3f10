//! Pages and their bodies.
//!
//! A body is a list of chunks of 32 KiB, so that a large page needs no single large allocation and no copy when it
//! grows. Readers share one [`SharedPage`] and take one chunk at a time. A revoked page frees its chunks at once: each
//! reader keeps only the chunk that it is sending, and fails at the next one.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;
use http_body::{Frame, SizeHint};
use hyper::body::Bytes;
use parking_lot::Mutex;

use super::connections::Activity;

/// The size of a chunk in bytes.
const CHUNK: usize = 32 * 1024;

/// Renders pages on request.
pub trait Pages: Send + Sync + 'static {
    /// Returns the page at `path`, or `None` if it does not exist. The server calls this method on a thread that may
    /// block.
    fn page(&self, path: &str) -> Option<Page>;
}

/// A rendered page.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Body,
}

impl Page {
    /// Creates a page of plain text.
    pub fn text(status: StatusCode, body: impl AsRef<str>) -> Self {
        let mut chunks = Body::default();
        chunks.push(body.as_ref().as_bytes());
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: chunks,
        }
    }
}

/// The body of a page. It is written from start to end.
#[derive(Debug, Default)]
pub struct Body {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Body {
    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.last.capacity() == 0 {
                // A small page gets a small chunk.
                let size = if self.full.is_empty() {
                    bytes.len().min(CHUNK)
                } else {
                    CHUNK
                };
                self.last.reserve_exact(size);
            }
            let room = CHUNK - self.last.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.last.extend_from_slice(now);
            bytes = later;
            if self.last.len() == CHUNK {
                self.full.push(std::mem::take(&mut self.last).into());
            }
        }
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.full.len() * CHUNK + self.last.len()
    }

    /// Reports whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the body as text. Bytes that are not UTF-8 are replaced.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(self.len());
        for chunk in &self.full {
            bytes.extend_from_slice(chunk);
        }
        bytes.extend_from_slice(&self.last);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn into_chunks(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.full.push(self.last.into());
        }
        self.full
    }
}

impl io::Write for Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A page that several readers share.
#[derive(Debug)]
pub(super) struct SharedPage {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    length: usize,
    chunks: Mutex<Vec<Bytes>>,
}

impl SharedPage {
    pub(super) fn new(page: Page) -> Self {
        Self {
            status: page.status,
            content_type: page.content_type,
            length: page.body.len(),
            chunks: Mutex::new(page.body.into_chunks()),
        }
    }

    /// Frees the chunks of a large page. Its readers fail when they need the next chunk. A page of one chunk uses
    /// little memory and is kept.
    pub(super) fn revoke(&self) {
        let mut chunks = self.chunks.lock();
        if chunks.len() > 1 {
            *chunks = Vec::new();
        }
    }

    /// Reports whether the chunks are still in memory.
    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        !self.chunks.lock().is_empty()
    }
}

/// The body of one response, read from a shared page.
pub(super) struct Reader {
    page: Arc<SharedPage>,
    activity: Arc<Activity>,
    next: usize,
    sent: usize,
}

impl Reader {
    pub(super) fn new(page: Arc<SharedPage>, activity: Arc<Activity>) -> Self {
        Self {
            page,
            activity,
            next: 0,
            sent: 0,
        }
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let chunk = self.page.chunks.lock().get(self.next).cloned();
        let Some(chunk) = chunk else {
            return Poll::Ready(Some(Err(io::Error::other("a newer page replaced this page"))));
        };
        self.activity.record();
        self.next += 1;
        self.sent += chunk.len();
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent >= self.page.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.page.length.saturating_sub(self.sent) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body_util::BodyExt;

    use super::*;

    fn page(length: usize) -> Arc<SharedPage> {
        Arc::new(SharedPage::new(Page::text(StatusCode::OK, "x".repeat(length))))
    }

    fn reader(page: &Arc<SharedPage>) -> Reader {
        Reader::new(
            Arc::clone(page),
            Arc::new(Activity::new(Ipv4Addr::LOCALHOST.into())),
        )
    }

    #[tokio::test]
    async fn readers_get_the_whole_body_of_any_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let page = page(length);
            for _ in 0..2 {
                let body = reader(&page).collect().await.unwrap().to_bytes();
                assert_eq!(body.len(), length);
            }
        }
    }

    #[tokio::test]
    async fn a_revoked_page_frees_its_chunks_and_fails_its_readers() {
        let page = page(3 * CHUNK);
        let mut begun = reader(&page);
        let first = begun.frame().await.unwrap().unwrap().into_data().unwrap();
        page.revoke();
        assert!(!page.is_held());
        assert_eq!(first.len(), CHUNK, "the chunk in flight stays valid");
        assert!(begun.frame().await.unwrap().is_err());
        assert!(reader(&page).frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_small_page_is_never_revoked() {
        let page = page(CHUNK);
        page.revoke();
        assert_eq!(reader(&page).collect().await.unwrap().to_bytes().len(), CHUNK);
    }

    #[test]
    fn text_joins_chunks_within_characters() {
        let text = "ü".repeat(CHUNK);
        let mut body = Body::default();
        body.push(b"-");
        body.push(text.as_bytes());
        assert_eq!(body.to_text(), format!("-{text}"));
        assert_eq!(body.len(), 2 * CHUNK + 1);
    }
}
