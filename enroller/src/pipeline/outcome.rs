//! What looking at a step and acting on it come to, and the facts that are worth recording.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most facts of one entry.
const MOST_FACTS: usize = 64;
/// The most bytes of a fact's value, of a reason and of a way out.
const LONGEST: usize = 1_024;
/// The most bytes of a fact's name.
const LONGEST_NAME: usize = 32;

/// What is seen of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is done, whoever did it. With what shows it.
    There(Facts),
    /// It is not done. With what is to be compared afterwards, such as a node's latest report.
    Missing(Facts),
    /// It cannot be done, or nobody can tell.
    Stop(Stop),
}

/// What acting on a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// It was done, as far as whoever did it says. With what tells it from others, such as a job's number.
    Acted(Facts),
    /// It was not, or nobody can tell.
    Stop(Stop),
}

/// Why an enrollment does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// What kind of stop.
    pub kind: StopKind,
    /// What is wrong, in words.
    pub reason: String,
    /// What to do, in words.
    pub way_out: String,
}

/// The kinds of stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopKind {
    /// Something is otherwise than it must be; a person has to change it.
    Refused,
    /// Something went wrong that may go right the next time.
    Failed,
    /// Something is needed from a person, such as a new token; nothing went wrong.
    Paused,
    /// The step's time is over; what it waited for may still come.
    Deadline,
}

impl Stop {
    /// A stop; words that are too long are cut.
    #[must_use]
    pub fn new(kind: StopKind, reason: impl AsRef<str>, way_out: impl AsRef<str>) -> Self {
        Self { kind, reason: plain(reason.as_ref()), way_out: plain(way_out.as_ref()) }
    }
}

impl StopKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Failed, Self::Paused, Self::Deadline];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Deadline => "deadline",
        }
    }

    /// Whether what was noted before is to be forgotten: the next attempt begins anew. While a step is paused or out
    /// of time, what it began may still end, and is told from older things by what was noted.
    #[must_use]
    pub const fn begins_anew(self) -> bool {
        matches!(self, Self::Refused | Self::Failed)
    }
}

/// Names and values that are worth recording: job numbers, reports' hashes, fingerprints. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

/// Why something is no fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected at most {MOST_FACTS} facts, named by lower-case letters and `_`, of at most {LONGEST} plain characters"
)]
pub struct NotAFact;

impl Facts {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// One fact more. A value that is too long is cut, and what cannot be printed is written out; a name that is none
    /// is a mistake of this program, and is left out.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if is_name(name) && self.0.len() < MOST_FACTS {
            self.0.insert(name.to_owned(), plain(value.as_ref()));
        }
        self
    }

    /// The value of a fact.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every fact, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same facts with each value changed.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self(self.0.iter().map(|(name, value)| (name.clone(), plain(&change(value)))).collect())
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let facts = BTreeMap::<String, String>::deserialize(from)?;
        let good = facts.len() <= MOST_FACTS
            && facts.iter().all(|(name, value)| is_name(name) && *value == plain(value));
        if good { Ok(Self(facts)) } else { Err(serde::de::Error::custom(NotAFact)) }
    }
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Fit for one line of a journal and of a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        let piece: String =
            if letter.is_control() { letter.escape_default().collect() } else { letter.into() };
        if out.len() + piece.len() > LONGEST {
            break;
        }
        out.push_str(&piece);
    }
    out
}
