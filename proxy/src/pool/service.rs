//! How long requests of a class hold a seat, of late.
//!
//! Counts in buckets, two for each doubling, so that a request costs one addition and a quantile is at most half too long.
//! All counts are halved from time to time, so that what was long ago is forgotten.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use stagedoor_config::class::Class;

/// Two for each doubling of microseconds: up to more than an hour.
const BUCKETS: usize = 64;
/// After so many the counts are halved: minutes of a large site, and enough for a 95th percentile.
const MANY: u32 = 1024;
/// Fewer than so many say nothing of a 95th percentile.
const FEW: u32 = 20;

/// The times of every class.
#[derive(Debug)]
pub struct Service([Times; Class::ALL.len()]);

/// The times of one class.
#[derive(Debug, Clone, Copy)]
struct Times {
    buckets: [u32; BUCKETS],
    count: u32,
    sum: Duration,
}

impl Default for Service {
    fn default() -> Self {
        Self([Times { buckets: [0; BUCKETS], count: 0, sum: Duration::ZERO }; Class::ALL.len()])
    }
}

impl Service {
    /// A request of this class held its seat so long.
    pub fn took(&mut self, class: Class, time: Duration) {
        let Some(times) = self.0.get_mut(class.index()) else { return };
        if let Some(bucket) = times.buckets.get_mut(bucket(time)) {
            *bucket += 1;
            times.count += 1;
            times.sum = times.sum.saturating_add(time);
        }
        if times.count >= MANY {
            times.buckets.iter_mut().for_each(|bucket| *bucket /= 2);
            let left = times.buckets.iter().sum();
            times.sum = times.mean() * left;
            times.count = left;
        }
    }

    /// What nineteen in twenty do not exceed; nothing while too few have been seen.
    #[must_use]
    pub fn p95(&self, class: Class) -> Duration {
        self.0.get(class.index()).filter(|times| times.count >= FEW).map_or(Duration::ZERO, Times::p95)
    }

    /// The mean; nothing where none has been seen.
    #[must_use]
    pub fn mean(&self, class: Class) -> Duration {
        self.0.get(class.index()).map_or(Duration::ZERO, Times::mean)
    }

    /// How many times the mean of its class a request took; none while too few of it have been seen.
    #[must_use]
    pub fn times(&self, class: Class, took: Duration) -> Option<f64> {
        let times = self.0.get(class.index()).filter(|times| times.count >= FEW)?;
        let mean = times.mean().as_secs_f64();
        (mean > 0.0).then(|| took.as_secs_f64() / mean)
    }
}

impl Times {
    fn mean(&self) -> Duration {
        self.sum.checked_div(self.count).unwrap_or_default()
    }

    fn p95(&self) -> Duration {
        let mut above = self.count / 20;
        for (place, count) in self.buckets.iter().enumerate().rev() {
            if *count > above {
                return end_of(place);
            }
            above -= count;
        }
        Duration::ZERO
    }
}

/// By the highest bit of the microseconds and the one below it.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(2);
    let high = micros.ilog2();
    let half = (micros >> (high - 1)) & 1;
    (2 * high as usize + half as usize).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end_of(place: usize) -> Duration {
    let begin = 1_u64 << (place / 2);
    Duration::from_micros(if place.is_multiple_of(2) { begin + begin / 2 } else { 2 * begin })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_said_of_what_was_hardly_seen() {
        let mut service = Service::default();
        assert_eq!(service.mean(Class::Catalog), Duration::ZERO);
        service.took(Class::Catalog, 3000 * MILLISECOND);
        assert_eq!(service.mean(Class::Catalog), 3000 * MILLISECOND);
        assert_eq!(service.p95(Class::Catalog), Duration::ZERO);
        assert_eq!(service.mean(Class::Report), Duration::ZERO);
    }

    #[test]
    fn what_became_slower_is_slow_soon_and_what_was_long_ago_is_forgotten() {
        let mut service = Service::default();
        (0..5000).for_each(|_| service.took(Class::Catalog, 1000 * MILLISECOND));
        assert!(service.p95(Class::Catalog) < 1500 * MILLISECOND);
        (0..200).for_each(|_| service.took(Class::Catalog, 9000 * MILLISECOND));
        assert!(service.p95(Class::Catalog) >= 9000 * MILLISECOND);
        (0..5000).for_each(|_| service.took(Class::Catalog, 1000 * MILLISECOND));
        assert!(service.p95(Class::Catalog) < 1500 * MILLISECOND);
        let mean = service.mean(Class::Catalog);
        assert!(mean >= 990 * MILLISECOND && mean < 1100 * MILLISECOND, "{mean:?}");
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_too_short_and_at_most_half_too_long(micros in 100_u64..3_000_000_000) {
            let time = Duration::from_micros(micros);
            let mut service = Service::default();
            (0..FEW).for_each(|_| service.took(Class::Node, time));
            let p95 = service.p95(Class::Node);
            prop_assert!(p95 >= time && p95 <= time.mul_f64(1.51), "{p95:?} of {time:?}");
        }
    }
}
