//! Performs a [`Command`] and returns the exit code.

use std::net::{TcpStream, ToSocketAddrs};
use std::thread::{park, sleep};
use std::time::Duration;

use crate::command::{Command, OnTerm};
use crate::script::{Script, Step};
use crate::state::State;
use crate::{http, memory, say, signals};

/// Exit code that a shell reports after SIGTERM.
const EXIT_143: OnTerm = OnTerm::Exit(143);

pub(crate) fn perform(command: Command) -> Result<u8, String> {
    match command {
        Command::Run {
            listen,
            on_term,
            script,
        } => {
            let state = State::from_environment();
            signals::on_term(on_term)?;
            state.begin()?;
            if let Some(port) = listen {
                http::listen(port, state.clone())?;
            }
            run(&script, &state)
        }
        Command::Probe(probe) => {
            let answer = State::from_environment().answer(probe);
            say(&format!("{probe:?}: {}", if answer { "yes" } else { "no" }));
            Ok(u8::from(!answer))
        }
        Command::Pause => signals::pause(),
        Command::Sleep(duration) => {
            signals::on_term(EXIT_143)?;
            say(&format!("sleep {duration:?}"));
            sleep(duration);
            Ok(0)
        }
        Command::Fail(code, probe) => {
            while probe.is_some_and(|probe| !State::from_environment().answer(probe)) {
                sleep(Duration::from_millis(20));
            }
            say(&format!("fail: exit {code}"));
            Ok(code)
        }
        Command::WaitTcp(address) => {
            signals::on_term(EXIT_143)?;
            say(&format!("wait for {address}"));
            while !accepts(&address) {
                sleep(Duration::from_millis(200));
            }
            say(&format!("{address} accepts connections"));
            Ok(0)
        }
        Command::Eat => memory::eat(),
    }
}

fn run(script: &Script, state: &State) -> Result<u8, String> {
    let mut again = true;
    while again {
        again = false;
        for (word, step) in script.steps() {
            say(word);
            match step {
                Step::Answer(probe, answer) => state.set(probe, answer)?,
                Step::Sleep(duration) => sleep(duration),
                Step::Exit(code) => return Ok(code),
                Step::Eat => return memory::eat(),
                Step::EatInChild => memory::eat_in_child()?,
                Step::EatInChildThenExit(code) => {
                    memory::eat_in_child()?;
                    return Ok(code);
                }
                Step::Hold => loop {
                    park();
                },
                Step::Repeat => again = true,
            }
        }
    }
    say("end of the script: exit 0");
    Ok(0)
}

/// Whether the address accepts connections. The name may not exist yet, so it is resolved each time.
fn accepts(address: &str) -> bool {
    address.to_socket_addrs().is_ok_and(|mut addresses| {
        addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    })
}
