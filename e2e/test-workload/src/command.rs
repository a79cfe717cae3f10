//! Parser of the arguments.

use std::time::Duration;

use crate::script::{Script, exit_code, seconds};
use crate::state::Probe;

/// Text after an error in the arguments.
pub(crate) const USAGE: &str = "\
usage: test-workload run [--listen PORT] [--on-term exit=CODE|ignore|after=SECONDS:CODE] STEP...
         steps: ready unready live dead started sleep=SECONDS exit=CODE eat eat-in-child
                eat-in-child-then-exit=CODE hold repeat
       test-workload probe ready|live|started
       test-workload pause
       test-workload sleep SECONDS
       test-workload fail CODE [ready|live|started]
       test-workload wait-tcp HOST:PORT
       test-workload eat";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// A container that follows a script.
    Run {
        /// The port of the HTTP probes.
        listen: Option<u16>,
        on_term: OnTerm,
        script: Script,
    },
    /// An exec probe.
    Probe(Probe),
    /// The sandbox process of a Pod.
    Pause,
    /// A hook or an init container that takes some time.
    Sleep(Duration),
    /// A hook or an init container that fails with this code, once the probe succeeds if one is given.
    Fail(u8, Option<Probe>),
    /// An init container that waits for a server: `HOST:PORT`.
    WaitTcp(String),
    /// Allocates memory until it is killed.
    Eat,
}

/// Reaction to SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum OnTerm {
    Exit(u8),
    Ignore,
    /// Exits later, like a server that drains connections.
    After(Duration, u8),
}

impl Command {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match arguments.as_slice() {
            ["run", rest @ ..] => run(rest),
            ["probe", probe] => Probe::parse(probe).map(Self::Probe),
            ["pause"] => Ok(Self::Pause),
            ["sleep", value] => Ok(Self::Sleep(
                seconds(value).map_err(|error| format!("sleep: {error}"))?,
            )),
            ["fail", code] => Ok(Self::Fail(fail_code(code)?, None)),
            ["fail", code, probe] => Ok(Self::Fail(fail_code(code)?, Some(Probe::parse(probe)?))),
            ["wait-tcp", address] if address.contains(':') => Ok(Self::WaitTcp((*address).to_owned())),
            ["wait-tcp", address] => Err(format!("wait-tcp: `{address}` is not HOST:PORT")),
            ["eat"] => Ok(Self::Eat),
            [] => Err("a command is missing".to_owned()),
            [command, ..] => Err(format!("`{command}` with these arguments is not a command")),
        }
    }
}

fn fail_code(code: &str) -> Result<u8, String> {
    exit_code(code).map_err(|error| format!("fail: {error}"))
}

fn run(mut rest: &[&str]) -> Result<Command, String> {
    let mut listen = None;
    let mut on_term = OnTerm::Exit(0);
    loop {
        rest = match rest {
            ["--listen", port, rest @ ..] => {
                let port = port
                    .parse()
                    .map_err(|_| format!("--listen: `{port}` is not a port"))?;
                listen = Some(port);
                rest
            }
            ["--on-term", reaction, rest @ ..] => {
                on_term = reaction_to_term(reaction).map_err(|error| format!("--on-term: {error}"))?;
                rest
            }
            [option, ..] if option.starts_with('-') => {
                return Err(format!(
                    "`{option}` is not an option of `run`, or its value is missing"
                ));
            }
            steps => {
                let script = Script::parse(steps)?;
                return Ok(Command::Run {
                    listen,
                    on_term,
                    script,
                });
            }
        }
    }
}

fn reaction_to_term(text: &str) -> Result<OnTerm, String> {
    match text.split_once('=') {
        None if text == "ignore" => Ok(OnTerm::Ignore),
        Some(("exit", code)) => Ok(OnTerm::Exit(exit_code(code)?)),
        Some(("after", value)) => {
            let (delay, code) = value
                .split_once(':')
                .ok_or_else(|| format!("`{value}` is not SECONDS:CODE"))?;
            Ok(OnTerm::After(seconds(delay)?, exit_code(code)?))
        }
        _ => Err(format!("`{text}` is not exit=CODE, ignore or after=SECONDS:CODE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&arguments)
    }

    #[test]
    fn commands() {
        let hold = || Script::parse(&["hold"]).unwrap();
        let run = |listen, on_term| Command::Run {
            listen,
            on_term,
            script: hold(),
        };
        let half = Duration::from_millis(500);
        for (line, expected) in [
            ("run hold", run(None, OnTerm::Exit(0))),
            (
                "run --listen 8080 --on-term exit=143 hold",
                run(Some(8080), OnTerm::Exit(143)),
            ),
            ("run --on-term ignore hold", run(None, OnTerm::Ignore)),
            (
                "run --on-term after=0.5:3 hold",
                run(None, OnTerm::After(half, 3)),
            ),
            ("probe live", Command::Probe(Probe::Live)),
            ("pause", Command::Pause),
            ("sleep 0.5", Command::Sleep(half)),
            ("fail 7", Command::Fail(7, None)),
            ("fail 7 ready", Command::Fail(7, Some(Probe::Ready))),
            (
                "wait-tcp 127.0.0.1:80",
                Command::WaitTcp("127.0.0.1:80".to_owned()),
            ),
            ("eat", Command::Eat),
        ] {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn errors_name_the_argument() {
        for (line, expected) in [
            ("", "a command is missing"),
            ("dance", "`dance`"),
            ("pause now", "`pause`"),
            ("run", "a step is missing"),
            ("run --listen http hold", "--listen: `http`"),
            ("run --listen", "`--listen`"),
            ("run --verbose hold", "`--verbose`"),
            ("run --on-term exit=256 hold", "--on-term: `256`"),
            ("run --on-term after=3 hold", "--on-term: `3` is not SECONDS:CODE"),
            ("run --on-term die hold", "--on-term: `die`"),
            ("probe health", "`health`"),
            ("sleep long", "sleep: `long`"),
            ("fail never", "fail: `never`"),
            ("fail 1 soon", "`soon`"),
            ("wait-tcp app", "wait-tcp: `app`"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
