//! One mistake in a file that a person wrote: where, which key, which value, what was expected.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::path::PathBuf;

/// A mistake in settings or in a roster, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; none where the file lacks something or cannot be read.
    pub line: Option<usize>,
    /// The key, with its tables: `bounds.bodies`, `listen[0].address`. Empty where the file as a whole is wrong.
    pub key: String,
    /// What stands there, as written; empty where nothing does.
    pub value: String,
    /// What was expected, in words, with what to do where that is not plain.
    pub expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
        }
        write!(f, ": expected {}", self.expected)
    }
}
