//! One mistake in a file that a person wrote: where, which key, which value, what was expected.
//!
//! Three ways to show it: one line (`Display`), the file's own line with carets ([`report`]), and JSON.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// A mistake in settings or in a roster, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// The line, counted from 1; none where the file lacks something or cannot be read.
    pub line: Option<usize>,
    /// The key, with its tables: `bounds.bodies`, `listen[0].address`. Empty where the file as a whole is wrong.
    pub key: String,
    /// What stands there, as written; empty where nothing does.
    pub value: String,
    /// What was expected, in words, with what to do where that is not plain.
    pub expected: String,
    /// Where in the file's text it stands, in bytes; none where nothing stands there.
    #[serde(skip)]
    pub span: Option<Range<usize>>,
}

impl Mistake {
    /// A mistake that concerns a file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>, expected: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            key: String::new(),
            value: String::new(),
            expected: expected.into(),
            span: None,
        }
    }
}

/// JSON is UTF-8 and a path need not be; a mistake in such a file must still be told.
fn lossy<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
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

/// Mistakes in one file, each under the line it stands on, for a person to read.
///
/// `text` is the file's text as it was read; `styled` adds colours, for a terminal.
#[must_use]
pub fn report(mistakes: &[Mistake], text: &str, styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for mistake in mistakes {
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        let span = mistake.span.clone().filter(|span| text.get(span.clone()).is_some());
        let group = match span {
            Some(span) => {
                let title = match mistake.key.as_str() {
                    "" => format!("expected {}", mistake.expected),
                    key => format!("`{key}`: expected {}", mistake.expected),
                };
                let path = mistake.file.to_string_lossy();
                let carets = AnnotationKind::Primary.span(span);
                let line = Snippet::source(text).path(path).fold(true).annotation(carets);
                Level::ERROR.primary_title(title).element(line)
            }
            None => Group::with_title(Level::ERROR.primary_title(mistake.to_string())),
        };
        out.push_str(&renderer.render(&[group]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake() -> Mistake {
        Mistake {
            file: "/etc/stagedoor/proxy.toml".into(),
            line: Some(2),
            key: "bounds.head".into(),
            value: "\"1 TB\"".into(),
            expected: "a size".into(),
            span: Some(16..22),
        }
    }

    #[test]
    fn one_line_names_file_line_key_value_and_expectation() {
        assert_eq!(
            mistake().to_string(),
            "/etc/stagedoor/proxy.toml:2: bounds.head = \"1 TB\": expected a size"
        );
        assert_eq!(Mistake::of_file("/r", "a file").to_string(), "/r: expected a file");
    }

    #[test]
    fn a_report_shows_the_line_with_carets() {
        let text = "[bounds]\nhead = \"1 TB\"\n";
        let shown = report(&[mistake(), Mistake::of_file("/r", "a file")], text, false);
        assert_eq!(
            shown,
            "error: `bounds.head`: expected a size\n \
             --> /etc/stagedoor/proxy.toml:2:8\n  \
             |\n\
             2 | head = \"1 TB\"\n  \
             |        ^^^^^^\n\n\
             error: /r: expected a file"
        );
        assert!(!shown.contains('\u{1b}'));
        assert!(report(&[mistake()], text, true).contains('\u{1b}'));
    }

    #[test]
    fn a_place_outside_the_text_is_left_out() {
        assert!(report(&[mistake()], "", false).contains("expected a size"));
    }

    #[test]
    fn json_has_every_field_but_the_place_in_bytes() {
        assert_eq!(
            serde_json::to_string(&mistake()).unwrap(),
            r#"{"file":"/etc/stagedoor/proxy.toml","line":2,"key":"bounds.head","value":"\"1 TB\"","expected":"a size"}"#
        );
    }
}
