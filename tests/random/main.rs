//! Random Pods with random faults of the operator, the network and the API server. Within 60 s of virtual time after the end
//! of the faults, the state and the writes of the operator must equal those of an undisturbed run of the same changes. After
//! that, the operator must write nothing.
//!
//! * [`reconciler_run`]: the reconciler with both sinks, against a model of the API server. Watches break, resume, relist
//!   and relist twice; the operator is killed, stopped and started with the checkpoint of its last moment; the process stalls;
//!   writes are refused, delayed or lost, before or after they are done.
//! * [`operator_run`]: the complete operator, which stores its checkpoint itself. It compares less, because the operator chooses its
//!   retry delays at random.
//! * [`reference`]: the undisturbed run, which is the index alone.
//!
//! [`history`] and [`compare`] list the differences that a fault may cause by design.
//!
//! `SIDEWATCH_SEED=17` runs one seed, `SIDEWATCH_SEEDS=5000` runs more than the default.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a helper of a test panics where its expectation fails"
)]

mod api_server;
mod compare;
mod counts;
mod history;
mod lifecycle;
mod operator;
mod operator_run;
mod plan;
mod policies;
mod reads;
mod reconciler_run;
mod reference;

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

use counts::{Counts, FAULTS, OUTAGES};

/// Default number of seeds for the reconciler.
const SEEDS: u64 = 200;
/// Default number of seeds for the complete operator.
const OPERATOR_SEEDS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs the seeds on all processors. Returns the sum of their counts if there are at least `default` seeds.
fn run_seeds(default: u64, run: impl Fn(u64) -> Counts + Sync + RefUnwindSafe) -> Option<Counts> {
    let seeds = match number("SIDEWATCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIDEWATCH_SEEDS").unwrap_or(default),
    };
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((Counts::default(), BTreeSet::new()));
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seeds.contains(&seed)
        {
            let result = catch_unwind(|| run(seed));
            let (counts, failed) = &mut *results.lock().unwrap();
            if let Ok(result) = result {
                counts.add(&result);
            } else {
                println!("seed {seed} fails");
                failed.insert(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (counts, failed) = results.into_inner().unwrap();
    if let Some(first) = failed.first() {
        panic!(
            "{} seeds fail; run the first with SIDEWATCH_SEED={first}: {failed:?}",
            failed.len()
        );
    }
    println!("{counts:?}");
    (seeds.end - seeds.start >= default).then_some(counts)
}

#[test]
fn the_reconciler_converges_after_any_faults() {
    if let Some(counts) = run_seeds(SEEDS, reconciler_run::run) {
        counts.assert_sufficient(&FAULTS);
    }
}

#[test]
fn the_operator_converges_after_any_outage() {
    if let Some(counts) = run_seeds(OPERATOR_SEEDS, operator_run::run) {
        counts.assert_sufficient(&OUTAGES);
    }
}

/// A seed must give the same run on every machine.
#[test]
fn a_seed_always_draws_the_same_run() {
    let run = |seed| {
        let mut rng = Rng::new(seed);
        let plan = plan::Plan::new(&mut rng, 0);
        let history = history::History::new(&plan, &mut rng);
        format!("{plan:?} {:?}", history.changes)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
