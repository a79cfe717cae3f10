//! A task of the running operator that fails. The process has reached its limit of threads, as under the `pids` limit of a
//! container, and must start a thread to resolve the name of the API server.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use http::StatusCode;
use testkit::api_server::{POLICIES, list, policy, server_without};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::{
    setup::kubeconfig,
    support::{Directory, command, run_of},
};

const LIMIT: Duration = Duration::from_mins(1);
/// A user without processes.
const NOBODY: u32 = 65534;

/// Runs a command as another user if this process belongs to root. The kernel does not limit the threads of root.
fn as_a_user(command: &mut Command) {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY);
    }
}

/// Waits until the threads that resolve names have ended. They end 10 s after their last work.
async fn resolvers_have_ended(process: u32) {
    let begun = Instant::now();
    let has_resolver = || {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let names = tasks.filter_map(|task| {
            let name: PathBuf = task.unwrap().path().join("comm");
            fs::read_to_string(name).ok()
        });
        names.into_iter().any(|name| name.starts_with("tokio-"))
    };
    while has_resolver() {
        assert!(begun.elapsed() < LIMIT, "the threads do not end");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_process_ends_with_the_name_of_a_task_that_panics() {
    let directory = Directory::new();
    let (server, policies) = server_without(POLICIES);
    let listener = server.listen().await;
    let url = listener.url().replace("127.0.0.1", "localhost");
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url));
    let addresses = ["--metrics-address=127.0.0.1:0", "--health-address=127.0.0.1:0"];
    let mut command = command(&["run", "--kubeconfig", &kubeconfig]);
    as_a_user(command.args(addresses));
    let operator = command.spawn().unwrap();
    let process = operator.id().unwrap();
    let empty = list("SidecarPolicy", "1", &[]);
    policies.next().await.json(StatusCode::OK, &empty);
    let watch = policies.next().await.watch();
    resolvers_have_ended(process).await;

    let mut limit = Command::new("prlimit");
    as_a_user(limit.args(["--nproc=1:1", "--pid", &process.to_string()]));
    assert!(limit.status().await.unwrap().success());
    // The status of the policy needs the first connection of the client for writes.
    watch.event("ADDED", &policy("mesh", "2"));
    let output = timeout(LIMIT, operator.wait_with_output()).await;
    let run = run_of(&output.expect("the process ends").unwrap());
    assert_eq!(run.code, Some(1), "{run:?}");
    let expected = "error: the status task panicked: OS can't spawn worker thread";
    assert!(run.stderr.contains(expected), "{run:?}");
}
