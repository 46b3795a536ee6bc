//! How each master's latest enrollment stands, for people and programs.

use std::path::PathBuf;

use serde::Serialize;

use super::{Folder, Found, JournalError, Read};
use crate::pipeline::Standing;
use crate::words::chain;

/// One master's latest enrollment.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its certname.
    pub master: String,
    /// `enroll`, `adopt` or `retire`; empty where the journal is not understood.
    pub procedure: &'static str,
    /// `under way`, `interrupted`, `refused`, `failed`, `paused`, `deadline`, `finished`, `given up` or `not understood`.
    pub state: &'static str,
    /// The first step that is not done; absent where none is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Steps that are done.
    pub done: usize,
    /// All of them.
    pub of: usize,
    /// When it began, and when the last line was written, by the clock of the machine that wrote them.
    pub begun: String,
    /// See `begun`.
    pub latest: String,
    /// What is wrong; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do; absent where nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
    /// Its file.
    pub journal: PathBuf,
}

/// How each master's latest enrollment stands, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn rows(folder: &Folder) -> Result<Vec<Row>, JournalError> {
    Ok(folder.latest()?.into_iter().map(Row::of).collect())
}

/// How many masters' latest enrollments are in each state.
#[must_use]
pub fn standings(folder: &Folder) -> Vec<(&'static str, i64)> {
    let rows = rows(folder).unwrap_or_default();
    let mut all: Vec<(&'static str, i64)> = Vec::new();
    for row in &rows {
        match all.iter_mut().find(|(state, _)| *state == row.state) {
            Some((_, count)) => *count += 1,
            None => all.push((row.state, 1)),
        }
    }
    all
}

impl Row {
    /// What a journal says, in a row.
    #[must_use]
    pub fn of(found: Found) -> Self {
        let Found { master, path: journal, busy, read } = found;
        let row = Self {
            master: master.to_string(),
            procedure: "",
            state: "not understood",
            step: None,
            done: 0,
            of: 0,
            begun: String::new(),
            latest: String::new(),
            reason: None,
            way_out: None,
            journal,
        };
        let Read { progress, begun, latest, torn, .. } = match read {
            Ok(read) => read,
            Err(error) => return Self { reason: Some(chain(&error)), ..row },
        };
        let row = Self {
            procedure: progress.plan().procedure().name(),
            done: progress.done(),
            of: progress.plan().steps().len(),
            step: progress.step().map(ToString::to_string),
            begun,
            latest,
            ..row
        };
        match progress.standing() {
            Standing::Finished => Self { state: "finished", ..row },
            Standing::Abandoned(reason) => Self { state: "given up", reason: Some(reason), ..row },
            _ if busy => Self { state: "under way", ..row },
            Standing::Stopped(_, stop) => Self {
                state: stop.kind.name(),
                reason: Some(stop.reason),
                way_out: Some(stop.way_out),
                ..row
            },
            Standing::Begun(_) => {
                let cut = (torn > 0).then(|| format!("its last line was cut off after {torn} bytes"));
                Self { state: "interrupted", reason: cut, ..row }
            }
        }
    }
}
