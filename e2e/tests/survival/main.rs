//! What the operator survives. Each test plays the same history on a stage of its own, does something to the operator, the
//! network or the API server meanwhile, and expects in the end what an undisturbed run of that history leaves: the same
//! violations, Events, statuses, gauges and counters.
//!
//! Which fault is shown by which test: docs/testing.md.
//!
//! A harness of its own, because nearly all of these tests only wait, some for minutes: many run at once, whatever the number of
//! processors, and the longest begin first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod closes;
mod ended;
mod killed;
mod network;
mod outage;
mod quiet;
mod recovery;
mod rights;
mod story;

use std::future::Future;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// So many tests at once, on two processors: each begins with some seconds of work and then waits for more than a minute.
const AT_ONCE: usize = 12;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let undisturbed = test("undisturbed", || async { story::undisturbed().await.map(drop) });
    let tests = [
        vec![undisturbed],
        outage::tests(),
        network::tests(),
        rights::tests(),
        quiet::tests(),
        killed::tests(),
        ended::tests(),
        closes::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit();
}

/// A test with a runtime of its own. Two threads, so that its proxy goes on while it waits for a process to end.
fn test<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<()>>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let result = runtime.block_on(body());
        // Proxies and clients end with their tasks.
        runtime.shutdown_background();
        result.map_err(|error| Failed::from(format!("{error:#}")))
    })
}
