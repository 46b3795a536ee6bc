//! How fast a master is beside the others: what requests take on it, in parts of what they take on average.
//!
//! Each answer is held against the mean of its class, so that a master that happened to get the long catalogs is not called
//! slow for long; small requests, of which there are most, say it soonest.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// How many answers make up the figure.
const ANSWERS: f64 = 64.0;
/// Fewer say nothing: a master of which so little is known is asked like the fastest, or nothing would ever be known of it.
const FEW: f64 = 32.0;
/// A single answer counts for no more: one that waited for a lock or a collection of garbage says little of the next.
const MOST: f64 = 4.0;
/// After so long an answer counts half. A server that has just started is slow until it has worked for a while; a master that
/// is called slow gets little, so that what is known of it has to fade for it to be asked again: two answers in three seconds
/// are what that costs.
const HALVED: Duration = Duration::from_secs(30);

/// One master's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Speed {
    /// 1 is as fast as all together were of late, 2 takes twice as long.
    takes: f64,
    /// What the answers that make it up counted when the latest came.
    answers: f64,
    seen: Option<Instant>,
}

impl Speed {
    /// A request took so many times the mean of its class.
    pub fn saw(&mut self, times: f64, now: Instant) {
        self.answers = (self.counts(now) + 1.0).min(ANSWERS);
        self.takes += (times.min(MOST) - self.takes) / self.answers;
        self.seen = Some(now);
    }

    /// How many times as long as on average requests take here; none where that is not known.
    #[must_use]
    pub fn takes(&self, now: Instant) -> Option<f64> {
        (self.counts(now) >= FEW).then_some(self.takes)
    }

    /// What its answers count now.
    fn counts(&self, now: Instant) -> f64 {
        let silent = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.answers * (-silent.as_secs_f64() / HALVED.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::pick;

    fn behind(takes: Option<f64>, fastest: f64) -> u32 {
        takes.map_or(0, |takes| pick::behind(takes, fastest))
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_master_that_takes_twice_as_long_is_found_out_within_fifty_answers() {
        let (mut slow, mut usual, now) = (Speed::default(), Speed::default(), start());
        for n in 0..50 {
            slow.saw(2.0, now);
            usual.saw(if n % 2 == 0 { 0.8 } else { 1.2 }, now);
        }
        let fastest = usual.takes(now).unwrap();
        assert!(behind(slow.takes(now), fastest) > 0, "{slow:?} {usual:?}");
        assert_eq!(behind(usual.takes(now), fastest), 0);
    }

    #[test]
    fn a_master_of_which_nothing_is_known_is_asked_like_the_fastest() {
        let (mut new, now) = (Speed::default(), start());
        assert_eq!(behind(new.takes(now), 0.2), 0);
        (1..FEW as u32).for_each(|_| new.saw(4.0, now));
        assert_eq!(behind(new.takes(now), 0.2), 0);
        new.saw(4.0, now);
        assert!(behind(new.takes(now), 0.2) > 0);
    }

    #[test]
    fn a_slow_master_is_asked_again_soon_and_is_known_as_fast_within_minutes_of_being_so() {
        let (mut master, mut now) = (Speed::default(), start());
        (0..200).for_each(|_| master.saw(4.0, now));
        let (mut asked, began) = (0, now);
        // It is asked whenever it is not known to be slow, once a second at most.
        while behind(master.takes(now), 1.0) > 0 {
            now += Duration::from_secs(1);
            if behind(master.takes(now), 1.0) == 0 {
                master.saw(1.0, now);
                asked += 1;
            }
            assert!(now - began < Duration::from_secs(5 * 60), "{master:?}");
        }
        assert!((20..150).contains(&asked), "{asked}");
    }

    #[test]
    fn a_master_that_stays_slow_is_asked_no_more_than_it_takes_to_know() {
        let (mut master, start) = (Speed::default(), start());
        (0..200).for_each(|_| master.saw(2.0, start));
        let asked = (0..6000).map(|tenths| start + Duration::from_millis(100 * tenths)).filter(|now| {
            let asked = behind(master.takes(*now), 1.0) == 0;
            if asked {
                master.saw(2.0, *now);
            }
            asked
        });
        let asked = asked.count();
        assert!(asked < 600, "{asked} in ten minutes in which there were 6000 to give");
    }

    #[test]
    fn one_answer_that_took_for_ever_makes_no_master_slow() {
        let (mut master, now) = (Speed::default(), start());
        (0..ANSWERS as u32).for_each(|_| master.saw(1.0, now));
        master.saw(10_000.0, now);
        assert_eq!(behind(master.takes(now), 1.0), 0);
    }
}
