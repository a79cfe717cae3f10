//! Does what a [`Command`] says. Output: the exit code.

use std::net::{TcpStream, ToSocketAddrs};
use std::thread::{park, sleep};
use std::time::Duration;

use crate::command::{Command, OnTerm};
use crate::script::{Script, Step};
use crate::state::State;
use crate::{http, memory, say, signals};

/// What a shell shows for a program that SIGTERM ended.
const ENDED_BY_TERM: OnTerm = OnTerm::Exit(143);

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
            play(&script, &state)
        }
        Command::Probe(probe) => {
            let answer = State::from_environment().answer(probe);
            say(&format!("{probe:?}: {}", if answer { "yes" } else { "no" }));
            Ok(u8::from(!answer))
        }
        Command::Pause => signals::pause(),
        Command::Sleep(duration) => {
            signals::on_term(ENDED_BY_TERM)?;
            say(&format!("sleep {duration:?}"));
            sleep(duration);
            Ok(0)
        }
        Command::Fail(code) => {
            say(&format!("fail: exit {code}"));
            Ok(code)
        }
        Command::WaitTcp(address) => {
            signals::on_term(ENDED_BY_TERM)?;
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

fn play(script: &Script, state: &State) -> Result<u8, String> {
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
    say("the script is over: exit 0");
    Ok(0)
}

/// Names are resolved anew each time: the server's may not exist yet.
fn accepts(address: &str) -> bool {
    address.to_socket_addrs().is_ok_and(|mut addresses| {
        addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    })
}
