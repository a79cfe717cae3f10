//! Watch events come before overdue deadlines after a late wake.

use super::*;

/// A reconciler with the unready Pods `web` and `api`, 30 seconds before their violations fire.
struct Stalled {
    inputs: mpsc::UnboundedSender<Input>,
    requests: std::sync::mpsc::Receiver<String>,
    ahead: Arc<AtomicI64>,
}

impl Stalled {
    async fn start() -> Self {
        let ahead = Arc::<AtomicI64>::default();
        let (reconciler, requests) = reconciler_ahead_by(Arc::clone(&ahead));
        let events = Arc::clone(&reconciler.events);
        tokio::spawn(async move { events.run().await });
        let (inputs, stream) = mpsc::unbounded();
        tokio::spawn(async move { reconciler.run(stream, std::future::pending()).await });
        let stalled = Self {
            inputs,
            requests,
            ahead,
        };
        for input in policies() {
            stalled.send(input);
        }
        stalled.send(pods(restarted()));
        for name in ["web", "api"] {
            stalled.send(pods(WatchEvent::Listed(pod(name, true))));
        }
        stalled.send(pods(WatchEvent::Complete));
        for name in ["web", "api"] {
            stalled.send(pods(WatchEvent::Applied(pod(name, false))));
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(stalled.events(), [""; 0], "both are pending");
        stalled
    }

    fn send(&self, input: Input) {
        self.inputs.unbounded_send(input).unwrap();
    }

    /// Sets the clock forward, as the wall clock after a suspended machine.
    fn set_forward(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The Events since the last call.
    fn events(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn watch_events_come_before_deadlines_after_a_late_wake() {
    let stalled = Stalled::start().await;
    stalled.set_forward(600);
    stalled.send(pods(WatchEvent::Applied(pod("api", true))));
    tokio::time::sleep(Duration::from_millis(400)).await;
    stalled.send(pods(WatchEvent::Applied(pod("web", true))));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stalled.events(), [""; 0], "both recovered during the stall");
    stalled.send(pods(WatchEvent::Applied(pod("web", false))));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(stalled.events(), [""; 0], "web fails again");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stalled.events().len(), 1, "web fires after one minute");
}

#[tokio::test(start_paused = true)]
async fn deadlines_act_when_the_inputs_pause_after_a_late_wake() {
    let stalled = Stalled::start().await;
    tokio::time::advance(Duration::from_secs(45)).await;
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(stalled.events(), [""; 0], "held");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stalled.events().len(), 2, "500 ms without an input");
}

#[tokio::test(start_paused = true)]
async fn deadlines_act_three_seconds_after_a_late_wake_if_inputs_never_pause() {
    let stalled = Stalled::start().await;
    stalled.set_forward(600);
    let begin = Instant::now();
    let mut acted = None;
    for _ in 0..50 {
        stalled.send(pods(WatchEvent::Applied(pod("other", true))));
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !stalled.events().is_empty() {
            acted.get_or_insert_with(|| begin.elapsed());
        }
    }
    let acted = acted.unwrap().as_millis();
    assert!((3_000..3_300).contains(&acted), "{acted} ms");
}

#[tokio::test(start_paused = true)]
async fn a_second_stall_begins_the_wait_again() {
    let stalled = Stalled::start().await;
    stalled.set_forward(600);
    stalled.send(pods(WatchEvent::Applied(pod("other", true))));
    tokio::time::sleep(Duration::from_millis(100)).await;
    stalled.set_forward(600);
    stalled.send(pods(WatchEvent::Applied(pod("other", true))));
    tokio::time::sleep(Duration::from_millis(100)).await;
    for name in ["web", "api"] {
        stalled.send(pods(WatchEvent::Applied(pod(name, true))));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stalled.events(), [""; 0], "both recovered during the stalls");
}

#[tokio::test(start_paused = true)]
async fn a_late_wake_does_not_end_the_hold_of_a_broken_watch() {
    let stalled = Stalled::start().await;
    stalled.set_forward(600);
    stalled.send(pods(WatchEvent::Disconnected {
        last_synced: START.parse().unwrap(),
    }));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(stalled.events(), [""; 0], "the watch is still broken");
    stalled.send(pods(WatchEvent::Resumed));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stalled.events().len(), 2);
}
