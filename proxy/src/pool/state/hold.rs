//! Catalogs kept in the queue while PuppetDB restarts: every one that was compiled meanwhile would fail.
//!
//! Never for longer than [`LONGEST`] from the first word on, however often it is said again, and after that not again for as
//! long, unless they were let go in between: agents wait, and whoever said it may be gone.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use stagedoor_config::admin::hold::LONGEST_SECONDS;

use super::State;

/// From the first word on.
const LONGEST: Duration = Duration::from_secs(LONGEST_SECONDS as u64);

/// Whether catalogs are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hold {
    /// From when, and until when.
    is: Option<(Instant, Instant)>,
}

impl Hold {
    fn keep(&mut self, time: Duration, now: Instant) -> Duration {
        if time.is_zero() {
            self.is = None;
            return Duration::ZERO;
        }
        let from = self.is.map(|(from, _)| from).filter(|from| now < *from + LONGEST * 2).unwrap_or(now);
        let until = (now + time).min(from + LONGEST);
        self.is = Some((from, until));
        until.saturating_duration_since(now)
    }

    /// How much longer catalogs are kept; none where they are not.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        let (_, until) = self.is?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

impl State {
    /// Keeps catalogs in the queue for so long from now on, or lets them go; how much longer they are kept.
    pub fn hold(&mut self, time: Duration, now: Instant) -> Duration {
        self.hold.keep(time, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn catalogs_are_kept_for_a_minute_at_most_however_often_it_is_asked_for() {
        let (mut hold, now) = (Hold::default(), start());
        assert_eq!(hold.left(now), None);
        assert_eq!(hold.keep(SECOND * 600, now), LONGEST);
        assert_eq!(hold.keep(SECOND * 60, now + SECOND * 50), SECOND * 10);
        assert_eq!(hold.left(now + SECOND * 59), Some(SECOND));
        assert_eq!(hold.left(now + LONGEST), None);
        assert_eq!(
            hold.keep(SECOND * 60, now + LONGEST),
            Duration::ZERO,
            "those who waited are to be served first"
        );
        assert_eq!(hold.keep(SECOND * 60, now + LONGEST * 2), LONGEST, "another one");
    }

    #[test]
    fn catalogs_are_let_go_when_that_is_said() {
        let (mut hold, now) = (Hold::default(), start());
        hold.keep(SECOND * 60, now);
        assert_eq!(hold.keep(Duration::ZERO, now + SECOND), Duration::ZERO);
        assert_eq!(hold.left(now + SECOND), None);
    }
}
