//! A journal's text: entries ⇄ lines of JSON.
//!
//! Each line is numbered, so that one which is missing or stands twice is seen. The bytes after the last line's end
//! are what a crash left of a line that nothing was done for yet. Every field of a line is one that this program
//! writes there; the first line says the version, and what a newer program wrote is not judged by this one's rules.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};
use stagedoor_config::certname::Certname;
use stagedoor_config::master::is_host_and_port;

use crate::pipeline::{
    Entry, Facts, NotAPlan, NotAStep, OutOfOrder, Plan, Procedure, Progress, Stop, StopKind,
};

/// The version of the format that this program reads and writes.
pub const VERSION: u64 = 1;

/// The most bytes of a journal: thousands of stops and resumptions of the longest plan that a site has. More is a
/// resumption in a loop.
pub const LARGEST: u64 = 8 << 20;

/// The most bytes of a line's time.
const LONGEST_TIME: usize = 40;

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// How far the enrollment has come.
    pub progress: Progress,
    /// When it began, as that machine's clock said.
    pub begun: String,
    /// When the last line was written.
    pub latest: String,
    /// Whole lines.
    pub lines: u64,
    /// Their bytes.
    pub whole: u64,
    /// Bytes after the last whole line.
    pub torn: u64,
}

/// Why some bytes are no journal.
#[derive(Debug, thiserror::Error)]
pub enum NotAJournal {
    /// Not even its first line is whole.
    #[error("expected at least one whole line")]
    NoLine,
    /// Another program's.
    #[error("line 1: expected version {VERSION}, not {found}: use the program that wrote it, or a newer one")]
    Version {
        /// What it says.
        found: u64,
    },
    /// More than [`LARGEST`] bytes.
    #[error("expected at most {LARGEST} bytes")]
    TooLarge,
    /// A line that is not understood.
    #[error("line {line}: expected a line as stagedoor-enroller writes it")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Why not.
        #[source]
        source: WrongLine,
    },
}

/// Why a line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum WrongLine {
    /// Not JSON, or not with these fields.
    #[error("its fields cannot be read")]
    Fields(#[from] serde_json::Error),
    /// Not in its place.
    #[error("its number is {found}")]
    Number {
        /// What it says.
        found: u64,
    },
    /// Fields that do not go together.
    #[error("`{what}` has other fields")]
    Shape {
        /// What it records.
        what: &'static str,
    },
    /// No step.
    #[error(transparent)]
    Step(#[from] NotAStep),
    /// No plan.
    #[error(transparent)]
    Plan(#[from] NotAPlan),
    /// Not after those before it.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    n: u64,
    at: String,
    what: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    procedure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<Certname>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stages: Option<Vec<Vec<Certname>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Begun,
    Intended,
    Acted,
    Done,
    Refused,
    Failed,
    Paused,
    Deadline,
    #[default]
    Resumed,
    Abandoned,
}

/// The first line of a journal.
pub(super) fn begin(plan: &Plan, at: &str) -> String {
    text(&Line {
        n: 1,
        at: at.to_owned(),
        what: What::Begun,
        version: Some(VERSION),
        procedure: Some(plan.procedure().name().to_owned()),
        master: Some(plan.master().clone()),
        address: (!plan.is_at_its_name()).then(|| plan.address().to_owned()),
        stages: Some(plan.stages().to_vec()),
        ..Line::default()
    })
}

/// Another line.
pub(super) fn render(n: u64, at: &str, entry: &Entry) -> String {
    let line = Line { n, at: at.to_owned(), step: entry.step().map(ToString::to_string), ..Line::default() };
    let line = match entry {
        Entry::Intended { noted, .. } => Line { what: What::Intended, facts: Some(noted.clone()), ..line },
        Entry::Acted { facts, .. } => Line { what: What::Acted, facts: Some(facts.clone()), ..line },
        Entry::Done { facts, .. } => Line { what: What::Done, facts: Some(facts.clone()), ..line },
        Entry::Stopped { stop, .. } => Line {
            what: What::of(stop.kind),
            reason: Some(stop.reason.clone()),
            way_out: Some(stop.way_out.clone()),
            ..line
        },
        Entry::Resumed => line,
        Entry::Abandoned { reason } => Line { what: What::Abandoned, reason: Some(reason.clone()), ..line },
    };
    text(&line)
}

/// Nothing in a line can fail to be JSON: its maps have texts for keys.
fn text(line: &Line) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

/// What a journal's bytes say, up to its last whole line.
///
/// # Errors
/// Not even the first line is whole, or one is not understood.
pub(super) fn read(bytes: &[u8]) -> Result<Read, NotAJournal> {
    let size = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    if size(bytes.len()) > LARGEST {
        return Err(NotAJournal::TooLarge);
    }
    let mut rest = bytes;
    let mut read: Option<Read> = None;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let number = read.as_ref().map_or(0, |read| read.lines).saturating_add(1);
        let wrong = |source| NotAJournal::Line { line: number, source };
        let after = match read {
            None => {
                version(line)?;
                first(line).map_err(wrong)?
            }
            Some(before) => next(before, line, number).map_err(wrong)?,
        };
        read = Some(Read { lines: number, whole: size(bytes.len() - rest.len()), ..after });
    }
    let read = read.ok_or(NotAJournal::NoLine)?;
    Ok(Read { torn: size(rest.len()), ..read })
}

/// Read before anything else is: a newer version may have other fields.
fn version(line: &[u8]) -> Result<(), NotAJournal> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    match serde_json::from_slice::<Version>(line) {
        Ok(Version { version: VERSION }) => Ok(()),
        Ok(Version { version: found }) => Err(NotAJournal::Version { found }),
        Err(error) => Err(NotAJournal::Line { line: 1, source: error.into() }),
    }
}

fn fields(text: &[u8]) -> Result<Line, WrongLine> {
    let line: Line = serde_json::from_slice(text)?;
    // It is shown to people as it stands.
    let is_time =
        (1..=LONGEST_TIME).contains(&line.at.len()) && line.at.bytes().all(|byte| byte.is_ascii_graphic());
    if is_time { Ok(line) } else { Err(WrongLine::Shape { what: line.what.name() }) }
}

fn first(text: &[u8]) -> Result<Read, WrongLine> {
    let line = fields(text)?;
    if line.n != 1 {
        return Err(WrongLine::Number { found: line.n });
    }
    let shape = || WrongLine::Shape { what: "begun" };
    let Line {
        at, what: What::Begun, procedure, master, address, stages, step, facts, reason, way_out, ..
    } = line
    else {
        return Err(shape());
    };
    let (Some(word), Some(master), Some(stages), None, None, None, None) =
        (procedure, master, stages, step, facts, reason, way_out)
    else {
        return Err(shape());
    };
    let procedure =
        Procedure::ALL.into_iter().find(|procedure| procedure.name() == word).ok_or_else(shape)?;
    let plan = Plan::new(procedure, master, &stages)?;
    let plan = match address {
        None => plan,
        Some(address) if is_host_and_port(&address) => plan.at(address),
        Some(_) => return Err(shape()),
    };
    Ok(Read { progress: Progress::new(plan), latest: at.clone(), begun: at, lines: 1, whole: 0, torn: 0 })
}

fn next(before: Read, text: &[u8], number: u64) -> Result<Read, WrongLine> {
    let line = fields(text)?;
    if line.n != number {
        return Err(WrongLine::Number { found: line.n });
    }
    let at = line.at.clone();
    let progress = before.progress.after(&entry(line)?)?;
    Ok(Read { progress, latest: at, ..before })
}

fn entry(line: Line) -> Result<Entry, WrongLine> {
    let what = line.what;
    let shape = || WrongLine::Shape { what: what.name() };
    let Line {
        step,
        facts,
        reason,
        way_out,
        version: None,
        procedure: None,
        master: None,
        address: None,
        stages: None,
        ..
    } = line
    else {
        return Err(shape());
    };
    let step = step.map(|step| step.parse()).transpose()?;
    Ok(match (what, step, facts, reason, way_out) {
        (What::Intended, Some(step), Some(noted), None, None) => Entry::Intended { step, noted },
        (What::Acted, Some(step), Some(facts), None, None) => Entry::Acted { step, facts },
        (What::Done, Some(step), Some(facts), None, None) => Entry::Done { step, facts },
        (What::Resumed, None, None, None, None) => Entry::Resumed,
        (What::Abandoned, None, None, Some(reason), None) => Entry::Abandoned { reason },
        (what, Some(step), None, Some(reason), Some(way_out)) => {
            let kind = what.stop().ok_or_else(shape)?;
            Entry::Stopped { step, stop: Stop::new(kind, reason, way_out) }
        }
        _ => return Err(shape()),
    })
}

impl What {
    const fn of(kind: StopKind) -> Self {
        match kind {
            StopKind::Refused => Self::Refused,
            StopKind::Failed => Self::Failed,
            StopKind::Paused => Self::Paused,
            StopKind::Deadline => Self::Deadline,
        }
    }

    fn stop(self) -> Option<StopKind> {
        StopKind::ALL.into_iter().find(|kind| Self::of(*kind) == self)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Intended => "intended",
            Self::Acted => "acted",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Deadline => "deadline",
            Self::Resumed => "resumed",
            Self::Abandoned => "abandoned",
        }
    }
}
