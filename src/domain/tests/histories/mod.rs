//! Properties of random histories.

mod arrivals;
mod script;
mod time;
mod traces;

use proptest::test_runner::Config;

/// As many cases as find what a careless change breaks, in a few seconds for all properties. `PROPTEST_CASES` asks for
/// more.
fn few(cases: u32) -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = Config::default();
    Config {
        cases: if asked { default.cases } else { cases },
        failure_persistence: None,
        ..default
    }
}
