//! Random stories of Pods with random faults, then calm: what the operator shows and has written must equal an
//! undisturbed run of the same story, within 60 s of virtual time, and then nothing is written any more.
//!
//! The disturbed run is the reconciler with both sinks against a model of the API server: watches break, resume, list
//! anew and twice; the operator is killed, stopped and started; the process stands still; writes are refused, delayed,
//! lost before and after they were done. The undisturbed run is the index alone, and what it asks for. What a fault may
//! change by design, as the API no longer shows it, is said where it is: in [`history`] and [`compare`].
//!
//! The same stories, less what depends on when a watch works again, are told to the [`whole`] operator.
//!
//! `SIDEWATCH_SEED=17` tells one story alone, `SIDEWATCH_SEEDS=5000` more of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "helpers of tests panic where their expectation fails"
)]

mod api_server;
mod compare;
mod history;
mod life;
mod operator;
mod plan;
mod policies;
mod reads;
mod reference;
mod story;
mod tally;
mod whole;

use std::{
    collections::BTreeSet,
    panic::{RefUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use testkit::rng::Rng;

use tally::{FAULTS, OUTAGES, Tally};

/// How many stories are told by default.
const SEEDS: u64 = 200;
/// How many of them the whole operator is told.
const WHOLE_SEEDS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Tells stories, on all processors, and returns what they were made of if they are as many as by default.
fn tell(by_default: u64, story: impl Fn(u64) -> Tally + Sync + RefUnwindSafe) -> Option<Tally> {
    let seeds = match number("SIDEWATCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIDEWATCH_SEEDS").unwrap_or(by_default),
    };
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((Tally::default(), BTreeSet::new()));
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seeds.contains(&seed)
        {
            let told = catch_unwind(|| story(seed));
            let (tally, failed) = &mut *results.lock().unwrap();
            if let Ok(told) = told {
                tally.add(&told);
            } else {
                println!("story {seed} ends badly");
                failed.insert(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (tally, failed) = results.into_inner().unwrap();
    if let Some(first) = failed.first() {
        panic!(
            "{} stories end badly; SIDEWATCH_SEED={first} tells the first of {failed:?}",
            failed.len()
        );
    }
    println!("{tally:?}");
    (seeds.end - seeds.start >= by_default).then_some(tally)
}

#[test]
fn after_any_faults_everything_is_as_without_them() {
    if let Some(tally) = tell(SEEDS, story::tell) {
        tally.assert_rich(&FAULTS);
    }
}

#[test]
fn after_any_outage_the_whole_operator_says_the_same() {
    if let Some(tally) = tell(WHOLE_SEEDS, whole::tell) {
        tally.assert_rich(&OUTAGES);
    }
}

/// Which seed is which story must not depend on the machine, nor on anything that the operator does.
#[test]
fn a_seed_is_a_story() {
    let story = |seed| {
        let mut rng = Rng::new(seed);
        let plan = plan::Plan::new(&mut rng, 0);
        let history = history::History::new(&plan, &mut rng);
        format!("{plan:?} {:?}", history.changes)
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}
