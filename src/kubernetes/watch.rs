//! Watches a resource other than Pods: an endless stream of its objects that recovers from every failure.
//!
//! Input: an `Api` whose client is [observed](crate::kubernetes::client::observed). Output: [`WatchEvent`]s. kube's
//! `watcher` lists in pages and then watches. This module adds the waits between attempts, and reports the end of an
//! outage, which the watcher does not. It starts a new list where the watcher would request a version that the server
//! no longer has or, after a restore of etcd, does not have yet, or would continue after an event that it could not
//! decode. A watch that is cut off may hide such a restore. Errors are counted, and logged when they change.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use kube::{
    Api, Resource as KubeResource,
    runtime::watcher::{self, Config, Event},
};
use serde::de::DeserializeOwned;
use tokio::{
    select,
    time::{sleep, sleep_until},
};

use crate::{
    kubernetes::{
        failure::{self, Reason},
        recovery::{Outage, Recovery, Resuming},
    },
    telemetry::{metrics::Metrics, monitor::Monitor},
};

/// Timeout of a watch on the server, in seconds. kube closes the connection 5 s later.
pub(super) const WATCH_TIMEOUT: u32 = 60;

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    /// A list begins. Known objects that the list does not contain are deleted when the list is complete.
    Restarted {
        /// When the watch was last in sync; `Timestamp::MIN` before the first list.
        last_synced: Timestamp,
    },
    /// An object of the list.
    Listed(T),
    /// The list is complete.
    Complete,
    /// An object was added or changed.
    Applied(T),
    /// An object was deleted, or no longer matches the field selector. This is its last version.
    Deleted(T),
    /// The watch is broken. The known objects may be out of date.
    Disconnected {
        /// When the watch was last in sync.
        last_synced: Timestamp,
    },
    /// A broken watch resumed without a list and has caught up.
    Resumed,
}

impl<T> WatchEvent<T> {
    /// Maps the object of the event, or returns the mapping error.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<WatchEvent<U>, E> {
        Ok(match self {
            Self::Restarted { last_synced } => WatchEvent::Restarted { last_synced },
            Self::Listed(object) => WatchEvent::Listed(f(object)?),
            Self::Complete => WatchEvent::Complete,
            Self::Applied(object) => WatchEvent::Applied(f(object)?),
            Self::Deleted(object) => WatchEvent::Deleted(f(object)?),
            Self::Disconnected { last_synced } => WatchEvent::Disconnected { last_synced },
            Self::Resumed => WatchEvent::Resumed,
        })
    }
}

/// The objects to watch. An empty selector selects all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selectors<'a> {
    /// A field selector.
    pub fields: &'a str,
    /// A label selector.
    pub labels: &'a str,
}

impl Selectors<'_> {
    /// Returns the field selector and the label selector; `None` for an empty one.
    pub(super) fn options(self) -> (Option<String>, Option<String>) {
        let option = |selector: &str| (!selector.is_empty()).then(|| selector.to_owned());
        (option(self.fields), option(self.labels))
    }
}

/// Watches the selected objects of a resource without end.
pub fn watch<K>(
    api: Api<K>,
    selectors: Selectors<'_>,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = WatchEvent<K>> + Send + use<K>
where
    K: KubeResource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = Config::default().timeout(WATCH_TIMEOUT);
    (config.field_selector, config.label_selector) = selectors.options();
    let start = Box::new(move || watcher::watcher(api.clone(), config.clone()).boxed());
    let watch = Watch {
        stream: start(),
        start,
        recovery: Recovery::new(Arc::clone(&monitor), metrics),
        monitor,
        resuming: None,
        wait: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
}

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

struct Watch<K> {
    stream: Events<K>,
    start: Box<dyn Fn() -> Events<K> + Send>,
    monitor: Arc<Monitor>,
    recovery: Recovery,
    /// Set while a broken watch resumes from its last version.
    resuming: Option<Resuming>,
    /// The wait before the next attempt.
    wait: Option<Duration>,
}

impl<K> Watch<K> {
    async fn next(&mut self) -> WatchEvent<K> {
        loop {
            if let Some(wait) = self.wait.take() {
                sleep(wait).await;
            }
            let item = select! {
                biased;
                () = settled(&mut self.resuming, &self.monitor) => {
                    self.resuming = None;
                    self.recovery.healthy();
                    return WatchEvent::Resumed;
                }
                item = self.stream.next() => item,
                () = self.monitor.pulse.cut() => {
                    self.restart();
                    continue;
                }
            };
            match item {
                Some(Ok(event)) => return self.event(event),
                Some(Err(error)) => return self.failure(&error),
                // kube's watcher does not end. Starts a new one if it does.
                None => self.restart(),
            }
        }
    }

    /// Starts over with a list.
    fn restart(&mut self) {
        self.stream = (self.start)();
        // The response of the replaced stream was cut off too.
        self.monitor.pulse.forget_cut();
    }

    fn event(&mut self, event: Event<K>) -> WatchEvent<K> {
        if let Some(resuming) = &mut self.resuming {
            resuming.received();
        }
        match event {
            Event::Init => {
                self.resuming = None;
                WatchEvent::Restarted {
                    last_synced: self.recovery.lost(),
                }
            }
            Event::InitDone => {
                self.recovery.healthy();
                WatchEvent::Complete
            }
            Event::InitApply(object) => {
                self.recovery.received();
                WatchEvent::Listed(object)
            }
            Event::Apply(object) => {
                self.recovery.received();
                WatchEvent::Applied(object)
            }
            Event::Delete(object) => {
                self.recovery.received();
                WatchEvent::Deleted(object)
            }
        }
    }

    /// Treats the missing CRD of an optional resource as an empty list, if it is the first one. Later, the known objects stay:
    /// their deletion comes before that of their CRD.
    fn absent(&mut self, error: &watcher::Error) -> WatchEvent<K> {
        let (is_first, wait) = self.recovery.absent(error);
        self.wait = Some(wait);
        self.resuming = None;
        self.restart();
        if is_first {
            WatchEvent::Complete
        } else {
            WatchEvent::Disconnected {
                last_synced: Timestamp::MIN,
            }
        }
    }

    fn failure(&mut self, error: &watcher::Error) -> WatchEvent<K> {
        if self.monitor.resource.is_optional() && failure::reason(error) == Reason::NotFound {
            return self.absent(error);
        }
        let Outage { last_synced, wait } = self.recovery.failed(error, self.monitor.pulse.retry_after());
        self.wait = Some(wait);
        self.resuming = None;
        // The watcher does not show its version, so it cannot be compared with the current one. These lists are short.
        if failure::can_resume(error) && !failure::is_outage(error) {
            self.monitor.pulse.expect_answer();
            self.resuming = Some(Resuming::new());
        } else {
            self.restart();
        }
        WatchEvent::Disconnected { last_synced }
    }
}

/// Waits until a resumed watch has caught up. Never returns if no watch is being resumed. Cancel safe.
async fn settled(resuming: &mut Option<Resuming>, monitor: &Monitor) {
    let Some(resuming) = resuming else {
        return std::future::pending().await;
    };
    if !resuming.is_answered() {
        monitor.pulse.answered().await;
        resuming.answered();
    }
    while let Some(settled_at) = resuming.settled_at() {
        sleep_until(settled_at).await;
        if !resuming.wait_again_if_late() {
            return;
        }
    }
}
