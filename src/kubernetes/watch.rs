//! One watch: an endless stream of what the API server tells about one resource, through every failure.
//!
//! In: an `Api` whose client is [observed](crate::kubernetes::client::observed). Out: [`WatchEvent`]s. kube's `watcher` lists in pages and
//! then watches; around it stand the waits between tries, the end of an outage, which the watcher does not tell, and a
//! fresh start where the watcher would go on with a version that the server has forgotten or after an event it could
//! not read. Errors are counted, and logged when they change; the process lives through all of them.

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
    time::{Instant, sleep, sleep_until},
};

use crate::{
    kubernetes::backoff::Backoff,
    kubernetes::failure::{self, Reason},
    telemetry::{metrics::Metrics, monitor::Monitor},
};

/// How long the server lets a watch run; kube gives up 5 s later.
const WATCH_TIMEOUT: u32 = 60;
/// What happened during an outage comes right after the resumed watch is answered. It is taken in before the outage
/// counts as over, or deadlines would act on what the server is about to correct: it is over after this much silence,
const QUIET: Duration = Duration::from_millis(500);
/// and in a cluster that is never silent after this.
const CATCH_UP: Duration = Duration::from_secs(3);

/// What a watch tells, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    /// A list begins, or begins again: what it does not show is gone when it is complete. Until `last_synced` the picture
    /// was complete.
    Restarted {
        /// When the picture was last complete; `Timestamp::MIN` before the first list.
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
    /// The watch is broken; what is known may be out of date.
    Disconnected {
        /// When the picture was last complete.
        last_synced: Timestamp,
    },
    /// A broken watch works again and has caught up, without a list.
    Resumed,
}

impl<T> WatchEvent<T> {
    /// The same, told of something else, unless that cannot be made.
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

/// Watches for ever. `fields` is a field selector.
pub fn watch<K>(
    api: Api<K>,
    fields: Option<&str>,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = WatchEvent<K>> + Send + use<K>
where
    K: KubeResource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = Config::default().timeout(WATCH_TIMEOUT);
    config.field_selector = fields.map(str::to_owned);
    let start = Box::new(move || watcher::watcher(api.clone(), config.clone()).boxed());
    let watch = Watch {
        stream: start(),
        start,
        monitor,
        metrics,
        backoff: Backoff::default(),
        last_wait: Duration::ZERO,
        last_failure: None,
        healthy_since: None,
        resuming: None,
        wait: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let tell = watch.next().await;
        Some((tell, watch))
    })
}

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

struct Watch<K> {
    stream: Events<K>,
    start: Box<dyn Fn() -> Events<K> + Send>,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    last_wait: Duration,
    last_failure: Option<Reason>,
    healthy_since: Option<Instant>,
    /// The watch broke, and will go on from where it was.
    resuming: Option<Resuming>,
    /// To wait before the next try.
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
                    self.healthy();
                    return WatchEvent::Resumed;
                }
                item = self.stream.next() => item,
            };
            match item {
                Some(Ok(event)) => return self.event(event),
                Some(Err(error)) => return self.failure(&error),
                // kube's watcher does not end.
                None => self.stream = (self.start)(),
            }
        }
    }

    fn event(&mut self, event: Event<K>) -> WatchEvent<K> {
        if let Some(resuming) = &mut self.resuming {
            resuming.last_event = Instant::now();
        }
        match event {
            Event::Init => {
                self.resuming = None;
                WatchEvent::Restarted {
                    last_synced: self.monitor.lost(),
                }
            }
            Event::InitDone => {
                self.healthy();
                WatchEvent::Complete
            }
            Event::InitApply(object) => {
                self.metrics.watch_event();
                WatchEvent::Listed(object)
            }
            Event::Apply(object) => {
                self.metrics.watch_event();
                WatchEvent::Applied(object)
            }
            Event::Delete(object) => {
                self.metrics.watch_event();
                WatchEvent::Deleted(object)
            }
        }
    }

    fn healthy(&mut self) {
        self.healthy_since = Some(Instant::now());
        self.monitor.in_sync();
    }

    fn failure(&mut self, error: &watcher::Error) -> WatchEvent<K> {
        let last_synced = self.monitor.lost();
        let reason = failure::reason(error);
        self.metrics
            .watch_error(self.monitor.resource.as_str(), reason.as_str());
        let problem = failure::problem(error, self.monitor.resource, &self.monitor.scope);
        self.monitor.failed(reason.as_str(), &problem);

        // A watch that held no longer than the wait before it has not recovered: a server that answers and then fails
        // at once must not be asked ever faster.
        let recovered = self
            .healthy_since
            .take()
            .is_some_and(|since| since.elapsed() >= self.last_wait);
        // A server that has forgotten our version after other failures is back: that is how long outages end.
        let before = self.last_failure.replace(reason);
        let back = reason == Reason::Gone && before != Some(Reason::Gone);
        if recovered || back {
            self.backoff.reset();
        }
        self.last_wait = self.backoff.next_wait();
        self.wait = Some(self.last_wait);
        self.resuming = None;
        if failure::can_resume(error) {
            self.monitor.pulse.expect_answer();
            self.resuming = Some(Resuming {
                answered: None,
                last_event: Instant::now(),
            });
        } else {
            self.stream = (self.start)();
        }
        WatchEvent::Disconnected { last_synced }
    }
}

/// A watch on its way back.
struct Resuming {
    answered: Option<Instant>,
    last_event: Instant,
}

/// Waits until a resumed watch was answered and has caught up; for ever when none is being resumed. May be dropped and
/// called again.
async fn settled(resuming: &mut Option<Resuming>, monitor: &Monitor) {
    let Some(resuming) = resuming else {
        return std::future::pending().await;
    };
    let answered = if let Some(answered) = resuming.answered {
        answered
    } else {
        monitor.pulse.answered().await;
        *resuming.answered.insert(Instant::now())
    };
    let quiet = resuming.last_event.max(answered) + QUIET;
    sleep_until(quiet.min(answered + CATCH_UP)).await;
}
