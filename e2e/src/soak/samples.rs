//! Samples of processes, and the rule that decides whether they grow.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use kube::Client;

use crate::metrics;
use crate::process::stats::{open_files, resident_mb, threads};

/// Permitted growth from the second third to the last, as a factor.
const GROWTH: f64 = 1.05;
/// Samples that each third needs.
const NEEDED: usize = 3;

/// What is measured of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
    /// Resident set, in MB.
    Memory,
    /// Open file descriptors.
    Files,
    Threads,
    Goroutines,
}

impl Quantity {
    /// Growth that is permitted in addition: pages of the allocator, connections that are being replaced.
    const fn slack(self) -> f64 {
        match self {
            Self::Memory | Self::Threads => 1.0,
            Self::Files => 4.0,
            Self::Goroutines => 20.0,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory (MB)",
            Self::Files => "open files",
            Self::Threads => "threads",
            Self::Goroutines => "goroutines",
        }
    }
}

/// The samples of all processes, in order of time.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<(&'static str, Quantity), Vec<f64>>);

impl Samples {
    /// Takes a sample of a process.
    pub(super) fn process(&mut self, name: &'static str, pid: u32) -> Result<()> {
        self.push(name, Quantity::Memory, resident_mb(pid)?);
        self.push(name, Quantity::Files, open_files(pid)?);
        self.push(name, Quantity::Threads, threads(pid)?);
        Ok(())
    }

    /// Takes a sample of the API server.
    pub(super) async fn api_server(&mut self, client: &Client, pid: u32) -> Result<()> {
        const NAME: &str = "API server";
        self.process(NAME, pid)?;
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await?;
        let goroutines = metrics::value(&text, "go_goroutines", &[])?;
        self.push(
            NAME,
            Quantity::Goroutines,
            goroutines.context("no go_goroutines")?,
        );
        Ok(())
    }

    fn push(&mut self, name: &'static str, quantity: Quantity, value: f64) {
        self.0.entry((name, quantity)).or_default().push(value);
    }

    /// The quantities that grew.
    pub(super) fn growing(&self) -> Vec<String> {
        let growing = self.0.iter().filter(|((_, quantity), values)| {
            Thirds::of(values).is_some_and(|thirds| thirds.last > thirds.second * GROWTH + quantity.slack())
        });
        growing
            .map(|((name, quantity), _)| format!("{} of {name}", quantity.as_str()))
            .collect()
    }

    /// Whether the samples suffice for [`Self::growing`].
    pub(super) fn suffice(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|values| Thirds::of(values).is_some())
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| process | | first third | second third | last third | largest |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- |")?;
        for ((name, quantity), values) in &self.0 {
            let largest = values.iter().copied().fold(0.0, f64::max);
            write!(f, "| {name} | {} |", quantity.as_str())?;
            match Thirds::of(values) {
                Some(Thirds { first, second, last }) => write!(f, " {first:.1} | {second:.1} | {last:.1} |")?,
                None => write!(f, " | | |")?,
            }
            writeln!(f, " {largest:.1} |")?;
        }
        Ok(())
    }
}

/// Medians of the three thirds of the samples.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Thirds {
    first: f64,
    second: f64,
    last: f64,
}

impl Thirds {
    /// `None` for too few samples.
    fn of(values: &[f64]) -> Option<Self> {
        let third = values.len() / 3;
        if third < NEEDED {
            return None;
        }
        let (first, rest) = values.split_at(values.len() - 2 * third);
        let (second, last) = rest.split_at(third);
        Some(Self {
            first: median(first)?,
            second: median(second)?,
            last: median(last)?,
        })
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(quantity: Quantity, values: impl IntoIterator<Item = f64>) -> Samples {
        Samples([(("operator", quantity), values.into_iter().collect())].into())
    }

    #[test]
    fn growth_is_found() {
        type Row<'a> = (&'a str, Quantity, &'a dyn Fn(u32) -> f64, bool);
        let table: [Row<'_>; 8] = [
            ("constant", Quantity::Memory, &|_| 30.0, false),
            (
                "a leak of 0.2 MB in each round",
                Quantity::Memory,
                &|n| 30.0 + 0.2 * f64::from(n),
                true,
            ),
            (
                "growth that ends in the first half",
                Quantity::Memory,
                &|n| 30.0 + f64::from(n.min(20)),
                false,
            ),
            ("noise", Quantity::Memory, &|n| 30.0 + f64::from(n * 7 % 5), false),
            (
                "one peak at the end",
                Quantity::Memory,
                &|n| if n == 47 { 300.0 } else { 30.0 },
                false,
            ),
            (
                "a descriptor in each second round",
                Quantity::Files,
                &|n| f64::from(20 + n / 2),
                true,
            ),
            (
                "a thread in every tenth round",
                Quantity::Threads,
                &|n| f64::from(4 + n / 10),
                true,
            ),
            (
                "five goroutines in each round",
                Quantity::Goroutines,
                &|n| f64::from(1000 + 5 * n),
                true,
            ),
        ];
        for (name, quantity, value, grows) in table {
            let samples = samples(quantity, (0..48).map(value));
            assert!(samples.suffice(), "{name}");
            assert_eq!(!samples.growing().is_empty(), grows, "{name}\n{samples}");
        }
    }

    #[test]
    fn few_samples_do_not_suffice() {
        assert!(!Samples::default().suffice());
        let few = samples(Quantity::Memory, (0..8).map(|n| f64::from(100 * n)));
        assert!(!few.suffice());
        assert_eq!(few.growing(), [""; 0]);
    }

    #[test]
    fn medians_of_the_thirds_are_shown() {
        let shown = samples(
            Quantity::Files,
            [9.0, 1.0, 1.0, 1.0, 5.0, 2.0, 2.0, 3.0, 7.0, 3.0],
        )
        .to_string();
        assert!(
            shown.ends_with("| operator | open files | 1.0 | 2.0 | 3.0 | 9.0 |\n"),
            "{shown}"
        );
    }
}
