//! Faults of the operator, the network and the API server. Each test runs the same sequence of Pod changes in its own
//! environment with a fault, and expects the result of an undisturbed run: the same violations, Events, statuses, gauges and
//! counters. docs/testing.md lists the faults and their tests.
//!
//! It has its own harness, because these tests mostly wait: many run at once, whatever the number of processors, and the
//! longest start first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod closes;
mod ended;
mod failover;
mod failover_random;
mod killed;
mod network;
mod outage;
mod quiet;
mod recovery;
mod restored;
mod rights;
mod sequence;

use std::future::Future;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// Concurrent tests on two processors: each works for some seconds and then waits for more than a minute.
const AT_ONCE: usize = 12;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let undisturbed = test("undisturbed", || async {
        sequence::undisturbed().await.map(drop)
    });
    let tests = [
        vec![undisturbed],
        outage::tests(),
        restored::tests(),
        network::tests(),
        rights::tests(),
        quiet::tests(),
        killed::tests(),
        ended::tests(),
        failover::tests(),
        failover_random::tests(),
        closes::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit();
}

/// A test with its own runtime. It has two threads, so that the proxy runs while the test waits for a process.
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
        // Proxies and clients end with the runtime.
        runtime.shutdown_background();
        result.map_err(|error| Failed::from(format!("{error:#}")))
    })
}
