//! Parser of the Prometheus text format.

use anyhow::{Context, Result};

/// A series and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name and labels, as in the text.
    pub series: &'a str,
    /// The value.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// Name of the metric.
    pub fn name(&self) -> &'a str {
        self.series.split('{').next().unwrap_or(self.series)
    }

    /// Value of a label, empty if it is missing. Values with escapes or commas are not supported: names of Kubernetes objects
    /// have none.
    pub fn label(&self, name: &str) -> &'a str {
        let found = self
            .series
            .split(['{', ','])
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""));
        found.and_then(|rest| rest.split('"').next()).unwrap_or_default()
    }

    /// Whether it is of this metric and has these labels.
    pub fn matches(&self, metric: &str, labels: &[(&str, &str)]) -> bool {
        self.name() == metric && labels.iter().all(|(name, value)| self.label(name) == *value)
    }
}

/// All samples of a text. Timestamps are ignored.
pub fn samples(text: &str) -> Result<Vec<Sample<'_>>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let end = line.rfind('}').map_or(0, |brace| brace + 1);
            let space = line.get(end..).and_then(|rest| rest.find(' '));
            let space = space.with_context(|| format!("no series: {line}"))?;
            let (series, rest) = line.split_at(end + space);
            let value = rest.trim_start().split(' ').next().unwrap_or_default();
            let value = value.parse().with_context(|| format!("no number: {line}"))?;
            Ok(Sample { series, value })
        })
        .collect()
}

/// Value of the first sample of a metric with these labels.
pub fn value(text: &str, metric: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
    let all = samples(text)?;
    let found = all.into_iter().find(|sample| sample.matches(metric, labels));
    Ok(found.map(|sample| sample.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_labels_values_and_timestamps_are_separated() {
        let text = "# HELP a A.\na 1\nb{x=\"1 2\",y=\"z\"} 2.5 1700000000000\n";
        let all = samples(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name(), all[0].value), ("a", 1.0));
        assert_eq!((all[1].name(), all[1].value), ("b", 2.5));
        assert_eq!(
            (all[1].label("x"), all[1].label("y"), all[1].label("z")),
            ("1 2", "z", "")
        );
        assert_eq!(value(text, "b", &[("y", "z")]).unwrap(), Some(2.5));
        assert_eq!(value(text, "b", &[("y", "other")]).unwrap(), None);
    }

    #[test]
    fn a_line_without_a_series_or_number_is_an_error() {
        for metrics in ["sidewatch_tracked_pods", "sidewatch_tracked_pods many"] {
            let error = samples(metrics).unwrap_err().to_string();
            assert!(error.contains("sidewatch_tracked_pods"), "{error}");
        }
    }
}
