//! How many requests are asked once more.
//!
//! Asking again helps while something is wrong with one master. Where something is wrong with all of them each retry adds to
//! it, so retries are bounded by what is asked anyway: a fifth of it, and ten a second on a site with little to do.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// Retries that each request earns.
const EACH: f64 = 0.2;
/// Retries a second that are earned by nobody.
const A_SECOND: f64 = 10.0;
/// What is saved up at most: for what a master that is killed had in hand, and what comes until that is known.
const SAVED: f64 = 200.0;

/// What is left of retries.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    left: f64,
    at: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: SAVED, at: None }
    }
}

impl Budget {
    /// A request came.
    pub const fn earn(&mut self) {
        self.left = (self.left + EACH).min(SAVED);
    }

    /// Whether one may be asked once more, which is then counted.
    pub fn spend(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.left = (self.left + A_SECOND * since.as_secs_f64()).min(SAVED);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
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
    fn what_is_saved_is_spent_and_then_a_fifth_of_requests_or_ten_a_second_are_asked_again() {
        let (mut budget, now) = (Budget::default(), start());
        let spent = |budget: &mut Budget, now| (0..1000).filter(|_| budget.spend(now)).count();
        assert_eq!(spent(&mut budget, now), 200);
        (0..500).for_each(|_| budget.earn());
        assert_eq!(spent(&mut budget, now), 100);
        assert_eq!(spent(&mut budget, now + Duration::from_secs(3)), 30);
        assert_eq!(spent(&mut budget, now + Duration::from_secs(3600)), 200, "no more is saved");
    }
}
