//! Completions in the form that kubectl reads: a line for each, with a description after a tab, then a line with a directive
//! of Cobra.

use std::{ffi::OsString, fmt::Write};

use clap_complete::{CompletionCandidate, engine};

use super::{Invocation, live};
use crate::cli::{exit::Failure, output::print_raw, safe_text::for_terminal};

/// Cobra's `ShellCompDirectiveDefault`: without completions, the shell completes the names of files.
const FILES: u8 = 0;
/// Cobra's `ShellCompDirectiveNoFileComp`: the shell does not complete the names of files.
const NO_FILES: u8 = 4;

/// Prints the completions of the last word. `words` follow the name of the plugin on the command line.
pub(in crate::commands) fn complete(words: &[OsString]) -> Result<(), Failure> {
    print_raw(&completions(words))
}

fn completions(words: &[OsString]) -> String {
    let texts: Vec<&str> = words
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    if let Some(values) = live::values(&texts) {
        return lines(values.into_iter().map(|value| (value, String::new())), NO_FILES);
    }
    let current = texts.last().copied().unwrap_or_default();
    let candidates = candidates(words);
    let known: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.get_value().to_str()?, description(candidate))))
        // Flags are offered only after a dash. The names of files are left to the shell.
        .filter(|(value, _)| value.starts_with('-') == current.starts_with('-') && !value.contains('/'))
        .map(|(value, description)| (value.to_owned(), description))
        .collect();
    let directive = if known.is_empty() { FILES } else { NO_FILES };
    lines(known.into_iter(), directive)
}

/// Returns the subcommands, flags and values that can follow.
fn candidates(words: &[OsString]) -> Vec<CompletionCandidate> {
    let args: Vec<OsString> = std::iter::once(OsString::from(super::COMMAND))
        .chain(words.iter().cloned())
        .collect();
    // Without a directory, the engine lists no files.
    engine::complete(&mut Invocation::Plugin.command(), args, words.len(), None).unwrap_or_default()
}

/// Returns the first line of the help.
fn description(candidate: &CompletionCandidate) -> String {
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    help.lines().next().unwrap_or_default().to_owned()
}

fn lines(values: impl Iterator<Item = (String, String)>, directive: u8) -> String {
    let mut text = String::new();
    for (value, description) in values {
        let (value, description) = (for_terminal(&value), for_terminal(&description));
        let tab = if description.is_empty() { "" } else { "\t" };
        // Writing to a String does not fail.
        let _written = writeln!(text, "{value}{tab}{description}");
    }
    text + &format!(":{directive}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(words: &[&str]) -> String {
        completions(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn subcommands_flags_and_values_are_completed() {
        let table: [(&[&str], &[&str]); 7] = [
            (
                &["to"],
                &[
                    "top\tShow the present violations by workload, image or policy",
                    ":4",
                ],
            ),
            (
                &["top", "--by", ""],
                &[
                    "workload\tBy workload and container",
                    "image\tBy the image of the container",
                    "policy\tBy policy",
                    ":4",
                ],
            ),
            (
                &["top", "--by=i"],
                &["--by=image\tBy the image of the container", ":4"],
            ),
            (&["top", "--all"], &["--all-namespaces\tAll namespaces", ":4"]),
            (&["completion", "z"], &["zsh", ":4"]),
            // Files are left to the shell.
            (&["simulate", "-p", ""], &[":0"]),
            (&["simulate", "-p", "/"], &[":0"]),
        ];
        for (words, expected) in table {
            assert_eq!(complete(words).lines().collect::<Vec<_>>(), expected, "{words:?}");
        }
    }

    #[test]
    fn all_subcommands_are_offered_first_and_no_flags() {
        let text = complete(&[""]);
        for name in ["run", "lint", "top", "completion"] {
            assert!(text.contains(&format!("{name}\t")), "{text}");
        }
        assert!(!text.contains("--help"), "{text}");
    }

    #[test]
    fn words_that_cannot_be_completed_are_no_error() {
        for words in [&[][..], &["nothing", ""], &["top", "--nothing", "x"], &["--", ""]] {
            assert!(complete(words).ends_with('\n'), "{words:?}");
        }
    }
}
