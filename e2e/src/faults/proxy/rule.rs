//! Rules that select the [`Fault`] of a request. The first matching [`Rule`] applies.

use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::api_server::failure;
use testkit::glob::glob;
use tokio::sync::watch;

use super::request::Verb;

/// Position in an exchange. Events count from 1, bytes of the body of the answer from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before the request is forwarded.
    Request,
    /// After the server has answered, so a write is committed, and before the client receives it.
    Answer,
    /// Between the head of the answer and its body.
    Body,
    /// After this many bytes of the body.
    Byte(u64),
    /// Before this event of a watch.
    BeforeEvent(u64),
    /// In the middle of this event of a watch.
    MidEvent(u64),
}

/// A fault. A request that hangs continues when its rule is lifted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Forwards the request after a delay.
    Delay(Duration),
    /// Stops, with an open connection.
    Hang(Point),
    /// Closes the connection.
    Close(Point),
    /// Answers with an error, as an overloaded API server does.
    Answer {
        /// The HTTP status code.
        status: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u32>,
        /// Whether the request is forwarded first and the answer of the server dropped.
        after_commit: bool,
    },
    /// Ends a watch after this many events without an error, as at its timeout.
    End(u64),
    /// Drops these events of a watch.
    Drop(RangeInclusive<u64>),
    /// Repeats these events of a watch.
    Repeat(RangeInclusive<u64>),
    /// Adds an event to a watch and ends it.
    Inject {
        /// Number of events before it.
        after: u64,
        /// The event, with `type` and `object`.
        event: Value,
    },
    /// Flips the highest bit of these bytes of the body, which makes them invalid UTF-8.
    Garble(RangeInclusive<u64>),
    /// Limits the body to this many bytes per second.
    Throttle(u32),
}

impl Fault {
    /// An error answer without forwarding the request.
    pub fn answer(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            after_commit: false,
        }
    }

    /// An error answer with the header `Retry-After`, without forwarding the request.
    pub fn busy(status: u16, seconds: u32) -> Self {
        Self::Answer {
            status,
            retry_after: Some(seconds),
            after_commit: false,
        }
    }

    /// An error answer instead of the answer of the server, which has processed the request.
    pub fn lost(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            after_commit: true,
        }
    }

    /// An event of type ERROR after `after` events, which ends the watch: 410 for an expired resource version, or another
    /// code.
    pub fn error_event(after: u64, code: u16) -> Self {
        let (reason, message) = match code {
            410 => ("Expired", "too old resource version: 1 (2)"),
            _ => ("InternalError", "an error on the server"),
        };
        let event = serde_json::json!({"type": "ERROR", "object": failure(code, reason, message)});
        Self::Inject { after, event }
    }
}

/// A fault and the requests that it applies to.
#[derive(Debug, Clone)]
#[must_use]
pub struct Rule {
    verb: Option<Verb>,
    path: String,
    calls: (Bound<u64>, Bound<u64>),
    fault: Fault,
}

impl Rule {
    /// A rule for requests with this verb (or any) and a path that matches the pattern, in which `*` matches any characters
    /// including `/`.
    pub fn new(verb: impl Into<Option<Verb>>, path: &str, fault: Fault) -> Self {
        Self {
            verb: verb.into(),
            path: path.into(),
            calls: (Bound::Unbounded, Bound::Unbounded),
            fault,
        }
    }

    /// Restricts the rule to these calls, counted from 1 since it was added: `1..=1`, `3..`.
    pub fn calls(mut self, calls: impl RangeBounds<u64>) -> Self {
        self.calls = (calls.start_bound().cloned(), calls.end_bound().cloned());
        self
    }

    fn matches(&self, verb: Verb, path: &str) -> bool {
        self.verb.is_none_or(|wanted| wanted == verb) && glob(&self.path, path)
    }
}

/// An active rule. Dropping the handle keeps it active; [`RuleHandle::lift`] ends it.
#[derive(Debug, Clone)]
#[must_use]
pub struct RuleHandle {
    active: Arc<Active>,
}

#[derive(Debug)]
struct Active {
    rule: Rule,
    seen: AtomicU64,
    hits: watch::Sender<u64>,
    lifted: watch::Sender<bool>,
}

impl RuleHandle {
    /// Ends the rule. Requests that hang continue.
    pub fn lift(&self) {
        self.active.lifted.send_replace(true);
    }

    /// Number of requests that the rule applied to.
    pub fn hits(&self) -> u64 {
        *self.active.hits.borrow()
    }

    /// Waits until the rule has applied to this many requests.
    pub async fn hit(&self, times: u64) {
        let mut hits = self.active.hits.subscribe();
        // Fails only without a sender, which `self` holds.
        let _ = hits.wait_for(|hits| *hits >= times).await;
    }

    /// Waits until the rule is lifted.
    pub(super) async fn lifted(&self) {
        let mut lifted = self.active.lifted.subscribe();
        let _ = lifted.wait_for(|lifted| *lifted).await;
    }

    pub(super) fn fault(&self) -> &Fault {
        &self.active.rule.fault
    }
}

/// All active rules.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<RuleHandle>);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) -> RuleHandle {
        let handle = RuleHandle {
            active: Arc::new(Active {
                rule,
                seen: AtomicU64::new(0),
                hits: watch::Sender::new(0),
                lifted: watch::Sender::new(false),
            }),
        };
        self.0.push(handle.clone());
        handle
    }

    /// The rule for a request. All matching rules count the request, also those after the one that applies.
    pub(super) fn meet(&mut self, verb: Verb, path: &str) -> Option<RuleHandle> {
        self.0.retain(|handle| !*handle.active.lifted.borrow());
        let mut met = None;
        for handle in &self.0 {
            let Active { rule, seen, hits, .. } = &*handle.active;
            if !rule.matches(verb, path) {
                continue;
            }
            let call = seen.fetch_add(1, Ordering::Relaxed) + 1;
            if met.is_none() && rule.calls.contains(&call) {
                hits.send_modify(|hits| *hits += 1);
                met = Some(handle.clone());
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = "/api/v1/pods";

    fn met(rules: &mut Rules, verb: Verb, path: &str) -> Option<Fault> {
        rules.meet(verb, path).map(|handle| handle.fault().clone())
    }

    #[test]
    fn a_rule_applies_to_its_calls() {
        #[rustfmt::skip]
        let table: [(&str, Rule, &[u64]); 4] = [
            ("all", Rule::new(Verb::List, "*", Fault::answer(500)), &[1, 2, 3, 4, 5]),
            ("one", Rule::new(Verb::List, "*", Fault::answer(500)).calls(2..=2), &[2]),
            ("from one on", Rule::new(Verb::List, "*", Fault::answer(500)).calls(4..), &[4, 5]),
            ("up to one", Rule::new(None, "*/pods", Fault::answer(500)).calls(..3), &[1, 2]),
        ];
        for (name, rule, expected) in table {
            let mut rules = Rules::default();
            let handle = rules.add(rule);
            let hit: Vec<u64> = (1..=5)
                .filter(|_| met(&mut rules, Verb::List, PODS).is_some())
                .collect();
            assert_eq!(hit, expected, "{name}");
            assert_eq!(handle.hits(), expected.len() as u64, "{name}");
        }
    }

    #[test]
    fn a_rule_does_not_count_other_requests() {
        let mut rules = Rules::default();
        let handle = rules.add(Rule::new(Verb::Watch, "*/pods", Fault::Hang(Point::Body)).calls(2..=2));
        for (verb, path) in [
            (Verb::List, PODS),
            (Verb::Watch, "/api/v1/namespaces"),
            (Verb::Watch, PODS),
        ] {
            assert_eq!(met(&mut rules, verb, path), None, "{verb} {path}");
        }
        assert_eq!(met(&mut rules, Verb::Watch, PODS), Some(Fault::Hang(Point::Body)));
        assert_eq!(handle.hits(), 1);
    }

    #[test]
    fn the_first_rule_applies_and_the_others_count() {
        let mut rules = Rules::default();
        let first = rules.add(Rule::new(None, "*", Fault::answer(500)).calls(..=2));
        let second = rules.add(Rule::new(None, "*", Fault::answer(503)).calls(2..));
        let answers: Vec<_> = (0..3).map(|_| met(&mut rules, Verb::Get, "/version")).collect();
        assert_eq!(answers, [500, 500, 503].map(|status| Some(Fault::answer(status))));
        assert_eq!((first.hits(), second.hits()), (2, 1));
    }

    #[tokio::test]
    async fn a_lifted_rule_ends_and_releases_its_requests() {
        let mut rules = Rules::default();
        let handle = rules.add(Rule::new(None, "*", Fault::Hang(Point::Request)));
        let hanging = rules.meet(Verb::Get, "/version").unwrap();
        handle.hit(1).await;
        let soon = Duration::from_millis(20);
        assert!(
            tokio::time::timeout(soon, hanging.lifted()).await.is_err(),
            "it hangs"
        );
        handle.lift();
        hanging.lifted().await;
        assert_eq!(met(&mut rules, Verb::Get, "/version"), None);
        assert!(rules.0.is_empty(), "the rule is removed");
    }
}
