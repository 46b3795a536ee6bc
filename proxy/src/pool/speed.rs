//! How fast a master is beside the others: what requests take on it, in parts of what they take on average.
//!
//! Each answer is held against the mean of its class, so that a master that happened to get the long catalogs is not called
//! slow for long; small requests, of which there are most, say it soonest.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// How much one answer counts: the last sixty or so make up the figure.
const WEIGHT: f64 = 1.0 / 64.0;
/// A single answer counts for no more: one that waited for a lock or a collection of garbage says little of the next.
const MOST: f64 = 4.0;
/// What is known of a master that has been sent nothing since is worth half after this: it may be another machine by then.
const HALVES: Duration = Duration::from_secs(10 * 60);

/// One master's.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// 1 is as fast as all together, 2 takes twice as long.
    takes: f64,
    seen: Option<Instant>,
}

impl Default for Speed {
    fn default() -> Self {
        Self { takes: 1.0, seen: None }
    }
}

impl Speed {
    /// A request took so many times the mean of its class.
    pub fn saw(&mut self, times: f64, now: Instant) {
        self.takes = self.takes(now);
        self.takes += (times.min(MOST) - self.takes) * WEIGHT;
        self.seen = Some(now);
    }

    /// How many times as long as on average requests take here.
    #[must_use]
    pub fn takes(&self, now: Instant) -> f64 {
        let Some(seen) = self.seen else { return self.takes };
        let ago = now.saturating_duration_since(seen).as_secs_f64() / HALVES.as_secs_f64();
        1.0 + (self.takes - 1.0) * 0.5_f64.powf(ago)
    }

    /// The same in steps of a fifth: masters within one step are equally fast, or what differs by chance would decide.
    #[must_use]
    pub fn rank(&self, now: Instant) -> i32 {
        // At most a few dozen either way.
        (self.takes(now).log2() * 4.0).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_master_that_takes_twice_as_long_is_found_out_within_a_hundred_answers() {
        let (mut slow, mut usual, now) = (Speed::default(), Speed::default(), start());
        for n in 0..100 {
            slow.saw(2.0, now);
            usual.saw(if n % 2 == 0 { 0.8 } else { 1.2 }, now);
        }
        assert!(slow.rank(now) > usual.rank(now), "{slow:?} {usual:?}");
        assert_eq!(usual.rank(now), 0);
    }

    #[test]
    fn one_answer_that_took_for_ever_makes_no_master_slow() {
        let (mut master, now) = (Speed::default(), start());
        master.saw(10_000.0, now);
        assert_eq!(master.rank(now), 0);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let (mut master, now) = (Speed::default(), start());
        (0..1000).for_each(|_| master.saw(4.0, now));
        assert_eq!(master.rank(now), 8);
        assert!((master.takes(now + HALVES) - 2.5).abs() < 0.01);
        assert_eq!(master.rank(now + HALVES * 10), 0);
    }
}
