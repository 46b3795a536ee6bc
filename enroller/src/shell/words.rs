//! A command for another machine, made of words that its shell takes for words.
//!
//! `ssh` hands one line to the login shell over there. Every word that could mean anything to a shell stands in single
//! quotes, in which nothing means anything; a word that could not stand on a line at all is refused, whoever wrote it.
#![deny(clippy::disallowed_methods)]

use std::fmt;

/// The most bytes of a command: less than any system takes as one argument.
const LONGEST: usize = 64 << 10;

/// A command: the words of one program and its arguments, quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine(String);

/// Why something is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotACommand {
    /// A control character.
    #[error("{word:?}: expected a word without control characters")]
    Control {
        /// The word.
        word: String,
    },
    /// More than a line may have.
    #[error("expected a command of at most {LONGEST} bytes")]
    TooLong,
}

impl CommandLine {
    /// A program and its arguments.
    ///
    /// # Errors
    /// A word with a control character, or too many words.
    pub fn of<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, NotACommand> {
        let mut line = String::new();
        for word in words {
            let word = word.as_ref();
            if word.chars().any(char::is_control) {
                return Err(NotACommand::Control { word: word.to_owned() });
            }
            push(&mut line, word);
        }
        if line.len() > LONGEST { Err(NotACommand::TooLong) } else { Ok(Self(line)) }
    }

    /// A script of this program's own for `sh`, with its arguments `$1`, `$2` ….
    ///
    /// # Errors
    /// An argument with a control character, or too many of them.
    pub fn script<W: AsRef<str>>(
        script: &'static str,
        arguments: impl IntoIterator<Item = W>,
    ) -> Result<Self, NotACommand> {
        let arguments = Self::of(arguments)?;
        let mut line = "sh -c".to_owned();
        push(&mut line, script.trim());
        line.push_str(" stagedoor");
        if !arguments.0.is_empty() {
            line.push(' ');
            line.push_str(&arguments.0);
        }
        if line.len() > LONGEST { Err(NotACommand::TooLong) } else { Ok(Self(line)) }
    }

    /// The same as another user may run it without a password.
    #[must_use]
    pub fn by_sudo(&self) -> Self {
        Self(format!("sudo -n -- {}", self.0))
    }

    /// The line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn push(line: &mut String, word: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte);
    // A plain word is left as it is, for those who read it in a log or allow it in sudoers.
    if !word.is_empty() && word.bytes().all(plain) {
        line.push_str(word);
    } else {
        line.push('\'');
        line.push_str(&word.replace('\'', r"'\''"));
        line.push('\'');
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_word_stays_plain_and_every_other_is_quoted() {
        let line = CommandLine::of(["/opt/puppetlabs/bin/puppet", "config", "print", "server"]).unwrap();
        assert_eq!(line.as_str(), "/opt/puppetlabs/bin/puppet config print server");
        let line = CommandLine::of(["echo", "a b", "", "it's", "$HOME;id"]).unwrap();
        assert_eq!(line.as_str(), r"echo 'a b' '' 'it'\''s' '$HOME;id'");
        assert_eq!(CommandLine::of(["id"]).unwrap().by_sudo().as_str(), "sudo -n -- id");
    }

    #[test]
    fn what_could_end_a_line_is_refused() {
        for bad in ["a\nb", "a\0b", "a\rb", "\u{1b}[0m"] {
            assert!(CommandLine::of(["echo", bad]).is_err(), "{bad:?}");
            assert!(CommandLine::script("echo $1", [bad]).is_err(), "{bad:?}");
        }
        assert_eq!(CommandLine::of(vec!["x"; LONGEST]), Err(NotACommand::TooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_real_shell_takes_each_word_for_what_it_was(words in proptest::collection::vec("\\PC{0,12}", 0..5)) {
            prop_assume!(words.iter().all(|word| !word.chars().any(char::is_control)));
            let all = ["printf", "%s\\n"].into_iter().chain(words.iter().map(String::as_str));
            let line = CommandLine::of(all).unwrap();
            let said = Command::new("sh").args(["-c", line.as_str()]).output().unwrap();
            let expected: String = match words.as_slice() {
                // `printf` without anything to print prints its format once.
                [] => "\n".to_owned(),
                words => words.iter().map(|word| format!("{word}\n")).collect(),
            };
            prop_assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
            let line = CommandLine::script("for word; do printf '%s\\n' \"$word\"; done", &words).unwrap();
            let said = Command::new("sh").args(["-c", line.as_str()]).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\n")).collect();
            prop_assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
        }
    }
}
