//! Splits a shell script into simple commands.

use std::{iter::Peekable, str::Chars};

/// The operator between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `;`, the end of a line, or the start or end of the script.
    Sequence,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`
    Pipe,
    /// `&`
    Background,
}

/// A command without control operators, such as `sleep 10`. The head of a compound command is one too, with its keyword:
/// `while true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleCommand {
    /// The words, without quotes.
    pub words: Vec<String>,
    /// The operator before the command.
    pub previous: Operator,
    /// The operator after the command.
    pub next: Operator,
    /// The number of compound commands that contain it. The head and the end of a compound command are outside it.
    pub depth: usize,
    /// It is in a `while`, `until` or `for` loop, or the condition of one.
    pub in_loop: bool,
}

/// The last part of a path.
pub(super) fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Splits a script.
pub fn split(script: &str) -> Vec<SimpleCommand> {
    let mut scanner = Scanner {
        chars: script.chars().peekable(),
        commands: Vec::new(),
        words: Vec::new(),
        word: None,
        previous: Operator::Sequence,
        compounds: Vec::new(),
        here_documents: Vec::new(),
    };
    scanner.scan();
    scanner.commands
}

struct Scanner<'s> {
    chars: Peekable<Chars<'s>>,
    commands: Vec<SimpleCommand>,
    words: Vec<String>,
    word: Option<String>,
    previous: Operator,
    /// The keywords of the open compound commands.
    compounds: Vec<String>,
    /// The end marks of the here documents that start at the next line.
    here_documents: Vec<String>,
}

impl Scanner<'_> {
    fn scan(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                ' ' | '\t' | '\r' => self.end_word(),
                '\n' => {
                    self.end_command(Operator::Sequence);
                    self.skip_here_documents();
                }
                ';' => {
                    while self.chars.next_if_eq(&';').is_some() {}
                    self.end_command(Operator::Sequence);
                }
                '&' if self.word.as_ref().is_some_and(|word| word.ends_with('>')) => self.push('&'),
                '&' if self.chars.peek() == Some(&'>') => self.push('&'),
                '&' if self.chars.next_if_eq(&'&').is_some() => self.end_command(Operator::And),
                '&' => self.end_command(Operator::Background),
                '|' if self.chars.next_if_eq(&'|').is_some() => self.end_command(Operator::Or),
                '|' => self.end_command(Operator::Pipe),
                '#' if self.word.is_none() => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '(' if self.word.is_none() && self.words.is_empty() => self.open("("),
                ')' if self.compounds.last().is_some_and(|keyword| keyword == "(") => {
                    self.end_command(Operator::Sequence);
                    self.word = Some(")".to_owned());
                    self.end_word();
                }
                '\'' => {
                    self.word.get_or_insert_default();
                    while let Some(c) = self.chars.next().filter(|c| *c != '\'') {
                        self.push(c);
                    }
                }
                '"' => self.double_quoted(),
                '\\' => match self.chars.next() {
                    None | Some('\n') => {}
                    Some(c) => self.push(c),
                },
                '$' if self.chars.peek() == Some(&'(') => {
                    self.push('$');
                    self.parentheses();
                }
                '`' => {
                    self.push('`');
                    while let Some(c) = self.chars.next() {
                        self.push(c);
                        if c == '`' {
                            break;
                        }
                    }
                }
                '<' if self.chars.peek() == Some(&'<') => self.here_document(),
                c => self.push(c),
            }
        }
        self.end_command(Operator::Sequence);
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(c) = self.chars.next() {
            match c {
                '"' => break,
                '\\' => {
                    if let Some(c) = self.chars.next() {
                        self.push(c);
                    }
                }
                '$' if self.chars.peek() == Some(&'(') => {
                    self.push('$');
                    self.parentheses();
                }
                c => self.push(c),
            }
        }
    }

    /// Keeps `(…)` as a part of the word.
    fn parentheses(&mut self) {
        let mut depth = 0usize;
        while let Some(c) = self.chars.next() {
            self.push(c);
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }

    fn here_document(&mut self) {
        self.chars.next();
        if self.chars.next_if_eq(&'<').is_some() {
            // `<<<` has no body.
            return;
        }
        let _indented = self.chars.next_if_eq(&'-');
        while self.chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        let mut mark = String::new();
        while let Some(c) = self
            .chars
            .next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '&' | '|' | '>' | ')'))
        {
            if !matches!(c, '\'' | '"' | '\\') {
                mark.push(c);
            }
        }
        self.here_documents.push(mark);
    }

    fn skip_here_documents(&mut self) {
        for mark in std::mem::take(&mut self.here_documents) {
            loop {
                let mut line = String::new();
                while let Some(c) = self.chars.next_if(|c| *c != '\n') {
                    line.push(c);
                }
                let is_end = self.chars.next().is_none();
                if is_end || line.trim() == mark {
                    break;
                }
            }
        }
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if self.words.is_empty() {
            match word.as_str() {
                // The command follows the keyword.
                "then" | "do" | "else" | "!" | "time" => return,
                "{" => return self.open("{"),
                _ if word.ends_with("()") => return,
                _ => {}
            }
        }
        self.words.push(word);
    }

    fn open(&mut self, keyword: &str) {
        self.compounds.push(keyword.to_owned());
    }

    fn end_command(&mut self, next: Operator) {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        let previous = self.previous;
        let Some(first) = words.first() else {
            if next != Operator::Sequence {
                self.previous = next;
            }
            return;
        };
        let keyword = first.clone();
        let is_end = matches!(keyword.as_str(), "fi" | "done" | "esac" | "}" | ")");
        if is_end {
            self.compounds.pop();
        }
        // `do` can be on the line of the head: `while true; do date`.
        let is_head = matches!(
            keyword.as_str(),
            "if" | "while" | "until" | "for" | "case" | "select"
        );
        let repeats = |keyword: &str| matches!(keyword, "while" | "until" | "for");
        let in_loop = self.compounds.iter().any(|open| repeats(open)) || repeats(&keyword);
        self.commands.push(SimpleCommand {
            words,
            previous,
            next,
            depth: self.compounds.len(),
            in_loop,
        });
        if is_head {
            self.open(&keyword);
        }
        self.previous = next;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Operator::{And, Background, Or, Pipe, Sequence},
        *,
    };

    fn show(script: &str) -> Vec<(String, usize)> {
        let commands = split(script);
        commands
            .iter()
            .map(|command| (command.words.join(" "), command.depth))
            .collect()
    }

    #[test]
    fn a_script_is_split_into_commands() {
        let table: [(&str, &[(&str, usize)]); 10] = [
            ("a b; c", &[("a b", 0), ("c", 0)]),
            ("a 'b; c' \"d $(e; f)\" \\\n g", &[("a b; c d $(e; f) g", 0)]),
            ("a # b; c\nd", &[("a", 0), ("d", 0)]),
            ("a 2>&1 & b", &[("a 2>&1", 0), ("b", 0)]),
            (
                "while true; do a; b; done; c",
                &[("while true", 0), ("a", 1), ("b", 1), ("done", 0), ("c", 0)],
            ),
            (
                "if a; then b; else c; fi",
                &[("if a", 0), ("b", 1), ("c", 1), ("fi", 0)],
            ),
            ("(a; b) && c", &[("a", 1), ("b", 1), (")", 0), ("c", 0)]),
            ("{ a; }; b", &[("a", 1), ("}", 0), ("b", 0)]),
            ("cat <<'E' > f\na; b\nE\nc", &[("cat > f", 0), ("c", 0)]),
            ("f() { a; }\nb", &[("a", 1), ("}", 0), ("b", 0)]),
        ];
        for (script, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(c, d)| ((*c).to_owned(), *d)).collect();
            assert_eq!(show(script), expected, "{script}");
        }
    }

    #[test]
    fn a_command_has_its_operators() {
        let commands = split("a && b || c | d & e");
        let operators: Vec<_> = commands.iter().map(|c| (c.previous, c.next)).collect();
        assert_eq!(
            operators,
            [
                (Sequence, And),
                (And, Or),
                (Or, Pipe),
                (Pipe, Background),
                (Background, Sequence)
            ]
        );
    }
}
