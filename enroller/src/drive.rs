//! The loop: [`pipeline::next`] decides, a step acts, the journal records.
//!
//! A step looks, acts if it must, and looks again ([`Steps`]); running it twice is harmless. Time is kept here, for all
//! of them alike: a step whose deadline has passed is dropped where it stands, that is recorded, and whoever resumes
//! looks at what it left. Nothing is tried twice without a person: an enrollment changes what others rely on, and what
//! failed once is seen before it is done again.

#[cfg(test)]
mod tests;
mod told;

use std::pin::pin;
use std::time::Duration;

use stagedoor_config::enroller::Deadlines;
use tokio::time::{Instant, timeout};
pub use told::{Told, What};

use crate::journal::{Journal, JournalError};
use crate::pipeline::{self, Acted, Happened, Looked, Now, Progress, Step, Stop, StopKind, ToAct, ToLook};

/// How often somebody who waits is told that the step is still at it.
const BEAT: Duration = Duration::from_secs(15);

/// What does the steps.
///
/// Each is dropped where it waits once its deadline has passed, so whatever it began elsewhere must be found again by
/// looking: by what was noted before the act, and by what the act came to.
pub trait Steps {
    /// Looks whether a step is done, whoever did it, and changes nothing.
    fn look(&self, task: &ToLook) -> impl Future<Output = Looked> + Send;

    /// Does a step that was seen to be missing.
    fn act(&self, task: ToAct) -> impl Future<Output = Acted> + Send;
}

/// How a drive ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every step is done.
    Finished,
    /// This one does not go on.
    Stopped(Step, Stop),
    /// It was given up before.
    Abandoned(String),
}

/// Carries an enrollment on to its end or to where it stops; `tell` is told of everything that happens, once it is
/// recorded. Where somebody interrupts it, the step is dropped where it stands, and what he gives is its stop.
///
/// # Errors
/// The journal cannot be written. Nothing more is done then.
pub async fn drive(
    steps: &impl Steps,
    journal: &mut Journal,
    deadlines: &Deadlines,
    interrupted: impl Future<Output = Stop> + Send,
    tell: &mut (impl FnMut(&Told) + Send),
) -> Result<End, JournalError> {
    let mut interrupted = pin!(interrupted);
    let mut happened = None;
    let mut clock = Clock::of(journal.progress(), deadlines);
    loop {
        if clock.place != journal.progress().done() {
            clock = Clock::of(journal.progress(), deadlines);
        }
        match pipeline::next(journal.progress(), happened.take()) {
            Now::Record(entry) => {
                let place = Place::of(journal.progress());
                let entry = journal.append(entry)?;
                tell(&place.told(What::Recorded(entry)));
            }
            Now::Look(look) => {
                let place = Place::of(journal.progress());
                if !look.is_again() {
                    tell(&place.told(What::Looking));
                }
                let looked = tokio::select! {
                    biased;
                    stop = interrupted.as_mut() => Looked::Stop(stop),
                    looked = clock.within(steps.look(&look), |what| tell(&place.told(what))) => {
                        looked.unwrap_or_else(|| Looked::Stop(clock.over()))
                    }
                };
                happened = Some(Happened::Looked(looked));
            }
            Now::Act(act) => {
                let place = Place::of(journal.progress());
                let acted = tokio::select! {
                    biased;
                    stop = interrupted.as_mut() => Acted::Stop(stop),
                    acted = clock.within(steps.act(act), |what| tell(&place.told(what))) => {
                        acted.unwrap_or_else(|| Acted::Stop(clock.over()))
                    }
                };
                happened = Some(Happened::Acted(acted));
            }
            Now::Stopped(step, stop) => return Ok(End::Stopped(step, stop)),
            Now::Finished => return Ok(End::Finished),
            Now::Abandoned(reason) => return Ok(End::Abandoned(reason)),
        }
    }
}

/// One step's time, from its first look in this process.
struct Clock {
    /// How many steps were done when it began.
    place: usize,
    key: &'static str,
    time: Duration,
    began: Instant,
}

impl Clock {
    fn of(progress: &Progress, deadlines: &Deadlines) -> Self {
        let (key, time) = progress.step().map_or(("", Duration::ZERO), |step| deadline(step, deadlines));
        Self { place: progress.done(), key, time, began: Instant::now() }
    }

    /// What a step comes to; none once its time is over.
    async fn within<T>(&self, step: impl Future<Output = T>, mut tell: impl FnMut(What)) -> Option<T> {
        let mut step = pin!(step);
        loop {
            let left = self.time.saturating_sub(self.began.elapsed());
            if left.is_zero() {
                return None;
            }
            match timeout(BEAT.min(left), step.as_mut()).await {
                Ok(done) => return Some(done),
                Err(_) if self.began.elapsed() < self.time => {
                    tell(What::Waiting { so_far: self.began.elapsed(), at_most: self.time });
                }
                Err(_) => return None,
            }
        }
    }

    fn over(&self) -> Stop {
        let reason = format!("it was not seen to be done within {}", told::time(self.time));
        let way_out = format!(
            "see what keeps it, then resume, which looks at what it left; `{}` under [deadlines] gives it more time",
            self.key
        );
        Stop::new(StopKind::Deadline, reason, way_out)
    }
}

/// A step's key under `[deadlines]`, and what stands there.
#[must_use]
pub const fn deadline(step: &Step, deadlines: &Deadlines) -> (&'static str, Duration) {
    match step {
        Step::Preflight => ("preflight", deadlines.preflight),
        Step::Install => ("install", deadlines.install),
        Step::Sign => ("sign", deadlines.sign),
        Step::FirstRun => ("first_run", deadlines.first_run),
        Step::Classify => ("classify", deadlines.classify),
        Step::Run { .. } => ("ordered_run", deadlines.ordered_run),
        Step::Evidence { .. } => ("evidence", deadlines.evidence),
        Step::Seal => ("seal", deadlines.seal),
        Step::Check => ("check", deadlines.check),
        Step::Admit => ("admit", deadlines.admit),
        Step::Watch => ("watch", deadlines.watch),
        Step::Drain => ("drain", deadlines.drain),
        Step::TakeOff => ("retire", deadlines.retire),
        Step::StopAgent => ("stop_agent", deadlines.stop_agent),
        Step::Unpin => ("unpin", deadlines.unpin),
        Step::Deactivate => ("deactivate", deadlines.deactivate),
        Step::Revoke => ("revoke", deadlines.revoke),
    }
}

/// Where an enrollment is, for what is told of it.
struct Place {
    number: usize,
    of: usize,
    step: Option<Step>,
}

impl Place {
    fn of(progress: &Progress) -> Self {
        let of = progress.plan().steps().len();
        Self { number: progress.done().saturating_add(1).min(of), of, step: progress.step().cloned() }
    }

    fn told(&self, what: What) -> Told {
        Told { number: self.number, of: self.of, step: self.step.clone(), what }
    }
}
