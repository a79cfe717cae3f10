//! The test workload as a process: output, probes and exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const TEST_WORKLOAD: &str = env!("CARGO_BIN_EXE_test-workload");
/// Time limit for a slow machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A directory of one test, removed when it is dropped.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running workload with its own state, killed when it is dropped.
struct Workload {
    child: Child,
    lines: Receiver<String>,
    state: TestDir,
}

impl Workload {
    fn start(line: &str) -> Self {
        let mut command = Command::new(TEST_WORKLOAD);
        command.args(line.split_whitespace());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let state = TestDir::new();
        let mut child = command
            .env("TEST_WORKLOAD_STATE", state.0.join("test-workload"))
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
        self.lines.recv_timeout(TIMEOUT).unwrap()
    }

    #[track_caller]
    fn prints(&self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.line(), *expected);
        }
    }

    /// The exit code of an exec probe or a hook beside it.
    fn exec(&self, line: &str) -> Option<i32> {
        exit_code(line, &self.state)
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not exit");
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

/// The exit code of a test workload with this state.
fn exit_code(line: &str, state: &TestDir) -> Option<i32> {
    let status = Command::new(TEST_WORKLOAD)
        .args(line.split(' '))
        .env("TEST_WORKLOAD_STATE", state.0.join("test-workload"))
        .stdout(Stdio::null())
        .status();
    status.unwrap().code()
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
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
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
fn an_argument_error_is_exit_code_2_with_the_step() {
    let output = output("run ready jump");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("test-workload: step 2, `jump`: no such step\nusage: "),
        "{said}"
    );
}

#[test]
fn steps_run_in_order() {
    let mut workload = Workload::start("run ready sleep=0.01 unready exit=7");
    workload.prints(&["ready", "sleep=0.01", "unready", "exit=7"]);
    assert_eq!(workload.end().code(), Some(7));

    let mut workload = Workload::start("run started");
    workload.prints(&["started", "end of the script: exit 0"]);
    assert_eq!(workload.end().code(), Some(0));

    let workload = Workload::start("run ready sleep=0.01 repeat");
    workload.prints(&[
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
fn exec_probes_answer_as_the_script_sets() {
    for (script, [ready, live, started]) in [
        ("hold", [1, 0, 1]),
        ("ready started hold", [0, 0, 0]),
        ("ready unready dead hold", [1, 1, 1]),
        ("dead live hold", [1, 0, 1]),
    ] {
        let workload = Workload::start(&format!("run {script}"));
        while workload.line() != "hold" {}
        for (probe, expected) in [("ready", ready), ("live", live), ("started", started)] {
            let code = workload.exec(&format!("probe {probe}"));
            assert_eq!(code, Some(expected), "{script}: {probe}");
        }
    }
}

#[test]
fn a_restarted_container_has_no_state() {
    let state = TestDir::new();
    let left_over = state.0.join("test-workload");
    fs::create_dir(&left_over).unwrap();
    for file in ["ready", "dead", "started"] {
        fs::write(left_over.join(file), "").unwrap();
    }
    assert_eq!(exit_code("run exit=0", &state), Some(0));
    assert_eq!(fs::read_dir(left_over).unwrap().count(), 0);
}

#[test]
fn http_probes_answer_as_the_script_sets() {
    let workload = Workload::start("run --listen 0 ready dead hold");
    let port = port(&workload);
    workload.prints(&["ready", "dead", "hold"]);
    for (head, expected) in [
        ("GET /ready HTTP/1.1", "200 OK"),
        ("GET /live HTTP/1.1", "503 Service Unavailable"),
        ("GET /started HTTP/1.1", "503 Service Unavailable"),
        ("GET /other HTTP/1.1", "404 Not Found"),
        ("PUT /ready HTTP/1.1", "405 Method Not Allowed"),
    ] {
        assert_eq!(request(&port, head), format!("HTTP/1.1 {expected}"), "{head}");
        let asked = head.strip_suffix(" HTTP/1.1").unwrap();
        workload.prints(&[&format!("{asked}: {expected}")]);
    }
}

#[test]
fn a_silent_client_does_not_delay_others() {
    let workload = Workload::start("run --listen 0 ready hold");
    let port = port(&workload);
    workload.prints(&["ready", "hold"]);
    let _silent = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(request(&port, "GET /ready HTTP/1.1"), "HTTP/1.1 200 OK");
    workload.prints(&["GET /ready: 200 OK"]);
}

#[test]
fn sigterm_has_the_configured_reaction() {
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
        workload.prints(&["hold"]);
        workload.signal(Signal::TERM);
        workload.prints(&lines);
        assert_eq!(workload.end().code(), Some(code), "{option}");
    }
}

#[test]
fn sigterm_can_be_ignored() {
    let mut workload = Workload::start("run --on-term ignore hold");
    workload.prints(&["hold"]);
    for _ in 0..2 {
        workload.signal(Signal::TERM);
        workload.prints(&["SIGTERM: ignored"]);
    }
    assert!(workload.child.try_wait().unwrap().is_none(), "it runs");
    workload.signal(Signal::KILL);
    assert_eq!(workload.end().signal(), Some(9));
}

#[test]
fn hooks_and_init_containers() {
    assert_eq!(output("sleep 0.01").status.code(), Some(0));
    assert_eq!(output("fail 5").status.code(), Some(5));

    let workload = Workload::start("run sleep=0.2 ready hold");
    workload.prints(&["sleep=0.2"]);
    assert_eq!(workload.exec("fail 5 ready"), Some(5));
    assert_eq!(
        workload.exec("probe ready"),
        Some(0),
        "the hook waits for the probe"
    );

    let mut sleeper = Workload::start("sleep 3600");
    sleeper.prints(&["sleep 3600s"]);
    sleeper.signal(Signal::TERM);
    assert_eq!(sleeper.end().code(), Some(143));
}

#[test]
fn wait_tcp_exits_when_the_port_accepts() {
    // An address of this test, and a port outside of the ephemeral range, in which a client can connect to itself.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = format!("127.{a}.{b}.{c}:7411");
    let mut workload = Workload::start(&format!("wait-tcp {address}"));
    workload.prints(&[&format!("wait for {address}")]);
    assert!(workload.child.try_wait().unwrap().is_none(), "the port is closed");
    let _server = TcpListener::bind(&address).unwrap();
    workload.prints(&[&format!("{address} accepts connections")]);
    assert_eq!(workload.end().code(), Some(0));
}

#[test]
fn pause_reaps_orphans() {
    let mut namespace = Command::new("sh");
    // The shell replaces itself by the test workload, which inherits two children.
    namespace.args(["-c", "sleep 0.1 & sleep 0.1 & exec \"$0\" pause", TEST_WORKLOAD]);
    let mut workload = Workload::spawn(namespace);
    workload.prints(&["pause"]);
    for _ in 0..2 {
        let line = workload.line();
        assert_eq!(line, "reaped: exit Some(0)");
    }
    workload.signal(Signal::INT);
    workload.prints(&["SIGINT: exit 0"]);
    assert_eq!(workload.end().code(), Some(0));
}
