//! Faults of the network and of the API server, for the requests of one replica.

use std::time::Duration;

use testkit::rng::Rng;

use crate::faults::proxy::{Fault, FaultProxy, Point, Rule, RuleHandle, Verb};

/// After this time a fault ends.
pub(super) const LAST: Duration = Duration::from_secs(15);
const EVENTS: &str = "*/events";
const STATUS: &str = "*/status";
const PODS: &str = "*/pods";

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProxyFault {
    /// Writes are refused with 429, 500 and 503.
    RefusedWrites,
    /// Writes take effect, and the answer is 504 or is lost.
    LostAnswers,
    /// Each watch ends after one event.
    ShortWatches,
    /// Watches break in the middle of an event.
    BrokenWatches,
    /// The resource version of each watch has expired.
    Expired,
    /// Watches hang in the middle of an event.
    HangingWatches,
    /// Every response is slow.
    Slow,
}

const ALL: [ProxyFault; 7] = [
    ProxyFault::RefusedWrites,
    ProxyFault::LostAnswers,
    ProxyFault::ShortWatches,
    ProxyFault::BrokenWatches,
    ProxyFault::Expired,
    ProxyFault::HangingWatches,
    ProxyFault::Slow,
];

pub(super) fn pick(rng: &mut Rng) -> ProxyFault {
    rng.pick(&ALL)
}

impl ProxyFault {
    /// Begins the fault.
    pub(super) fn add(self, proxy: &FaultProxy) -> Vec<RuleHandle> {
        let rules = match self {
            Self::RefusedWrites => vec![
                Rule::new(Verb::Create, EVENTS, Fault::busy(429, 1)).calls(1..=2),
                Rule::new(Verb::Create, EVENTS, Fault::answer(500)).calls(3..=4),
                Rule::new(Verb::Patch, STATUS, Fault::answer(503)).calls(1..=2),
            ],
            Self::LostAnswers => vec![
                Rule::new(Verb::Create, EVENTS, Fault::lost(504)).calls(1..=2),
                Rule::new(Verb::Create, EVENTS, Fault::Close(Point::Answer)).calls(3..=4),
                Rule::new(Verb::Patch, STATUS, Fault::lost(504)).calls(1..=2),
            ],
            Self::ShortWatches => vec![Rule::new(Verb::Watch, PODS, Fault::End(1))],
            Self::BrokenWatches => vec![Rule::new(Verb::Watch, "*", Fault::Close(Point::MidEvent(2)))],
            Self::Expired => vec![Rule::new(Verb::Watch, "*", Fault::error_event(1, 410)).calls(1..=4)],
            Self::HangingWatches => vec![Rule::new(Verb::Watch, "*", Fault::Hang(Point::MidEvent(2)))],
            Self::Slow => vec![Rule::new(None, "*", Fault::Delay(Duration::from_secs(1)))],
        };
        let active = rules.into_iter().map(|rule| proxy.add(rule)).collect();
        // The faults of watches apply to new ones.
        proxy.cut(Verb::Watch, "*");
        active
    }
}
