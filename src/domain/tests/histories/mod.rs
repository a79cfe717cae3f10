//! Properties of random histories.

mod arrivals;
mod checkpoints;
mod script;
mod successor;
mod time;
mod traces;

use proptest::test_runner::Config;

/// Sets the number of cases, which finds most faults within a few seconds. `PROPTEST_CASES` overrides it.
fn few(cases: u32) -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = Config::default();
    Config {
        cases: if asked { default.cases } else { cases },
        failure_persistence: None,
        ..default
    }
}
