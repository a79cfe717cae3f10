//! Reads the command of a container: a program with arguments, or a shell script.
//!
//! The script is split into simple commands. This is not a shell: expansions are kept as text, and the body of a here
//! document is skipped. The rules only use what is certain without running the script.

use super::{
    local_ports::{connects, local_ports, waits},
    shell_words::{Operator, SimpleCommand, base_name, split},
};

/// Shells that take a script after `-c`.
const SHELLS: [&str; 5] = ["sh", "bash", "ash", "dash", "zsh"];
/// A year. A longer sleep does not end within the life of a Pod.
const YEAR: u64 = 365 * 24 * 60 * 60;
/// Commands that can end a script, or that change what ends it.
const ENDING: [&str; 6] = ["exit", "return", "break", "exec", "trap", "kill"];
/// Commands of a script that have no effect on how long it runs.
const IMMEDIATE: [&str; 4] = ["echo", "true", ":", "printf"];

/// The program of a container, a probe or a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program with its arguments.
    Direct(Vec<String>),
    /// The script of `sh -c`.
    Script {
        /// The commands in the order of the script.
        commands: Vec<SimpleCommand>,
        /// The shell ends at the first command that fails (`-e`).
        ends_on_error: bool,
    },
}

impl Program {
    /// Reads the words of `command` and `args`.
    pub fn new(words: &[String]) -> Self {
        let is_shell = |word: &String| SHELLS.contains(&base_name(word));
        let Some(shell) = words.iter().take(4).position(is_shell) else {
            return Self::Direct(words.to_vec());
        };
        let options = words.get(shell + 1..).unwrap_or_default();
        let is_c = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
        let Some(script) = options
            .iter()
            .position(is_c)
            .and_then(|c| Some((c, options.get(c + 1)?)))
        else {
            return Self::Direct(words.to_vec());
        };
        let (flags, script) = (options.get(..=script.0).unwrap_or_default(), script.1);
        let commands = split(script);
        let is_e = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('e');
        let sets_e = commands.iter().any(|command| {
            command.words.first().is_some_and(|word| word == "set") && command.words.iter().any(is_e)
        });
        Self::Script {
            ends_on_error: sets_e || flags.iter().any(is_e),
            commands,
        }
    }

    /// Whether it is a script.
    pub fn is_script(&self) -> bool {
        matches!(self, Self::Script { .. })
    }

    /// Whether it is a script that starts a command in the background.
    pub fn has_background_command(&self) -> bool {
        match self {
            Self::Direct(_) => false,
            Self::Script { commands, .. } => commands
                .iter()
                .any(|command| command.next == Operator::Background),
        }
    }

    /// Returns the command at which the program stays forever, if that is certain.
    pub fn endless_command(&self) -> Option<String> {
        let commands = match self {
            Self::Direct(words) => return is_endless(words).then(|| words.join(" ")),
            Self::Script { commands, .. } => commands,
        };
        let (last, before) = commands.split_last()?;
        let can_end = before.iter().any(SimpleCommand::can_end);
        if can_end || last.depth != 0 || matches!(last.next, Operator::Background | Operator::Pipe) {
            return None;
        }
        if last.name() == "done" {
            // The head of the loop that the last `done` closes.
            let head = before.iter().rev().find(|command| command.depth == 0)?;
            return head.is_endless_loop().then(|| head.words.join(" "));
        }
        let is_certain = !matches!(last.previous, Operator::Or | Operator::Pipe);
        (is_certain && is_endless(last.without_exec())).then(|| last.words.join(" "))
    }

    /// Returns the number of seconds that the program sleeps at least, as far as that is certain.
    pub fn sleeps(&self) -> u64 {
        let (commands, ends_on_error) = match self {
            Self::Direct(words) => return sleep_of(words).unwrap_or_default(),
            Self::Script {
                commands,
                ends_on_error,
            } => (commands, *ends_on_error),
        };
        let mut total: u64 = 0;
        // Whether all commands until here succeed for certain.
        let mut is_immediate = true;
        for command in commands {
            if command.depth == 0 && ENDING.contains(&command.name()) && command.name() != "exec" {
                break;
            }
            let is_run = match command.previous {
                Operator::Or | Operator::Pipe => false,
                Operator::And => is_immediate,
                Operator::Sequence | Operator::Background => !ends_on_error || is_immediate,
            };
            let is_foreground = !matches!(command.next, Operator::Background | Operator::Pipe);
            match sleep_of(command.without_exec()) {
                Some(seconds) if command.depth == 0 && is_run && is_foreground => {
                    total = total.saturating_add(seconds);
                }
                _ if IMMEDIATE.contains(&command.name()) => {}
                _ => is_immediate = false,
            }
            if command.depth == 0 && command.name() == "exec" {
                break;
            }
        }
        total
    }

    /// Returns the ports on the local host that the program waits for: in a loop, or with a tool that waits.
    pub fn awaited_local_ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        match self {
            Self::Direct(words) => {
                if waits(words) {
                    ports.extend(local_ports(words));
                }
            }
            Self::Script { commands, .. } => {
                let is_bounded = commands.iter().any(SimpleCommand::is_bound);
                for command in commands {
                    let is_repeated = command.in_loop && !is_bounded && connects(&command.words);
                    if is_repeated || waits(&command.words) {
                        ports.extend(local_ports(&command.words));
                    }
                }
            }
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl SimpleCommand {
    /// The name of the program, without its directory.
    fn name(&self) -> &str {
        self.words.first().map_or("", |word| base_name(word))
    }

    fn without_exec(&self) -> &[String] {
        match self.words.split_first() {
            Some((first, rest)) if first == "exec" => rest,
            _ => &self.words,
        }
    }

    fn can_end(&self) -> bool {
        self.words.iter().any(|word| ENDING.contains(&word.as_str()))
    }

    fn is_endless_loop(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        matches!(
            words.as_slice(),
            ["while", "true" | ":" | "/bin/true"]
                | ["while", "[" | "[[", "1" | "true", "]" | "]]"]
                | ["until", "false"]
        )
    }

    /// Whether the command can be part of the limit of a loop: a comparison of numbers, or a number of iterations.
    fn is_bound(&self) -> bool {
        let is_comparison =
            |word: &String| matches!(word.as_str(), "-gt" | "-lt" | "-ge" | "-le" | "-eq" | "SECONDS");
        matches!(self.name(), "for" | "timeout" | "seq")
            || self
                .words
                .iter()
                .any(|word| is_comparison(word) || word.contains("(("))
    }
}

fn is_endless(words: &[String]) -> bool {
    let Some((name, arguments)) = words.split_first() else {
        return false;
    };
    match base_name(name) {
        "sleep" => arguments.iter().any(|word| {
            matches!(word.as_str(), "infinity" | "inf") || seconds(word).is_some_and(|s| s >= YEAR)
        }),
        "tail" => {
            let follows = |word: &String| {
                let is_short = word.starts_with('-') && !word.starts_with("--") && word.contains(['f', 'F']);
                is_short || word.starts_with("--follow")
            };
            let ends = arguments.iter().any(|word| word.starts_with("--pid"));
            arguments.iter().any(follows) && !ends
        }
        _ => false,
    }
}

/// Returns the number of seconds of a `sleep` command.
fn sleep_of(words: &[String]) -> Option<u64> {
    let (name, arguments) = words.split_first()?;
    if base_name(name) != "sleep" || arguments.is_empty() {
        return None;
    }
    arguments
        .iter()
        .map(|word| match word.as_str() {
            "infinity" | "inf" => Some(u64::MAX),
            _ => seconds(word),
        })
        .try_fold(0u64, |sum, seconds| Some(sum.saturating_add(seconds?)))
}

/// Parses an argument of `sleep`, such as `30`, `0.5` or `2m`, without its fraction.
fn seconds(word: &str) -> Option<u64> {
    let (number, factor) = match word.char_indices().last()? {
        (at, 's') => (word.get(..at)?, 1),
        (at, 'm') => (word.get(..at)?, 60),
        (at, 'h') => (word.get(..at)?, 60 * 60),
        (at, 'd') => (word.get(..at)?, 24 * 60 * 60),
        _ => (word, 1),
    };
    let whole = number.split_once('.').map_or(number, |(whole, _)| whole);
    whole.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Program {
        Program::new(&["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
    }

    fn direct(words: &[&str]) -> Program {
        Program::new(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_program_that_never_ends_is_found() {
        let endless = [
            direct(&["sleep", "infinity"]),
            direct(&["tail", "-f", "/dev/null"]),
            direct(&["/bin/busybox", "sh", "-c", "sleep infinity"]),
            direct(&["tini", "--", "bash", "-ec", "date; sleep inf"]),
            script("setup && sleep infinity"),
            script("setup\nexec tail -F /dev/null # forever\n"),
            script("while true; do date; sleep 10; done"),
            script("cp a b\nwhile :\ndo\n if [ -f x ]; then date; fi\n sleep 1\ndone"),
            script("until false; do sleep 60; done"),
            script("sleep 3650d"),
        ];
        for program in endless {
            assert!(program.endless_command().is_some(), "{program:?}");
        }
        let ending = [
            direct(&["sleep", "3600"]),
            direct(&["tail", "-n", "1", "file"]),
            direct(&["timeout", "60", "sleep", "infinity"]),
            script("while true; do curl -sf x && break; sleep 1; done"),
            script("while true; do curl -sf x && exit 0; sleep 1; done"),
            script("until nc -z db 5432; do sleep 1; done"),
            script("[ -f x ] && exit 0; sleep infinity"),
            script("test -f x || sleep infinity"),
            script("sleep infinity & setup"),
            script("sleep infinity &"),
            script("if [ $DEBUG ]; then sleep infinity; fi"),
            script("cat > run.sh <<EOF\nsleep infinity\nEOF\n"),
            script("echo 'sleep infinity'"),
            script("# sleep infinity"),
            script("tail -f log | grep -m1 ready"),
            script("while true; do date; done &\nsetup"),
            script("trap 'exit 0' TERM; while true; do sleep 1; done"),
            script("run() { sleep infinity; }"),
            script(""),
            direct(&[]),
        ];
        for program in ending {
            assert_eq!(program.endless_command(), None, "{program:?}");
        }
    }

    #[test]
    fn a_sleep_counts_only_if_it_is_certain() {
        let table = [
            (direct(&["sleep", "20"]), 20),
            (direct(&["/bin/sleep", "2m"]), 120),
            (script("sleep 5; nginx -s quit; sleep 10.5"), 15),
            (script("echo stop && sleep 30"), 30),
            (script("nginx -s quit && sleep 30"), 0),
            (script("set -e; nginx -s quit; sleep 30"), 0),
            (script("sleep 60 & wait"), 0),
            (script("if [ -f x ]; then sleep 60; fi"), 0),
            (script("exit 0; sleep 60"), 0),
            (script("sleep $DELAY"), 0),
            (script("exec sleep 60"), 60),
            (script("false || sleep 60"), 0),
        ];
        for (program, expected) in table {
            assert_eq!(program.sleeps(), expected, "{program:?}");
        }
    }

    #[test]
    fn awaited_ports_of_the_local_host_are_found() {
        let table: [(Program, &[u16]); 15] = [
            (script("until pg_isready -h localhost; do sleep 1; done"), &[5432]),
            (
                script("until pg_isready -h localhost -p 6432; do sleep 1; done"),
                &[6432],
            ),
            (script("until pg_isready -h db; do sleep 1; done"), &[]),
            (
                script("until curl -sf http://localhost/ready; do sleep 1; done"),
                &[80],
            ),
            (
                script("until (echo > /dev/tcp/127.0.0.1/5432); do sleep 1; done"),
                &[5432],
            ),
            (
                script("until curl -sf http://localhost:15021/healthz; do sleep 1; done"),
                &[15021],
            ),
            (script("while ! nc -z 127.0.0.1 5432; do sleep 1; done"), &[5432]),
            (
                script("while true; do wget -q -O- [::1]:80/x && break; sleep 1; done"),
                &[80],
            ),
            (
                direct(&["wait-for-it.sh", "localhost:8080", "--", "true"]),
                &[8080],
            ),
            (
                direct(&["curl", "--retry", "9", "http://localhost:9000/"]),
                &[9000],
            ),
            (script("curl localhost:8080 || true"), &[]),
            (script("for i in 1 2 3; do curl localhost:8080; done"), &[]),
            (script("until nc -z db 5432; do sleep 1; done"), &[]),
            (script("until curl -s x; do echo no localhost:80 yet; done"), &[]),
            (
                script("n=0; until nc -z localhost 80; do n=$((n+1)); [ $n -gt 9 ] && exit 1; done"),
                &[],
            ),
        ];
        for (program, expected) in table {
            assert_eq!(program.awaited_local_ports(), expected, "{program:?}");
        }
    }
}
