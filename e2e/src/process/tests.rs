//! Start, end and logs of processes.

use super::*;

fn sh(script: &str) -> (crate::process::Scratch, Process) {
    let dir = crate::process::Scratch::new().unwrap();
    let spec = Spec::new("/bin/sh")
        .args(["-c", script])
        .env("GREETING", "hello")
        .dir(dir.path());
    let process = Process::start(&spec, &dir.path().join("log")).unwrap();
    (dir, process)
}

async fn logged(process: &Process, text: &str) -> String {
    for _ in 0..500 {
        let log = process.log_tail();
        if log.contains(text) {
            return log;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("no output {text:?}: {:?}", process.log_tail());
}

fn alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[tokio::test]
async fn output_and_exit_code_are_reported() {
    let (dir, mut process) = sh("echo $GREETING; pwd; echo oops >&2; exit 3");
    let status = process.wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(3));
    let log = process.log_tail();
    assert!(log.contains("hello\n") && log.contains("oops"), "{log}");
    assert!(
        log.contains(dir.path().file_name().unwrap().to_str().unwrap()),
        "its directory: {log}"
    );
    assert_eq!(
        process.kill().unwrap().code(),
        Some(3),
        "killing what has ended changes nothing"
    );
}

#[tokio::test]
async fn drop_kills_the_process_group() {
    let (_dir, process) = sh("sleep 1000 & echo child $!; wait");
    let log = logged(&process, "child ").await;
    let child = log.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(alive(&child), "the grandchild runs");
    drop(process);
    for _ in 0..100 {
        if !alive(&child) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("the grandchild {child} survived");
}

#[tokio::test]
async fn terminate_sends_sigterm() {
    let (_dir, mut process) = sh("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    logged(&process, "ready").await;
    assert!(
        process
            .terminate(Duration::from_secs(10))
            .await
            .unwrap()
            .success()
    );
    logged(&process, "bye").await;
}

#[tokio::test]
async fn a_frozen_process_does_nothing_until_thawed() {
    let (_dir, mut process) = sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    logged(&process, "ready").await;
    process.freeze().unwrap();
    let error = process
        .terminate(Duration::from_millis(300))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("still runs"), "{error}");
    process.thaw().unwrap();
    assert!(process.wait(Duration::from_secs(10)).await.unwrap().success());
    process.freeze().expect_err("there is nothing to freeze");
}

/// The states of the threads of a process, as in `/proc/PID/task/*/stat`.
fn thread_states(process: &Process) -> Vec<char> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let stats = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    stats
        .map(|stat| stat.rsplit_once(") ").unwrap().1.chars().next().unwrap())
        .collect()
}

#[tokio::test]
async fn all_threads_are_stopped_when_freeze_returns() {
    let (_dir, mut process) = sh("echo ready; while :; do :; done");
    logged(&process, "ready").await;
    for _ in 0..100 {
        process.freeze().unwrap();
        assert_eq!(thread_states(&process), ['T']);
        process.thaw().unwrap();
    }
}

#[tokio::test]
async fn a_process_that_does_not_stop_is_an_error() {
    let (_dir, process) = sh("echo ready; while :; do sleep 0.05; done");
    logged(&process, "ready").await;
    let error = process
        .wait_until_stopped(Instant::now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("after SIGSTOP"), "{error}");
}

#[test]
fn a_missing_program_is_an_error_with_its_path() {
    let error = Process::start(&Spec::new("/no/such/program"), Path::new("/dev/null")).unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}
