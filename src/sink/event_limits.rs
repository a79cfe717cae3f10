//! Limits the number of Events: one limit for each Pod, and one for all Pods. While the limit for all Pods is reached, each
//! namespace still has a small share, so a namespace with many Events cannot prevent the Events of the others.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::bucket::{Buckets, Rate};
use crate::{
    domain::{effects::Event, policy::Severity},
    telemetry::metrics::DropReason,
};

/// Limit per Pod. It equals client-go's limit per object.
const PER_POD: Rate = Rate {
    burst: 25,
    every: Duration::from_mins(5),
};
/// Limit for all Pods together.
const GLOBAL: Rate = Rate {
    burst: 200,
    every: Duration::from_millis(100),
};
/// The share of a namespace while the limit for all Pods is reached.
const SHARE: Rate = Rate {
    burst: 10,
    every: Duration::from_secs(30),
};
/// Limit for the shares of all namespaces together.
const SHARES: Rate = Rate {
    burst: 100,
    every: Duration::from_millis(200),
};

/// The limits.
#[derive(Debug)]
pub(super) struct EventLimits {
    /// By the UID of the Pod, or by the name of another object.
    per_pod: Buckets<Arc<str>>,
    global: Buckets<()>,
    /// By namespace.
    share: Buckets<Arc<str>>,
    shares: Buckets<()>,
}

impl EventLimits {
    pub(super) fn new() -> Self {
        Self {
            per_pod: Buckets::new(PER_POD),
            global: Buckets::new(GLOBAL),
            share: Buckets::new(SHARE),
            shares: Buckets::new(SHARES),
        }
    }

    /// Admits an Event, or returns the limit that it exceeds. A namespace whose writes fail leaves half of the limit for all
    /// Pods to the others.
    pub(super) fn admit(&mut self, event: &Event, is_failing: bool, now: Instant) -> Result<(), DropReason> {
        // Critical Events may overdraw each limit by its burst, so that other Events cannot displace them.
        let reserve = |rate: Rate| {
            if event.severity == Severity::Critical {
                f64::from(rate.burst)
            } else {
                0.0
            }
        };
        let global_reserve = if is_failing {
            f64::from(GLOBAL.burst) / -2.0
        } else {
            reserve(GLOBAL)
        };
        let object = event.object_key();
        if !self.per_pod.has_one(object.clone(), reserve(PER_POD), now) {
            return Err(DropReason::PodLimit);
        }
        let has_share = self.share.has_one(event.namespace.clone(), 0.0, now);
        if self.global.has_one((), global_reserve, now) {
            self.global.take((), now);
        } else if has_share && self.shares.has_one((), 0.0, now) {
            self.shares.take((), now);
        } else {
            return Err(DropReason::GlobalLimit);
        }
        self.per_pod.take(object, now);
        // Every Event uses the share, so a namespace with many Events has none left when the limit for all is reached.
        if has_share {
            self.share.take(event.namespace.clone(), now);
        }
        Ok(())
    }
}
