//! The servers of a control plane end with the process that started them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::poll::eventually;
use e2e::process::{Process, Scratch, Spec};

#[tokio::test]
async fn servers_end_with_a_killed_harness() {
    let scratch = Scratch::new().unwrap();
    let log = scratch.path().join("log");
    // The servers have their own watchdogs: this handle kills the harness only.
    let mut harness = Process::start(&Spec::new(env!("CARGO_BIN_EXE_e2e")).arg("up"), &log).unwrap();
    let kubeconfig = eventually(Duration::from_mins(2), async || {
        let printed = fs::read_to_string(&log)?;
        let path = printed
            .lines()
            .find_map(|line| line.strip_prefix("export KUBECONFIG="));
        path.map(str::to_owned)
            .with_context(|| format!("no kubeconfig: {printed}"))
    });
    let kubeconfig = kubeconfig.await.unwrap();
    let dir = Path::new(&kubeconfig).parent().unwrap();
    assert!(processes_of(dir).len() >= 2, "etcd and kube-apiserver run");

    harness.kill().unwrap();
    let ended = eventually(Duration::from_secs(10), async || {
        let left = processes_of(dir);
        ensure!(
            left.is_empty() && !dir.exists(),
            "processes {left:?}, files {}",
            dir.exists()
        );
        Ok(())
    });
    ended.await.unwrap();
}

/// Command lines of running processes that contain the directory.
fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        // A zombie has no command line, and a process may exit concurrently.
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(dir))
        .collect()
}
