//! What is done, moved by recorded entries: the same ones now and when a journal is read again.
#![deny(clippy::disallowed_methods)]

use super::outcome::plain;
use super::{Facts, Plan, Step, Stop};

/// Something that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The step is not done, and is about to be.
    Intended {
        /// Which.
        step: Step,
        /// What is to be compared afterwards.
        noted: Facts,
    },
    /// It was acted on.
    Acted {
        /// Which.
        step: Step,
        /// What tells it from others.
        facts: Facts,
    },
    /// It was seen to be done.
    Done {
        /// Which.
        step: Step,
        /// What shows it.
        facts: Facts,
    },
    /// It did not go on.
    Stopped {
        /// Which.
        step: Step,
        /// Why.
        stop: Stop,
    },
    /// Somebody takes it up again, after a stop or a crash.
    Resumed,
    /// Somebody gives it up.
    Abandoned {
        /// Why.
        reason: String,
    },
}

/// How far an enrollment has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    plan: Plan,
    done: usize,
    known: Known,
    phase: Phase,
}

/// What was recorded of the step under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// What was noted before it was acted on for the first time.
    pub noted: Option<Facts>,
    /// What the latest act came to.
    pub acted: Option<Facts>,
    /// Whether the master may have been admitted somewhere already: that was meant to be done, once.
    pub admitting: bool,
}

impl Known {
    /// Of a step that begins anew.
    const fn forgotten(&self) -> Self {
        Self { noted: None, acted: None, admitting: self.admitting }
    }
}

/// What the step under way waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Look,
    Act,
    LookAgain,
    Stopped(Stop),
    Abandoned(String),
}

/// How an enrollment stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This step is under way, or a crash has cut it off.
    Begun(Step),
    /// This step has stopped.
    Stopped(Step, Stop),
    /// Everything is done.
    Finished,
    /// It was given up.
    Abandoned(String),
}

/// An entry that does not follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} cannot follow here: expected {expected}")]
pub struct OutOfOrder {
    /// What stands there.
    pub found: String,
    /// What could.
    pub expected: String,
}

impl Progress {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, done: 0, known: Known::default(), phase: Phase::Look }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many steps are done.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    /// The first step that is not done; none when all are.
    #[must_use]
    pub fn step(&self) -> Option<&Step> {
        self.plan.steps().get(self.done)
    }

    /// That step, of an enrollment that is not over.
    #[must_use]
    pub fn step_left(&self) -> Option<&Step> {
        self.step().filter(|_| !self.is_over())
    }

    /// What was recorded of that step.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.step().is_none() || matches!(self.phase, Phase::Abandoned(_))
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.step(), &self.phase) {
            (_, Phase::Abandoned(reason)) => Standing::Abandoned(reason.clone()),
            (None, _) => Standing::Finished,
            (Some(step), Phase::Stopped(stop)) => Standing::Stopped(step.clone(), stop.clone()),
            (Some(step), _) => Standing::Begun(step.clone()),
        }
    }

    /// The progress after an entry.
    ///
    /// # Errors
    /// The entry does not follow from those before it.
    pub fn after(&self, entry: &Entry) -> Result<Self, OutOfOrder> {
        let out_of_order = |expected: String| Err(OutOfOrder { found: entry.words(), expected });
        let step = match self.step() {
            Some(step) if !self.is_over() => step,
            _ => return out_of_order("nothing, since it is over".to_owned()),
        };
        if entry.step().is_some_and(|named| named != step) {
            return out_of_order(format!("something about {step}, the first step that is not done"));
        }
        let mut next = self.clone();
        match (entry, &self.phase) {
            (Entry::Intended { noted, .. }, Phase::Look) => {
                next.known.noted = Some(noted.clone());
                next.known.admitting |= *step == Step::Admit;
                next.phase = Phase::Act;
            }
            (Entry::Acted { facts, .. }, Phase::Act) => {
                next.known.acted = Some(facts.clone());
                next.phase = Phase::LookAgain;
            }
            (Entry::Done { .. }, Phase::Look | Phase::LookAgain) => {
                next.done = self.done.saturating_add(1);
                next.known = self.known.forgotten();
                next.phase = Phase::Look;
            }
            (Entry::Stopped { stop, .. }, Phase::Look | Phase::Act | Phase::LookAgain) => {
                if stop.kind.begins_anew() {
                    next.known = self.known.forgotten();
                }
                next.phase = Phase::Stopped(stop.clone());
            }
            // A crash leaves no entry: it may come after any.
            (Entry::Resumed, _) => {
                next.phase = Phase::Look;
                // A proof is of its moment. Whoever takes an enrollment up before agents come to the master has it shown
                // again: hours may have passed, and a door may have come back that it was never shown through.
                match step {
                    Step::Check => next.known = Known::default(),
                    Step::Admit => {
                        next.known = self.known.forgotten();
                        next.done = self.done.saturating_sub(1);
                    }
                    _ => {}
                }
            }
            (Entry::Abandoned { reason }, _) => next.phase = Phase::Abandoned(reason.clone()),
            (_, phase) => return out_of_order(phase.expects()),
        }
        Ok(next)
    }
}

impl Phase {
    fn expects(&self) -> String {
        match self {
            Self::Look => "what was intended, or done",
            Self::Act => "what was acted",
            Self::LookAgain => "what was done",
            Self::Stopped(_) | Self::Abandoned(_) => "that it was resumed",
        }
        .to_owned()
    }
}

impl Entry {
    /// That it is given up, for a reason; one that is too long is cut.
    #[must_use]
    pub fn abandoned(reason: &str) -> Self {
        Self::Abandoned { reason: plain(reason) }
    }

    /// Which step it concerns; none where it concerns the whole.
    #[must_use]
    pub const fn step(&self) -> Option<&Step> {
        match self {
            Self::Intended { step, .. }
            | Self::Acted { step, .. }
            | Self::Done { step, .. }
            | Self::Stopped { step, .. } => Some(step),
            Self::Resumed | Self::Abandoned { .. } => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Intended { step, .. } => format!("an intent to {step}"),
            Self::Acted { step, .. } => format!("an act of {step}"),
            Self::Done { step, .. } => format!("{step} done"),
            Self::Stopped { step, stop } => format!("{step} {}", stop.kind.name()),
            Self::Resumed => "a resumption".to_owned(),
            Self::Abandoned { .. } => "an end".to_owned(),
        }
    }
}
