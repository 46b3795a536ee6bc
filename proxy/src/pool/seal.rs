//! Whether a sealed master is sealed: what was shown by tests that come as a stranger.
//!
//! A sealed master believes identity headers, so whoever gets an answer from it can be any node. It is sent requests
//! only while its last verdict says that a stranger got none. Health counts answers and never empties the pool; here
//! one answer is enough, and the last master goes too. A test that came to no verdict changes nothing for a while:
//! a master must not leave because a test was slow, and must not stay because nobody can test it.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A stranger was answered; how, in words.
    Answered(String),
    /// Every stranger was refused, by a master that was there to refuse.
    Refused,
    /// It cannot be told: no connection, no end in time, somebody else's certificate. Why, in words.
    Unclear(String),
    /// The means of testing failed, whatever the master does. Why, in words. Only where a host outside the firewall is
    /// needed.
    Unable(String),
}

/// What is known of one sealed master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// No verdict since it joined, or since something may have changed. It gets no request.
    Untested {
        /// What the verdict waits for, in words.
        why: String,
    },
    /// Strangers were refused.
    Sealed {
        /// By the last test with a verdict.
        tested: Instant,
    },
    /// A stranger was answered. It gets no request.
    Unsealed {
        /// How, in words.
        why: String,
    },
    /// Nobody can test it, which is known and shown. It gets requests as if there were no test.
    Untestable {
        /// Why not, in words.
        why: String,
    },
}

/// When a test ended, and how long a verdict lasts where later tests come to none.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The time.
    pub now: Instant,
    /// How long.
    pub lasts: Duration,
}

/// What a test, or the loss of a verdict, changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is sealed now and was not known to be.
    Sealed,
    /// It is not.
    Unsealed,
    /// The verdict no longer counts.
    Untested,
    /// It is used without a verdict from now on.
    Untestable,
}

impl Seal {
    /// A master that joined now.
    #[must_use]
    pub fn new() -> Self {
        Self::Untested { why: "not tested yet".to_owned() }
    }

    /// Whether it may be sent requests.
    #[must_use]
    pub const fn lets_in(&self) -> bool {
        matches!(self, Self::Sealed { .. } | Self::Untestable { .. })
    }

    /// Why it is not known to be sealed and what that means, in words.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Sealed { .. } => None,
            Self::Untested { why } | Self::Unsealed { why } => Some(format!("gets no request: {why}")),
            Self::Untestable { why } => Some(format!("used all the same: {why}")),
        }
    }

    /// A test ended. `healthy` says that the master answered its last health check.
    pub fn tested(&mut self, outcome: Outcome, healthy: bool, at: At) -> Option<Turn> {
        let At { now, lasts } = at;
        let before = std::mem::discriminant(self);
        let old = match self {
            Self::Sealed { tested } => now.saturating_duration_since(*tested) >= lasts,
            Self::Untested { .. } | Self::Untestable { .. } => true,
            // Only a refusal says that the hole is closed.
            Self::Unsealed { .. } => false,
        };
        match outcome {
            Outcome::Answered(why) => *self = Self::Unsealed { why },
            Outcome::Refused => *self = Self::Sealed { tested: now },
            Outcome::Unable(why) if old => *self = Self::Untestable { why },
            // Where health fails, too, requests fail likewise, and an overloaded master must not be taken for a hole.
            Outcome::Unclear(why) if old => match self {
                Self::Untested { .. } => *self = Self::Untested { why },
                Self::Sealed { .. } if healthy => *self = Self::Untested { why },
                _ => {}
            },
            Outcome::Unable(_) | Outcome::Unclear(_) => {}
        }
        (std::mem::discriminant(self) != before).then_some(match self {
            Self::Untested { .. } => Turn::Untested,
            Self::Sealed { .. } => Turn::Sealed,
            Self::Unsealed { .. } => Turn::Unsealed,
            Self::Untestable { .. } => Turn::Untestable,
        })
    }

    /// What was tested may be another thing now: it was restarted, or has another address. One that is not sealed
    /// stays so until it refuses a stranger, and one that cannot be tested cannot be tested anew.
    pub fn lost(&mut self, why: &str) -> Option<Turn> {
        match self {
            Self::Sealed { .. } => {
                *self = Self::Untested { why: why.to_owned() };
                Some(Turn::Untested)
            }
            Self::Untested { .. } | Self::Unsealed { .. } | Self::Untestable { .. } => None,
        }
    }
}

impl Default for Seal {
    fn default() -> Self {
        Self::new()
    }
}
