//! What is found out about masters from beside the path: by probes, by requests that cannot be connected, by their uptime, and
//! by tests of their seal.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use super::State;
use crate::pool::health::Verdict;
use crate::pool::seal::{At, Outcome, Turn};

/// A process that seems to have been started later by no more than this was not: clocks differ a little.
const CLOCKS: Duration = Duration::from_secs(10);

impl State {
    /// A probe came to an end, `bad` with why; answers with the new verdict when it flipped.
    pub fn probed(&mut self, id: u32, bad: Option<String>, rise: u32, fall: u32) -> Option<Verdict> {
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        let flipped = live.health.observe(bad.is_none(), rise, fall);
        live.why = bad;
        if flipped == Some(Verdict::Fit) {
            // It may have been started anew, or be another machine.
            (live.speed, live.caches) = Default::default();
        }
        flipped
    }

    /// A request could not be connected to a master; answers with the new verdict when that flipped it.
    pub fn unconnected(&mut self, id: u32, why: &str, fall: u32) -> Option<Verdict> {
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        let flipped = live.health.unconnected(fall);
        if flipped.is_some() {
            live.why = Some(why.to_owned());
        }
        flipped
    }

    /// A master that was asked at this time says for how long its process has been up; true where it was started anew since it
    /// said so before. An answer may take as long as it likes: that makes no master a new one.
    pub fn has_been_up(&mut self, id: u32, time: Duration, asked: Instant, now: Instant) -> bool {
        let Some(live) = self.masters.iter_mut().find(|live| live.id == id) else { return false };
        let (Some(earliest), Some(latest)) = (asked.checked_sub(time), now.checked_sub(time)) else {
            return false;
        };
        let before = live.started.replace(latest);
        let anew = before.is_some_and(|before| earliest.saturating_duration_since(before) > CLOCKS);
        if anew {
            (live.speed, live.caches) = Default::default();
            live.ejection.starts(now);
        }
        anew
    }

    /// A test of a master's seal begins; the number is for its end.
    #[must_use]
    pub fn seal_test_begins(&self, id: u32) -> Option<u32> {
        self.masters.iter().find(|live| live.id == id).map(|live| live.losses)
    }

    /// The test that began with this number ended; answers with what that changed.
    pub fn seal_tested(&mut self, id: u32, begun: u32, outcome: Outcome, at: At) -> Option<Turn> {
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        let outcome = match outcome {
            // It was another thing that refused.
            Outcome::Refused if begun != live.losses => return None,
            other => other,
        };
        let healthy = live.health.verdict() == Verdict::Fit && live.why.is_none();
        live.seal.as_mut()?.tested(outcome, healthy, at)
    }

    /// What is known of a master's seal may no longer hold, and why; answers with what that changed.
    pub fn seal_lost(&mut self, id: u32, why: &str) -> Option<Turn> {
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        live.losses = live.losses.wrapping_add(1);
        live.seal.as_mut()?.lost(why)
    }
}
