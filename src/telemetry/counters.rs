//! Families of counters.

use prometheus::{IntCounterVec, Opts};

/// Creates the counters of a family with one label, whose values are known. The series exist from the start, because `rate`
/// needs the zero.
pub(super) fn counters<const N: usize>(
    name: &str,
    help: &str,
    label: &str,
    values: [&'static str; N],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    for value in values {
        counters.with_label_values(&[value]);
    }
    Ok(counters)
}
