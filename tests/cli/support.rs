//! Runs the binary in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Limit of each run. It is longer than the longest wait of the binary.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the file of a recording.
pub(crate) fn trace(name: &str) -> String {
    let path = repository().join(format!("tests/traces/{name}.jsonl"));
    path.display().to_string()
}

/// Returns a duration in the form of flags. A part of a duration has at most five digits.
pub(crate) fn duration(seconds: f64) -> String {
    let milliseconds = Duration::from_secs_f64(seconds).as_millis();
    format!("{}s{}ms", milliseconds / 1000, milliseconds % 1000)
}

/// A directory that is removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidewatch-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Writes a SidecarPolicy `mesh` without a namespace.
    pub(crate) fn policy(&self, name: &str, spec: &Value) -> String {
        let policy = serde_json::json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy", "metadata": {"name": "mesh"}, "spec": spec,
        });
        self.file(name, policy.to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// The output of a run, and its exit code.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the command failed, and that its error contains these texts.
    #[track_caller]
    pub(crate) fn assert_failed(&self, expected: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for text in expected {
            assert!(self.stderr.contains(text), "no {text:?} in {self:?}");
        }
    }
}

/// A command without the environment of the user.
pub(crate) fn command(args: &[&str]) -> Command {
    command_of(env!("CARGO_BIN_EXE_sidewatch").as_ref(), args)
}

/// The same for another program, such as a link to the binary.
pub(crate) fn command_of(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(repository())
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn finish(command: &mut Command) -> Run {
    let child = command.spawn().unwrap();
    let output = timeout(LIMIT, child.wait_with_output()).await;
    run_of(&output.expect("the command ends").unwrap())
}

pub(crate) fn run_of(output: &Output) -> Run {
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout.clone()).unwrap(),
        stderr: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

/// Runs the binary.
pub(crate) async fn sidewatch(args: &[&str]) -> Run {
    finish(&mut command(args)).await
}

/// Runs the binary with this standard input.
pub(crate) async fn sidewatch_with_input(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move {
        // The binary may end without reading all of it.
        let _closed = stdin.write_all(input).await;
    };
    let ended = timeout(LIMIT, async { tokio::join!(write, child.wait_with_output()).1 }).await;
    run_of(&ended.expect("the command ends").unwrap())
}
