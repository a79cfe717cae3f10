//! Plays [scenarios](crate::scenario) to an operator that is installed as users install it, and judges what it says.
//!
//! ```text
//! ScenarioCluster::on_node / on_existing   a cluster, the operator in it by its chart
//!   one     namespace, policy, objects, steps; waits for what is expected      many at once, then the `alone` ones
//!   judge   Events and violations of a scenario against what it expects        when it was quiet for a while
//! ```
//!
//! Input: scenarios. Output: what was seen of each, and what is wrong.

mod cluster;
mod event_watch;
mod judge;
mod play;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::observers::{self, Alert, Timing};
use crate::scenario::Scenario;
pub use cluster::ScenarioCluster;
pub use play::Played;

/// Between the beginnings of two scenarios: a kubelet starts about three Pods in two seconds.
const PACE: Duration = Duration::from_millis(700);
/// So many at once keep two processors busy and leave a kubelet the time for its probes.
const AT_ONCE: usize = 28;
/// What is not said so long after the last step is not said at all: longer than any `for` of the shared policy, and the
/// kubelet's own delays.
const QUIET: Duration = Duration::from_secs(30);
/// What the alerts that everybody has need at most, with the durations that they are published with.
const REAL_TIME: Duration = Duration::from_mins(12);

/// Plays all scenarios and judges them. With [`Timing::Real`] nothing is expected of them, and they are all there until all have
/// had their time.
pub async fn run(place: &Arc<ScenarioCluster>, scenarios: Vec<Scenario>) -> Result<Vec<Played>> {
    let begin = Instant::now();
    let (alone, together): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| scenario.story.alone);
    let at_once = match place.timing() {
        Timing::Hurried => AT_ONCE,
        Timing::Real => together.len(),
    };
    let slots = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for (at, scenario) in (0..).zip(together) {
        let (place, slots) = (Arc::clone(place), Arc::clone(&slots));
        running.spawn(async move {
            sleep_until(begin + PACE * at).await;
            let _slot = slots.acquire().await?;
            let mut played = play::play(&place, scenario).await;
            match place.timing() {
                Timing::Hurried => sleep(QUIET).await,
                Timing::Real => sleep_until(begin + REAL_TIME).await,
            }
            let until = place.caught_up().await?;
            judge(&place, &mut played, until).await?;
            if place.timing() == Timing::Hurried {
                place.remove(&played.scenario).await?;
            }
            anyhow::Ok(played)
        });
    }
    let mut all = Vec::new();
    while let Some(played) = running.join_next().await {
        let played = played.context("a scenario's task")??;
        say(&begin, &played);
        all.push(played);
    }
    let mut lonely = Vec::new();
    for scenario in alone {
        lonely.push(play::play(place, scenario).await);
    }
    if !lonely.is_empty() {
        sleep(match place.timing() {
            Timing::Hurried => QUIET,
            Timing::Real => REAL_TIME / 2,
        })
        .await;
    }
    let until = place.caught_up().await?;
    for mut played in lonely {
        judge(place, &mut played, until).await?;
        say(&begin, &played);
        all.push(played);
    }
    all.sort_by(|a, b| a.scenario.name.cmp(&b.scenario.name));
    Ok(all)
}

async fn judge(place: &ScenarioCluster, played: &mut Played, until: Timestamp) -> Result<()> {
    played.until = until;
    if place.timing() == Timing::Hurried {
        let wrong = judge::judge(played, place.events().await?.as_slice());
        played.errors.extend(wrong);
        let wrong = judge::firing(played, &place.installed.metrics().await?);
        played.errors.extend(wrong);
    }
    if !played.errors.is_empty() {
        played.errors.push(place.pods(&played.scenario.name).await);
    }
    Ok(())
}

/// What Prometheus saw of them, where there is one.
pub async fn observed<'a>(
    place: &ScenarioCluster,
    played: &'a [Played],
) -> Result<Option<(Vec<observers::Played<'a>>, Vec<Alert>)>> {
    let Some(observers) = place.observers() else {
        return Ok(None);
    };
    let until = observers.catch_up().await?;
    let from = played.iter().map(|played| played.began).min().unwrap_or(until);
    let alerts = observers.alerts(from, until).await?;
    Ok(Some((played.iter().map(Played::seen).collect(), alerts)))
}

/// Straight to standard error: a test harness would keep what `eprintln!` says from the person who waits.
fn say(begin: &Instant, played: &Played) {
    use std::io::Write;
    let after = begin.elapsed().as_secs();
    let verdict = if played.errors.is_empty() { "ok" } else { "FAILED" };
    let _ = writeln!(
        std::io::stderr(),
        "{after:>5} s: {verdict:<6} {}",
        played.scenario.name
    );
}
