//! The door's own log: sentences for the operator, on the standard error.
//!
//! Requests are in the access log, not here. The journal stamps lines itself, so under it they carry no time; colours
//! go to terminals alone, since a log file with escape sequences is a trap for whoever reads it.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// What is said when nobody asks for more.
pub const DEFAULT: &str = "info";

/// Why the log could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum NoLog {
    /// The filter does not parse.
    #[error(
        "the log filter `{0}` is not understood: expected a level (`info`) or targets with levels (`stagedoor::link=debug`), separated by commas"
    )]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// Somebody else took the place.
    #[error("the log was begun twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Begins the log with a filter as [`EnvFilter`] reads it. Once per process.
///
/// # Errors
/// The filter is not understood, or the log was begun before.
pub fn start(filter: &str) -> Result<(), NoLog> {
    let filter = EnvFilter::try_new(filter).map_err(|e| NoLog::Filter(filter.to_owned(), e))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let begun = if journal(std::env::var_os("JOURNAL_STREAM").as_deref()) {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
    begun.map_err(NoLog::Twice)
}

/// Whether the standard error is the journal itself: the variable outlives a redirection, so it names the stream by
/// device and inode.
fn journal(stream: Option<&OsStr>) -> bool {
    let Some(stream) = stream.and_then(OsStr::to_str) else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|at| stream == format!("{}:{}", at.st_dev, at.st_ino))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_stderr_is_counts_as_the_journal() {
        assert!(!journal(None));
        assert!(!journal(Some(OsStr::new("8:0"))));
        let at = rustix::fs::fstat(io::stderr()).unwrap();
        assert!(journal(Some(OsStr::new(&format!("{}:{}", at.st_dev, at.st_ino)))));
    }

    #[test]
    fn a_filter_that_is_not_understood_is_quoted() {
        let error = start("stagedoor=loud").unwrap_err();
        assert!(error.to_string().contains("`stagedoor=loud`"), "{error}");
    }
}
