//! What is done next in an enrollment: [`next`] decides, from what is done and what just happened.
//!
//! ```text
//!          ┌──────────────────────────── resumed ◄──────────────────────────┐
//!          ▼                                                                │
//! step ─► look ─► there ───────────────────────────────► done ─► next step  │
//!          └────► missing ─► intended ─► act ─► acted ─► look again ─► there │
//!                     any of them: refused, failed, paused, deadline ─► stopped, or a crash
//! ```
//!
//! The order cannot be skipped: [`ToLook`] and [`ToAct`], without which no step does anything, come out of [`next`]
//! alone; it gives an act only for the first step that is not done, after the intent was recorded; and a [`Progress`]
//! moves by recorded entries alone, each of which it accepts in its place or not at all. So a step that is before its
//! time, or an admission without every run and the check, is not a case that anybody has to refuse.
//!
//! Nothing here looks at a clock, a file or another machine.
//!
//! | file | holds |
//! |---|---|
//! | `plan` | the procedures, their steps and their order |
//! | `progress` | what is done, moved by recorded entries |
//! | `outcome` | what looking and acting come to; facts that are worth recording |
//! | `evidence` | whether runs that took place before came in their order |
//! | `report` | whether an ordered run has succeeded, from the reports of a node |
#![deny(clippy::disallowed_methods)]

pub mod evidence;
mod outcome;
mod plan;
mod progress;
pub mod report;
#[cfg(test)]
mod tests;

pub use outcome::{Acted, Facts, Looked, NotAFact, Stop, StopKind};
pub use plan::{MOST_STEPS, NotAPlan, NotAStep, Plan, Procedure, Step};
pub use progress::{Entry, Known, OutOfOrder, Progress, Standing};

use progress::Phase;

/// What just happened to the step under way.
#[derive(Debug)]
pub enum Happened {
    /// It was looked at.
    Looked(Looked),
    /// It was acted on.
    Acted(Acted),
}

/// What to do now.
#[derive(Debug)]
pub enum Now {
    /// Record this, then ask again with the progress after it.
    Record(Entry),
    /// Look whether the step is done already.
    Look(ToLook),
    /// Do it: its intent is recorded.
    Act(ToAct),
    /// Nothing, until somebody resumes it.
    Stopped(Step, Stop),
    /// Nothing: everything is done.
    Finished,
    /// Nothing: it was given up, for this reason.
    Abandoned(String),
}

/// The right to look at one step.
#[derive(Debug)]
pub struct ToLook {
    step: Step,
    known: Known,
    again: bool,
}

/// The right to act on one step. Whoever has it knows that every step before is done and recorded as done, and that
/// the intent is recorded. It is good for once.
#[derive(Debug)]
pub struct ToAct {
    step: Step,
    known: Known,
}

impl ToLook {
    /// For a plan: a look at any step, out of its turn. It gives no right to act.
    #[must_use]
    pub fn glance(step: &Step) -> Self {
        Self { step: step.clone(), known: Known::default(), again: false }
    }

    /// Which step.
    #[must_use]
    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// What earlier attempts recorded of it.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Whether it was acted on just now: what is still missing then has failed.
    #[must_use]
    pub const fn is_again(&self) -> bool {
        self.again
    }
}

impl ToAct {
    /// Which step.
    #[must_use]
    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// What was recorded of it, what was noted before the act included.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }
}

/// What to do now, given what is done and what just happened; nothing has happened yet at the beginning, after a
/// resumption and after each record.
#[must_use]
pub fn next(progress: &Progress, just: Option<Happened>) -> Now {
    let Some(step) = progress.step().cloned() else { return Now::Finished };
    let known = progress.known().clone();
    if let Some(just) = just {
        return Now::Record(entry(step, known, just, progress.phase()));
    }
    match progress.phase() {
        Phase::Look => Now::Look(ToLook { step, known, again: false }),
        Phase::LookAgain => Now::Look(ToLook { step, known, again: true }),
        Phase::Act => Now::Act(ToAct { step, known }),
        Phase::Stopped(stop) => Now::Stopped(step, stop.clone()),
        Phase::Abandoned(reason) => Now::Abandoned(reason.clone()),
    }
}

fn entry(step: Step, known: Known, just: Happened, phase: &Phase) -> Entry {
    match just {
        Happened::Looked(Looked::There(facts)) => Entry::Done { step, facts },
        Happened::Looked(Looked::Missing(_)) if *phase == Phase::LookAgain => {
            let reason = "it was done without an error, and is not to be seen";
            let way_out = "look at it by hand, then resume";
            Entry::Stopped { step, stop: Stop::new(StopKind::Failed, reason, way_out) }
        }
        // What was noted first stays: what came after it may be this step's own doing.
        Happened::Looked(Looked::Missing(noted)) => {
            Entry::Intended { step, noted: known.noted.unwrap_or(noted) }
        }
        Happened::Acted(Acted::Acted(facts)) => Entry::Acted { step, facts },
        Happened::Looked(Looked::Stop(stop)) | Happened::Acted(Acted::Stop(stop)) => {
            Entry::Stopped { step, stop }
        }
    }
}
