//! A real Prometheus.
//!
//! Input: what to scrape, rules, and how often. Output: answers to queries. On loopback only; ends with its handle.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::control_plane::free_ports;
use crate::process::{Process, Spec};
use crate::scratch::Scratch;
use crate::tools::{self, Tool};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
#[must_use]
pub struct Prometheus {
    process: Process,
    address: String,
    _dir: Scratch,
}

impl Prometheus {
    /// Starts one that scrapes `target` (`HOST:PORT`) every second as the documentation says, and evaluates `rules` (the
    /// content of a file of rules); returns when it answers queries.
    pub async fn start(target: &str, rules: &Value) -> Result<Self> {
        let operator = json!({
            "job_name": "sidewatch",
            "honor_labels": true,
            "static_configs": [{"targets": [target]}],
        });
        Self::start_with(&[operator], rules, Duration::from_secs(1)).await
    }

    /// The same with any scrape configurations, and another interval for scrapes and evaluations.
    pub async fn start_with(scrape: &[Value], rules: &Value, every: Duration) -> Result<Self> {
        let paths = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Prometheus])).await??;
        let dir = Scratch::new()?;
        let (config, rules_file) = (dir.path().join("config.yaml"), dir.path().join("rules.yaml"));
        // JSON is YAML
        fs::write(&rules_file, rules.to_string())?;
        let interval = format!("{}s", every.as_secs());
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
        prometheus.wait_until_ready().await?;
        Ok(prometheus)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(error) = self.query("vector(1)").await {
            if let Some(status) = self.process.try_wait()? {
                bail!("Prometheus ended ({status}):\n{}", self.process.log_tail());
            }
            if Instant::now() > deadline {
                bail!(
                    "Prometheus is not ready: {error:#}; its log ends with:\n{}",
                    self.process.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The samples of an instant vector, each `{"metric": {...}, "value": [time, "value"]}`.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!("query?query={}", percent_encoded(expression));
        self.samples(&path, expression).await
    }

    /// The series of a range vector, each `{"metric": {...}, "values": [[time, "value"], ...]}`, at `from`, at `to` and at each
    /// whole `step` between.
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

    /// A field of the data that the API answers.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, field: &str) -> Result<T> {
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            // Version 1.0, so that the answer does not come in chunks.
            stream
                .write_all(format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n").as_bytes())
                .await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            anyhow::Ok(String::from_utf8(bytes)?)
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, exchange)
            .await
            .with_context(|| format!("no answer to {path}"))??;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without an end of its head")?;
        let mut answer: Value = serde_json::from_str(body).with_context(|| format!("{path}: {body}"))?;
        let data = answer.pointer_mut(&format!("/data/{field}"));
        let data = data.map(Value::take).with_context(|| format!("{path}: {body}"))?;
        serde_json::from_value(data).with_context(|| format!("{path}: {body}"))
    }
}

fn percent_encoded(text: &str) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or_default();
    text.bytes()
        .flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)])
        .collect()
}
