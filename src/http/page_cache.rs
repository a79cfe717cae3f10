//! Single-flight rendering: one render at a time, and at most two pages in memory.
//!
//! Requests that arrive within `max_age` after a render began share its page. A render completes even if the client
//! that requested it disconnects. It holds the lock until then, so that clients cannot start a second one. Before a
//! render, the older of two pages is revoked.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::StatusCode;
use tokio::{sync::Mutex, time::Instant};

use super::page::{Page, Pages, SharedPage};

/// The page cache of a server.
pub(super) struct PageCache {
    pages: Arc<dyn Pages>,
    max_age: Duration,
    slots: Arc<Mutex<Slots>>,
}

/// The latest page, and the previous one while it has readers.
#[derive(Default)]
struct Slots {
    latest: Option<Latest>,
    previous: Weak<SharedPage>,
}

struct Latest {
    path: String,
    /// When the render began. The page includes every change before that time.
    begun: Instant,
    page: Arc<SharedPage>,
}

impl PageCache {
    pub(super) fn new(pages: Arc<dyn Pages>, max_age: Duration) -> Self {
        Self {
            pages,
            max_age,
            slots: Arc::default(),
        }
    }

    /// Returns the page at `path`, shared or newly rendered. Returns `None` if the page does not exist.
    pub(super) async fn get(&self, path: &str) -> Option<Arc<SharedPage>> {
        let arrived = Instant::now();
        let mut slots = Arc::clone(&self.slots).lock_owned().await;
        if let Some(page) = slots.shared(path, arrived, self.max_age) {
            return Some(page);
        }
        let (pages, path) = (Arc::clone(&self.pages), path.to_owned());
        let render = tokio::task::spawn_blocking(move || slots.render(&*pages, path));
        render.await.unwrap_or_else(|_panicked| {
            let page = Page::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page could not be rendered\n",
            );
            Some(Arc::new(SharedPage::new(page)))
        })
    }
}

impl Slots {
    fn shared(&self, path: &str, arrived: Instant, max_age: Duration) -> Option<Arc<SharedPage>> {
        self.latest
            .as_ref()
            .filter(|latest| latest.path == path)
            // A page whose render began after the request arrived is as current as a new one.
            .filter(|latest| latest.begun >= arrived || arrived.duration_since(latest.begun) < max_age)
            .map(|latest| Arc::clone(&latest.page))
    }

    fn render(&mut self, pages: &dyn Pages, path: String) -> Option<Arc<SharedPage>> {
        // A request for a page that does not exist must not replace an existing page.
        let is_known = self.latest.as_ref().is_some_and(|latest| latest.path == path);
        if is_known {
            self.make_room();
        }
        let begun = Instant::now();
        let page = Arc::new(SharedPage::new(pages.page(&path)?));
        if !is_known {
            self.make_room();
        }
        self.latest = Some(Latest {
            path,
            begun,
            page: Arc::clone(&page),
        });
        Some(page)
    }

    /// Revokes the previous page. The latest page becomes the previous one, which is freed if it has no readers.
    fn make_room(&mut self) {
        if let Some(oldest) = self.previous.upgrade() {
            oldest.revoke();
        }
        let latest = self.latest.take();
        self.previous = latest
            .map(|latest| Arc::downgrade(&latest.page))
            .unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::time::{advance, timeout};

    use super::*;

    /// A page of 128 KiB that counts the renders, in progress and in total. A render waits while `is_paused`.
    #[derive(Default)]
    struct Counted {
        running: AtomicUsize,
        most: AtomicUsize,
        total: AtomicUsize,
        is_paused: AtomicBool,
    }

    impl Counted {
        fn pause(&self, is_paused: bool) {
            self.is_paused.store(is_paused, Ordering::SeqCst);
        }

        async fn until_renders(&self, total: usize) {
            while self.total.load(Ordering::SeqCst) < total {
                tokio::task::yield_now().await;
            }
        }
    }

    impl Pages for Counted {
        fn page(&self, path: &str) -> Option<Page> {
            if path != "/metrics" {
                return None;
            }
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            self.total.fetch_add(1, Ordering::SeqCst);
            while self.is_paused.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            Some(Page::text(StatusCode::OK, "x".repeat(128 * 1024)))
        }
    }

    fn cache(max_age: Duration) -> (Arc<Counted>, Arc<PageCache>) {
        let pages = Arc::new(Counted::default());
        let cache = Arc::new(PageCache::new(Arc::clone(&pages) as _, max_age));
        (pages, cache)
    }

    #[tokio::test]
    async fn abandoned_requests_start_no_second_render() {
        let (pages, cache) = cache(Duration::ZERO);
        pages.pause(true);
        for _ in 0..120 {
            // The client disconnects while the render runs.
            let abandoned = timeout(Duration::from_millis(1), cache.get("/metrics")).await;
            assert!(abandoned.is_err());
            pages.until_renders(1).await;
        }
        pages.pause(false);
        assert!(cache.get("/metrics").await.is_some());
        assert_eq!(pages.most.load(Ordering::SeqCst), 1, "renders at the same time");
        assert_eq!(
            pages.total.load(Ordering::SeqCst),
            2,
            "that of the abandoned requests and the last one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn requests_within_a_second_share_a_page() {
        let (pages, cache) = cache(Duration::from_secs(1));
        let first = cache.get("/metrics").await.unwrap();
        advance(Duration::from_millis(999)).await;
        assert!(Arc::ptr_eq(&first, &cache.get("/metrics").await.unwrap()));
        assert!(
            cache.get("/other").await.is_none(),
            "another path is another page"
        );
        advance(Duration::from_millis(1)).await;
        assert!(!Arc::ptr_eq(&first, &cache.get("/metrics").await.unwrap()));
        assert_eq!(pages.total.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn requests_that_wait_for_a_render_share_the_next_one() {
        let (pages, cache) = cache(Duration::ZERO);
        pages.pause(true);
        let get = || {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.get("/metrics").await.unwrap() })
        };
        let first = get();
        pages.until_renders(1).await;
        let waiting: Vec<_> = (0..50).map(|_| get()).collect();
        // Every request has arrived before the first render ends.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        pages.pause(false);
        first.await.unwrap();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(pages.total.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn at_most_two_pages_exist() {
        let (_, cache) = cache(Duration::ZERO);
        let mut read = Vec::new();
        for _ in 0..5 {
            read.push(cache.get("/metrics").await.unwrap());
            let held = read.iter().filter(|page| page.is_held()).count();
            assert!(held <= 2, "{held} pages are held");
        }
        assert!(read.last().unwrap().is_held(), "the latest page is readable");
    }

    #[tokio::test]
    async fn a_page_without_readers_is_freed_before_the_next_render() {
        let (pages, cache) = cache(Duration::ZERO);
        let first = Arc::downgrade(&cache.get("/metrics").await.unwrap());
        pages.pause(true);
        let next = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { cache.get("/metrics").await }
        });
        pages.until_renders(2).await;
        assert!(first.upgrade().is_none());
        pages.pause(false);
        next.await.unwrap();
    }
}
