//! How an enrollment goes, told to every door for whoever looks at its page.
//!
//! Beside the work, never in its way: a door that cannot be told, or is too old to listen, shows nothing, and the journal has
//! all of it anyway.

use std::pin::pin;
use std::time::Duration;

use stagedoor_config::admin::enrollment::{Enrollment, LONGEST_WORDS, Step, StepState};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::doors::AskedDoor;
use crate::drive::{Told, What};
use crate::pipeline::{Entry, Plan, Progress};
use crate::site::Site;

/// For one door to take it.
const PATIENCE: Duration = Duration::from_secs(5);
/// For all doors to take the last of it, when the work is over and somebody waits for the command.
const LAST: Duration = Duration::from_secs(3);

/// What the doors are to know.
pub struct Bulletin {
    latest: watch::Sender<Enrollment>,
}

impl Bulletin {
    /// Of an enrollment that stands there.
    #[must_use]
    pub fn of(progress: &Progress) -> Self {
        Self { latest: watch::Sender::new(standing(progress.plan(), progress.done(), None)) }
    }

    /// Something happened.
    pub fn happened(&self, plan: &Plan, told: &Told) {
        let before = told.number.saturating_sub(1);
        let now = match &told.what {
            What::Recorded(Entry::Done { .. }) => standing(plan, told.number, None),
            What::Recorded(Entry::Stopped { stop, .. }) => standing(plan, before, Some(&stop.reason)),
            What::Recorded(Entry::Abandoned { reason }) => standing(plan, before, Some(reason)),
            _ => standing(plan, before, None),
        };
        self.latest.send_if_modified(|latest| {
            let differs = *latest != now;
            *latest = now;
            differs
        });
    }

    /// Tells every door while `work` goes on, and the end of it.
    pub async fn beside<T>(&self, site: &Site, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut news = self.latest.subscribe();
        news.mark_changed();
        let done = loop {
            let telling = async {
                // The sender is our own, so it cannot be gone.
                news.changed().await.ok();
                let latest = news.borrow_and_update().clone();
                tell(site, &latest).await;
            };
            tokio::select! {
                biased;
                done = work.as_mut() => break done,
                () = telling => {}
            }
        };
        let latest = self.latest.borrow().clone();
        timeout(LAST, tell(site, &latest)).await.ok();
        done
    }
}

async fn tell(site: &Site, enrollment: &Enrollment) {
    for door in AskedDoor::all(site) {
        // Whatever became of it: there is nobody to tell.
        timeout(PATIENCE, door.enrolls(enrollment)).await.ok();
    }
}

/// So many steps are done, and the next is under way, or failed with why.
fn standing(plan: &Plan, done: usize, failed: Option<&str>) -> Enrollment {
    let step = |(at, step): (usize, &crate::pipeline::Step)| {
        let (state, why) = match (at.cmp(&done), failed) {
            (std::cmp::Ordering::Less, _) => (StepState::Done, None),
            (std::cmp::Ordering::Equal, Some(why)) => (StepState::Failed, Some(clipped(why))),
            (std::cmp::Ordering::Equal, None) => (StepState::Begun, None),
            (std::cmp::Ordering::Greater, _) => (StepState::Waits, None),
        };
        Step { name: clipped(&step.to_string()), state, why }
    };
    Enrollment {
        certname: plan.master().clone(),
        at: 0,
        procedure: plan.procedure().name().to_owned(),
        steps: plan.steps().iter().enumerate().map(step).collect(),
    }
}

fn clipped(words: &str) -> String {
    let mut end = words.len().min(LONGEST_WORDS);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use stagedoor_config::certname::Certname;

    use super::*;
    use crate::pipeline::{Facts, Procedure, Stop, StopKind};

    #[test]
    fn doors_are_told_which_steps_are_done_and_why_one_failed() {
        let name = |text: &str| Certname::parse(text).unwrap();
        let stages = [vec![name("c3.example.com")], vec![name("puppetdb.example.com")]];
        let plan = Plan::new(Procedure::Enroll, name("c3.example.com"), &stages).unwrap();
        let bulletin = Bulletin::of(&Progress::new(plan.clone()));
        let states = || bulletin.latest.borrow().steps.iter().map(|step| step.state).collect::<Vec<_>>();
        assert_eq!(states()[..2], [StepState::Begun, StepState::Waits]);
        let (step, of) = (plan.steps()[0].clone(), plan.steps().len());
        let told = |what| Told { number: 1, of, step: Some(step.clone()), what };
        bulletin
            .happened(&plan, &told(What::Recorded(Entry::Done { step: step.clone(), facts: Facts::none() })));
        assert_eq!(states()[..2], [StepState::Done, StepState::Begun]);
        let stop = Stop::new(StopKind::Refused, "é".repeat(LONGEST_WORDS), "resume");
        bulletin.happened(&plan, &told(What::Recorded(Entry::Stopped { step: step.clone(), stop })));
        let latest = bulletin.latest.borrow().clone();
        assert_eq!(latest.steps[0].state, StepState::Failed);
        assert_eq!(latest.steps[0].why.as_ref().unwrap().len(), LONGEST_WORDS);
        assert_eq!((latest.mistake(), latest.procedure.as_str()), (None, "enroll"));
    }
}
