//! The test workload as a process: what it answers, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const TEST_WORKLOAD: &str = env!("CARGO_BIN_EXE_test-workload");
/// Long enough for the slowest machine: a test waits for it only when it fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running workload with a state of its own, killed when it is dropped.
struct Workload {
    child: Child,
    lines: Receiver<String>,
    state: TempDir,
}

impl Workload {
    fn start(line: &str) -> Self {
        let mut command = Command::new(TEST_WORKLOAD);
        command.args(line.split_whitespace());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = command
            .env("TEST_WORKLOAD_STATE", state.path().join("test-workload"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines, state }
    }

    /// Its next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    #[track_caller]
    fn says(&self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.line(), *expected);
        }
    }

    /// The exit code of an exec probe beside it.
    fn probe(&self, probe: &str) -> Option<i32> {
        let status = Command::new(TEST_WORKLOAD)
            .args(["probe", probe])
            .env("TEST_WORKLOAD_STATE", self.state.path().join("test-workload"))
            .stdout(Stdio::null())
            .status();
        status.unwrap().code()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(line: &str) -> Output {
    Command::new(TEST_WORKLOAD)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

/// The first line of the answer.
fn request(port: &str, head: &str) -> String {
    let mut connection = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(connection, "{head}\r\nHost: test-workload\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

/// The port that is in its first line.
fn port(workload: &Workload) -> String {
    workload
        .line()
        .strip_prefix("listening on port ")
        .unwrap()
        .to_owned()
}

#[test]
fn a_mistake_is_exit_code_2_and_names_the_step() {
    let output = output("run ready jump");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("test-workload: step 2, `jump`: no such step\nusage: "),
        "{said}"
    );
}

#[test]
fn a_script_is_played_in_order() {
    let mut workload = Workload::start("run ready sleep=0.01 unready exit=7");
    workload.says(&["ready", "sleep=0.01", "unready", "exit=7"]);
    assert_eq!(workload.end().code(), Some(7));

    let mut workload = Workload::start("run started");
    workload.says(&["started", "the script is over: exit 0"]);
    assert_eq!(workload.end().code(), Some(0));

    let workload = Workload::start("run ready sleep=0.01 repeat");
    workload.says(&[
        "ready",
        "sleep=0.01",
        "repeat",
        "ready",
        "sleep=0.01",
        "repeat",
        "ready",
    ]);
}

#[test]
fn exec_probes_answer_what_the_script_said() {
    for (script, [ready, live, started]) in [
        ("hold", [1, 0, 1]),
        ("ready started hold", [0, 0, 0]),
        ("ready unready dead hold", [1, 1, 1]),
        ("dead live hold", [1, 0, 1]),
    ] {
        let workload = Workload::start(&format!("run {script}"));
        while workload.line() != "hold" {}
        for (probe, expected) in [("ready", ready), ("live", live), ("started", started)] {
            assert_eq!(workload.probe(probe), Some(expected), "{script}: {probe}");
        }
    }
}

#[test]
fn a_restarted_container_begins_anew() {
    let state = tempfile::tempdir().unwrap();
    let left_over = state.path().join("test-workload");
    fs::create_dir(&left_over).unwrap();
    for file in ["ready", "dead", "started"] {
        fs::write(left_over.join(file), "").unwrap();
    }
    let status = Command::new(TEST_WORKLOAD)
        .args(["run", "exit=0"])
        .env("TEST_WORKLOAD_STATE", &left_over)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(fs::read_dir(left_over).unwrap().count(), 0);
}

#[test]
fn http_probes_answer_what_the_script_said() {
    let workload = Workload::start("run --listen 0 ready dead hold");
    let port = port(&workload);
    workload.says(&["ready", "dead", "hold"]);
    for (head, expected) in [
        ("GET /ready HTTP/1.1", "200 OK"),
        ("GET /live HTTP/1.1", "503 Service Unavailable"),
        ("GET /started HTTP/1.1", "503 Service Unavailable"),
        ("GET /other HTTP/1.1", "404 Not Found"),
        ("PUT /ready HTTP/1.1", "405 Method Not Allowed"),
    ] {
        assert_eq!(request(&port, head), format!("HTTP/1.1 {expected}"), "{head}");
        let asked = head.strip_suffix(" HTTP/1.1").unwrap();
        workload.says(&[&format!("{asked}: {expected}")]);
    }
}

/// A prober that connects and says nothing must not keep others from their answers.
#[test]
fn a_silent_client_stands_in_nobodys_way() {
    let workload = Workload::start("run --listen 0 ready hold");
    let port = port(&workload);
    workload.says(&["ready", "hold"]);
    let _silent = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(request(&port, "GET /ready HTTP/1.1"), "HTTP/1.1 200 OK");
    workload.says(&["GET /ready: 200 OK"]);
}

#[test]
fn sigterm_does_what_was_asked() {
    for (option, lines, code) in [
        ("", vec!["SIGTERM: exit 0"], 0),
        ("--on-term exit=143", vec!["SIGTERM: exit 143"], 143),
        (
            "--on-term after=0.02:3",
            vec!["SIGTERM: exit 3 after 20ms", "drained: exit 3"],
            3,
        ),
    ] {
        let mut workload = Workload::start(&format!("run {option} hold"));
        workload.says(&["hold"]);
        workload.signal(Signal::SIGTERM);
        workload.says(&lines);
        assert_eq!(workload.end().code(), Some(code), "{option}");
    }
}

#[test]
fn an_ignored_sigterm_ends_nothing() {
    let mut workload = Workload::start("run --on-term ignore hold");
    workload.says(&["hold"]);
    for _ in 0..2 {
        workload.signal(Signal::SIGTERM);
        workload.says(&["SIGTERM: ignored"]);
    }
    assert!(workload.child.try_wait().unwrap().is_none(), "it lives");
    workload.signal(Signal::SIGKILL);
    assert_eq!(workload.end().signal(), Some(9));
}

#[test]
fn hooks_and_init_containers() {
    assert_eq!(output("sleep 0.01").status.code(), Some(0));
    assert_eq!(output("fail 5").status.code(), Some(5));

    let mut sleeper = Workload::start("sleep 3600");
    sleeper.says(&["sleep 3600s"]);
    sleeper.signal(Signal::SIGTERM);
    assert_eq!(sleeper.end().code(), Some(143));
}

#[test]
fn wait_tcp_ends_when_somebody_listens() {
    // nobody else's, and not of the ports that a client may be given, which can connect to itself
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = format!("127.{a}.{b}.{c}:7411");
    let mut workload = Workload::start(&format!("wait-tcp {address}"));
    workload.says(&[&format!("wait for {address}")]);
    assert!(workload.child.try_wait().unwrap().is_none(), "nobody listens yet");
    let _server = TcpListener::bind(&address).unwrap();
    workload.says(&[&format!("{address} accepts connections")]);
    assert_eq!(workload.end().code(), Some(0));
}

/// Who asks for more than the limit on its address space is aborted, which is as near to the kernel's OOM killer as a test
/// without a memory cgroup gets.
#[test]
fn eating_ends_with_a_signal() {
    let limited = |line: &str| {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -c 0 && ulimit -v 200000 && exec \"$0\" \"$@\"",
                TEST_WORKLOAD,
            ])
            .args(line.split_whitespace())
            .stderr(Stdio::null());
        Workload::spawn(command)
    };

    let mut workload = limited("run eat");
    workload.says(&["eat"]);
    assert_eq!(workload.end().signal(), Some(6));

    let killed = "the child was killed by signal 6";
    let mut workload = limited("run eat-in-child ready exit=4");
    workload.says(&["eat-in-child", killed, "ready", "exit=4"]);
    assert_eq!(workload.end().code(), Some(4));

    let mut workload = limited("run eat-in-child-then-exit=3");
    workload.says(&["eat-in-child-then-exit=3", killed]);
    assert_eq!(workload.end().code(), Some(3));
}

/// In a PID namespace of its own, where the kernel drops what a process does not wait for.
#[test]
fn the_first_process_of_a_container_hears_sigterm() {
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        command
    };
    if !namespace()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED the_first_process_of_a_container_hears_sigterm: `unshare --user --pid` is not allowed here"
        );
        return;
    }
    for (line, first, last, code) in [
        ("run hold", "hold", "SIGTERM: exit 0", 0),
        ("sleep 3600", "sleep 3600s", "SIGTERM: exit 143", 143),
        ("pause", "pause", "SIGTERM: exit 0", 0),
    ] {
        let mut command = namespace();
        command.arg(TEST_WORKLOAD).args(line.split_whitespace());
        let mut workload = Workload::spawn(command);
        workload.says(&[first]);
        let parent = workload.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        kill(Pid::from_raw(children.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
        workload.says(&[last]);
        assert_eq!(workload.end().code(), Some(code), "{line}");
    }
}

#[test]
fn pause_reaps_the_orphans_of_its_pod() {
    let mut namespace = Command::new("sh");
    // the shell becomes the test workload, which inherits two children that end, and did not start them
    namespace.args(["-c", "sleep 0.1 & sleep 0.1 & exec \"$0\" pause", TEST_WORKLOAD]);
    let mut workload = Workload::spawn(namespace);
    workload.says(&["pause"]);
    for _ in 0..2 {
        let line = workload.line();
        assert!(line.starts_with("reaped: Exited("), "{line}");
    }
    workload.signal(Signal::SIGINT);
    workload.says(&["SIGINT: exit 0"]);
    assert_eq!(workload.end().code(), Some(0));
}
