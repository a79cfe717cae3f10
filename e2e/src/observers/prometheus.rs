//! A Prometheus server on loopback.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http;
use crate::operator::NAMESPACE;
use crate::process::{Process, Scratch, Spec, free_ports, wait_until_ready};
use crate::tools::{self, Tool};

const READY_WITHIN: Duration = Duration::from_mins(1);

/// A running Prometheus. Dropping the handle kills it.
#[derive(Debug)]
#[must_use]
pub struct Prometheus {
    process: Process,
    address: String,
    _dir: Scratch,
}

impl Prometheus {
    /// Starts a server that scrapes `target` (`HOST:PORT`) every second and evaluates `rules` (the content of a rule file).
    /// Waits until it answers queries.
    pub async fn start(target: &str, rules: &Value) -> Result<Self> {
        let operator = json!({
            "job_name": "sidewatch",
            "honor_labels": true,
            // prometheus-operator sets the namespace of each target.
            "static_configs": [{"targets": [target], "labels": {"namespace": NAMESPACE}}],
        });
        Self::start_with(&[operator], rules, Duration::from_secs(1)).await
    }

    /// Starts a server with these scrape configurations, rules, and interval of scrapes and evaluations.
    pub async fn start_with(scrape: &[Value], rules: &Value, interval: Duration) -> Result<Self> {
        let paths = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Prometheus])).await??;
        let dir = Scratch::new()?;
        let (config, rules_file) = (dir.path().join("config.yaml"), dir.path().join("rules.yaml"));
        // JSON is YAML
        fs::write(&rules_file, rules.to_string())?;
        let interval = format!("{}s", interval.as_secs());
        let content = json!({
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [rules_file],
            "scrape_configs": scrape,
        });
        fs::write(&config, content.to_string())?;
        let (port, _) = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let command = Spec::new(paths.path(Tool::Prometheus)?)
            .arg(option("config.file", &config))
            .arg(option("storage.tsdb.path", &dir.path().join("data")))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start(&command, &dir.path().join("prometheus.log"))?;
        let mut prometheus = Self {
            process,
            address,
            _dir: dir,
        };
        let address = &prometheus.address;
        wait_until_ready(&mut [&mut prometheus.process], READY_WITHIN, async || {
            http::get_body(address, "/-/ready").await.map(drop)
        })
        .await?;
        Ok(prometheus)
    }

    /// Evaluates an instant vector. Each sample is `{"metric": {...}, "value": [time, "value"]}`.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!("query?query={}", percent_encoded(expression));
        self.samples(&path, expression).await
    }

    /// Evaluates a range vector from `from` to `to`. Each series is `{"metric": {...}, "values": [[time, "value"], ...]}`.
    pub async fn query_range<T: DeserializeOwned>(
        &self,
        expression: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Vec<T>> {
        let path = format!(
            "query_range?query={}&start={from}&end={to}&step={}",
            percent_encoded(expression),
            step.as_secs()
        );
        self.samples(&path, expression).await
    }

    async fn samples<T: DeserializeOwned>(&self, path: &str, expression: &str) -> Result<Vec<T>> {
        let samples = self.get(path, "result").await;
        samples.with_context(|| expression.to_owned())
    }

    /// A field of the data in the answer of the API.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, field: &str) -> Result<T> {
        let body = http::get(&self.address, &format!("/api/v1/{path}")).await?.body;
        let failed = || format!("{path}: {body}");
        let mut answer: Value = serde_json::from_str(&body).with_context(failed)?;
        let data = answer.pointer_mut(&format!("/data/{field}"));
        let data = data.map(Value::take).with_context(failed)?;
        serde_json::from_value(data).with_context(failed)
    }
}

fn percent_encoded(text: &str) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or_default();
    text.bytes()
        .flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)])
        .collect()
}
