//! Runs the binary on a pseudo-terminal, as a user does.

use std::{
    fs::File,
    io::{Read, Write},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use testkit::api_server::{soon, until};
use tokio::process::{Child, Command};

use crate::support::repository;

/// The shell is the leader of the session, and so it shows the settings of the terminal after the command has ended. Ctrl-C
/// goes to both, because they are one process group.
const SCRIPT: &str = r#"trap : INT; stty -g; "$@"; code=$?; stty -g; exit $code"#;

/// A command on a pseudo-terminal.
pub(crate) struct Session {
    child: Child,
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// The output of a command on its terminal, and its exit code.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) code: Option<i32>,
    /// The written text.
    pub(crate) text: String,
    /// The settings of the terminal before and after the command, as `stty -g` prints them.
    pub(crate) settings: [String; 2],
}

impl Session {
    /// Starts a command on a terminal with this number of columns. It has these environment variables and no other.
    pub(crate) fn start(args: &[&str], columns: u16, variables: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let main = openpt(flags).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let terminal = File::from(ioctl_tiocgptpeer(&main, flags).unwrap());
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        let child = Command::new("setsid")
            .args([
                "--ctty",
                "sh",
                "-c",
                SCRIPT,
                "sh",
                env!("CARGO_BIN_EXE_sidewatch"),
            ])
            .args(args)
            .current_dir(repository())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let main = File::from(main);
        let written = Arc::default();
        Self {
            child,
            keyboard: main.try_clone().unwrap(),
            reader: read(main, Arc::clone(&written)),
            written,
        }
    }

    /// Waits until the command has written a text.
    pub(crate) async fn shows(&self, expected: &str) {
        until(expected, || {
            String::from_utf8_lossy(&self.written.lock().unwrap()).contains(expected)
        })
        .await;
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    /// Waits for the end of the command.
    pub(crate) async fn end(mut self) -> Screen {
        let status: ExitStatus = soon("the command ends", self.child.wait()).await.unwrap();
        self.reader.join().unwrap();
        let written = self.written.lock().unwrap();
        let text = std::str::from_utf8(&written).unwrap().replace("\r\n", "\n");
        let (before, text) = text.split_once('\n').unwrap();
        let (text, after) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
        // A line that the command has not ended stands before the settings.
        let after = after.rsplit('\r').next().unwrap();
        Screen {
            code: status.code(),
            text: format!("{text}\n"),
            settings: [before, after].map(str::to_owned),
        }
    }
}

/// Reads until all processes have closed the terminal.
fn read(mut main: File, written: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end is an error (EIO).
        while let Ok(length @ 1..) = main.read(&mut buffer) {
            written.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
    })
}

impl Screen {
    /// The lines that a user sees: a carriage return begins the line again, and colours are left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = without_colors(&self.text);
        lines.lines().map(visible).collect()
    }
}

fn visible(line: &str) -> String {
    let mut cells: Vec<char> = Vec::new();
    let mut column = 0;
    for character in line.chars() {
        if character == '\r' {
            column = 0;
            continue;
        }
        if column == cells.len() {
            cells.push(character);
        } else {
            cells[column] = character;
        }
        column += 1;
    }
    cells.into_iter().collect::<String>().trim_end().to_owned()
}

/// Removes the escape sequences of colours. Other escape sequences remain.
pub(crate) fn without_colors(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('m') {
            Some((parameters, rest)) if parameters.chars().all(|c| c.is_ascii_digit() || c == ';') => {
                plain += rest;
            }
            _ => {
                plain += "\x1b[";
                plain += piece;
            }
        }
    }
    plain
}
