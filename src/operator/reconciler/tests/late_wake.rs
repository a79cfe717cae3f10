//! Watch events come before overdue deadlines after a late wake.

use super::*;

/// A reconciler with the unready Pods `web` and `api`, 30 seconds before their violations fire.
async fn pending() -> Rig {
    let rig = Rig::start();
    rig.list(["web", "api"]);
    rig.apply("web", false);
    rig.apply("api", false);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.events(), 0, "both are pending");
    rig
}

#[tokio::test(start_paused = true)]
async fn watch_events_come_before_deadlines_after_a_late_wake() {
    let rig = pending().await;
    rig.set_forward(600);
    rig.apply("api", true);
    sleep(Duration::from_millis(400)).await;
    rig.apply("web", true);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.events(), 0, "both recovered during the stall");
    rig.apply("web", false);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(rig.events(), 0, "web fails again");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.events(), 1, "web fires after one minute");
}

#[tokio::test(start_paused = true)]
async fn deadlines_act_when_the_inputs_pause_after_a_late_wake() {
    let rig = pending().await;
    tokio::time::advance(Duration::from_secs(45)).await;
    sleep(Duration::from_millis(450)).await;
    assert_eq!(rig.events(), 0, "held");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.events(), 2, "500 ms without an input");
}

#[tokio::test(start_paused = true)]
async fn deadlines_act_three_seconds_after_a_late_wake_if_inputs_never_pause() {
    let rig = pending().await;
    rig.set_forward(600);
    let begin = Instant::now();
    let mut acted = None;
    for _ in 0..50 {
        rig.apply("other", true);
        sleep(Duration::from_millis(100)).await;
        if rig.events() > 0 {
            acted.get_or_insert_with(|| begin.elapsed());
        }
    }
    let acted = acted.unwrap().as_millis();
    assert!((3_000..3_300).contains(&acted), "{acted} ms");
}

#[tokio::test(start_paused = true)]
async fn a_second_stall_begins_the_wait_again() {
    let rig = pending().await;
    for _ in 0..2 {
        rig.set_forward(600);
        rig.apply("other", true);
        sleep(Duration::from_millis(100)).await;
    }
    rig.apply("web", true);
    rig.apply("api", true);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.events(), 0, "both recovered during the stalls");
}

#[tokio::test(start_paused = true)]
async fn a_late_wake_does_not_end_the_hold_of_a_broken_watch() {
    let rig = pending().await;
    rig.set_forward(600);
    let last_synced = START.parse().unwrap();
    rig.send(pods(WatchEvent::Disconnected { last_synced }));
    sleep(Duration::from_mins(5)).await;
    assert_eq!(rig.events(), 0, "the watch is still broken");
    rig.send(pods(WatchEvent::Resumed));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.events(), 2);
}
