//! Properties of random histories.

mod arrivals;
mod script;
mod time;
mod traces;

use proptest::test_runner::Config;

/// A number of cases that finds most faults within a few seconds for all properties. `PROPTEST_CASES` sets another
/// number.
fn few(cases: u32) -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = Config::default();
    Config {
        cases: if asked { default.cases } else { cases },
        failure_persistence: None,
        ..default
    }
}
