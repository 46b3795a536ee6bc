//! What is told of an enrollment while it goes on: one line each, for people.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::time::Duration;

use crate::pipeline::{Entry, Facts, Step};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The step's number, counted from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
    /// The step under way; none when nothing is left.
    pub step: Option<Step>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The step is looked at.
    Looking,
    /// It is still at it.
    Waiting {
        /// For how long.
        so_far: Duration,
        /// Its deadline.
        at_most: Duration,
    },
    /// This was recorded.
    Recorded(Entry),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.of.to_string().len();
        write!(f, "{:>width$}/{} ", self.number, self.of)?;
        if let Some(step) = &self.step {
            write!(f, "{step}: ")?;
        }
        match &self.what {
            What::Looking => f.write_str("looking"),
            What::Waiting { so_far, at_most } => {
                write!(f, "still at it, {} of at most {}", time(*so_far), time(*at_most))
            }
            What::Recorded(entry) => match entry {
                Entry::Intended { .. } => f.write_str("not done yet, doing it"),
                Entry::Acted { facts, .. } => write!(f, "looking again{}", Shown(facts)),
                Entry::Done { facts, .. } => write!(f, "done{}", Shown(facts)),
                Entry::Stopped { stop, .. } => {
                    write!(f, "{}: {}: {}", stop.kind.name(), stop.reason, stop.way_out)
                }
                Entry::Resumed => f.write_str("resumed"),
                Entry::Abandoned { reason } => write!(f, "given up: {reason}"),
            },
        }
    }
}

/// Facts behind a word.
struct Shown<'f>(&'f Facts);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if place == 0 { " (" } else { ", " })?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// A time as a person says it, in whole seconds.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, seconds) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}
