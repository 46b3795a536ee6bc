//! What is counted with: counters, gauges, histograms and tallies, each a few relaxed atomics.
//!
//! prometheus-client's own histogram is one mutex shared by every core; these are not, and nothing here looks up a
//! label: a family is an array, or a handle that its user keeps. prometheus-client still writes the text
//! ([`super::scrape`]).
//!
//! A scrape reads while others count. Each number is right by itself; a histogram's count is the sum of the buckets
//! as they were read, so the two never disagree within one scrape.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count since the start.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// `n` more.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(level(n), Relaxed);
    }

    /// `n` less.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(level(n), Relaxed);
    }

    /// Exactly this.
    pub fn set(&self, to: i64) {
        self.0.store(to, Relaxed);
    }

    /// The level now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

fn level(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// One unit of a gauge, given back on drop, so that a task that ends in any way leaves the level right.
pub struct Held<T> {
    of: Arc<T>,
    gauge: fn(&T) -> &Gauge,
}

impl<T> Held<T> {
    /// Raises the gauge by one until this is dropped.
    #[must_use]
    pub fn one(of: &Arc<T>, gauge: fn(&T) -> &Gauge) -> Self {
        gauge(of).inc();
        Self { of: Arc::clone(of), gauge }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        (self.gauge)(&self.of).dec();
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// Upper bounds of a histogram's buckets, ascending; a twelfth bucket takes what is above the last.
///
/// Eleven, because a hundred masters times three phases times their series must stay under what one scrape of one
/// door may cost.
pub type Bounds = [Duration; 11];

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    buckets: [AtomicU64; 12],
    ticks: AtomicU64,
    tick: Tick,
}

/// What a histogram's sum counts in: 64 bits of nanoseconds are 584 years, of which a hundred certificates have all.
#[derive(Debug, Clone, Copy)]
enum Tick {
    Nanosecond,
    Second,
}

/// A histogram as it was read once.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bound in seconds, and how many fell between the bound before and this one.
    pub buckets: [(f64, u64); 12],
    /// All of them.
    pub count: u64,
    /// Seconds, all together.
    pub sum: f64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, buckets: Default::default(), ticks: AtomicU64::new(0), tick: Tick::Nanosecond }
    }

    /// An empty one for what takes years, summed in whole seconds.
    #[must_use]
    pub fn of_years(bounds: &'static Bounds) -> Self {
        Self { tick: Tick::Second, ..Self::new(bounds) }
    }

    /// It took this long.
    pub fn observe(&self, took: Duration) {
        let place = self.bounds.iter().position(|bound| took <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Relaxed);
        }
        let ticks = match self.tick {
            Tick::Nanosecond => u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Tick::Second => took.as_secs(),
        };
        self.ticks.fetch_add(ticks, Relaxed);
    }

    /// What it holds now.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds is read to a few digits")]
    pub fn read(&self) -> Reading {
        let ticks = self.ticks.load(Relaxed) as f64;
        let sum = match self.tick {
            Tick::Nanosecond => ticks / 1e9,
            Tick::Second => ticks,
        };
        let mut bounds = self.bounds.iter().map(Duration::as_secs_f64);
        let buckets =
            self.buckets.each_ref().map(|b| (bounds.next().unwrap_or(f64::INFINITY), b.load(Relaxed)));
        Reading { buckets, count: buckets.iter().map(|(_, n)| n).sum(), sum }
    }
}

/// Counters by a word of the program's own text.
///
/// The words are `&'static str`, so they are as many as the program spells; nobody outside can add one. Words known
/// beforehand stand at zero from the start, since Prometheus does not see the first step of a series that appears
/// with it.
#[derive(Debug)]
pub struct Tally {
    entries: [(OnceLock<&'static str>, Counter); TALLY],
    beyond: Counter,
}

/// More words than any tally of the door has; what would come after is counted as `other`.
const TALLY: usize = 64;

impl Tally {
    /// These words at zero.
    #[must_use]
    pub fn of(words: &[&'static str]) -> Self {
        let tally = Self {
            entries: std::array::from_fn(|_| (OnceLock::new(), Counter::default())),
            beyond: Counter::default(),
        };
        for word in words {
            tally.counter(word).add(0);
        }
        tally
    }

    /// One more for `word`.
    pub fn count(&self, word: &'static str) {
        self.counter(word).inc();
    }

    /// The handle to keep where `word` is counted often.
    #[must_use]
    pub fn counter(&self, word: &'static str) -> &Counter {
        self.entries
            .iter()
            .find_map(|(held, counter)| (*held.get_or_init(|| word) == word).then_some(counter))
            .unwrap_or(&self.beyond)
    }

    /// Every word so far with its count.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = self.entries.iter().map_while(|(word, count)| Some((*word.get()?, count.get())));
        let beyond = self.beyond.get();
        known.chain((beyond > 0).then_some(("other", beyond)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = {
        let mut bounds = [Duration::ZERO; 11];
        let mut i = 0;
        while i < 11 {
            bounds[i] = Duration::from_millis(10 * (i as u64 + 1));
            i += 1;
        }
        bounds
    };

    #[test]
    fn a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_pass() {
        let histogram = Histogram::new(&BOUNDS);
        for millis in [0, 10, 11, 110, 111, 9_000_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let read = histogram.read();
        let counts = read.buckets.map(|(_, n)| n);
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(read.count, 6);
        assert!((read.sum - 9000.242).abs() < 1e-9, "{}", read.sum);
        assert_eq!(read.buckets[0].0, 0.01);
        assert_eq!(read.buckets[11].0, f64::INFINITY);
    }

    #[test]
    fn a_sum_of_years_does_not_wrap() {
        let histogram = Histogram::of_years(&BOUNDS);
        for _ in 0..1000 {
            histogram.observe(Duration::from_secs(5 * 365 * 86_400));
        }
        let read = histogram.read();
        assert_eq!((read.count, read.sum), (1000, 1000.0 * 5.0 * 365.0 * 86_400.0));
    }

    #[test]
    fn nothing_is_lost_when_many_threads_count_at_once() {
        let histogram = Histogram::new(&BOUNDS);
        let tally = Tally::of(&["a"]);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (histogram, tally) = (&histogram, &tally);
                scope.spawn(move || {
                    for i in 0..10_000_u64 {
                        histogram.observe(Duration::from_millis((thread + i) % 120));
                        tally.count(if i % 2 == 0 { "a" } else { "b" });
                        let read = histogram.read();
                        assert_eq!(read.count, read.buckets.iter().map(|(_, n)| n).sum::<u64>());
                    }
                });
            }
        });
        let read = histogram.read();
        assert_eq!(read.count, 80_000);
        let expected: u64 = (0..8).flat_map(|t| (0..10_000).map(move |i| (t + i) % 120)).sum();
        assert!((read.sum - expected as f64 / 1e3).abs() < 1e-6);
        assert_eq!(tally.read().collect::<Vec<_>>(), [("a", 40_000), ("b", 40_000)]);
    }

    #[test]
    fn a_tally_never_grows_past_its_table() {
        let tally = Tally::of(&[]);
        for i in 0..TALLY + 5 {
            tally.count(Box::leak(format!("word{i}").into_boxed_str()));
        }
        let read: Vec<_> = tally.read().collect();
        assert_eq!(read.len(), TALLY + 1);
        assert_eq!(read.last(), Some(&("other", 5)));
    }
}
