//! How catalogs went within the last ten minutes, for whoever looks at the page: Prometheus keeps more and longer.
//!
//! Slots of ten seconds; in each, catalogs are counted by how long they took, in steps of a seventh. That is finer than
//! a line of the page is wide, and a slot has room for every catalog that a door can see.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use stagedoor_config::admin::overview::{Compile, Slot};

/// How long one slot is.
const SLOT_SECONDS: u32 = 10;
const SLOT: Duration = Duration::from_secs(SLOT_SECONDS as u64);
/// Ten minutes of them.
const SLOTS: usize = 60;
/// A minute of them.
const MINUTE: usize = 6;
/// The shortest that is told apart.
const SHORTEST: f64 = 0.01;
/// From one step to the next.
const FACTOR: f64 = 1.15;
/// Up to Puppet Server's 20 minutes: ln(1200 / 0.01) / ln(1.15).
const STEPS: usize = 84;

/// The last ten minutes.
#[derive(Debug)]
pub struct Recent {
    began: Instant,
    slots: Vec<Counts>,
}

#[derive(Debug, Clone)]
struct Counts {
    /// Counted from the beginning. What is here is of no other.
    number: u64,
    failed: u32,
    steps: [u32; STEPS + 1],
}

impl Recent {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, slots: vec![Counts::of(0); SLOTS] }
    }

    /// A catalog was compiled, and took this long.
    pub fn compiled(&mut self, took: Duration, now: Instant) {
        if let Some(count) = self.slot(now).and_then(|slot| slot.steps.get_mut(step(took))) {
            *count = count.saturating_add(1);
        }
    }

    /// A master could not make one.
    pub fn failed(&mut self, now: Instant) {
        if let Some(slot) = self.slot(now) {
            slot.failed = slot.failed.saturating_add(1);
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn read(&self, now: Instant) -> Compile {
        let last = self.number(now);
        let first = last.saturating_sub(SLOTS as u64 - 1);
        let mut all = Counts::of(0);
        let slots = (first..=last).map(|number| {
            let counts = self.slots.get(place(number)).filter(|counts| counts.number == number);
            counts.map_or_else(Slot::default, |counts| {
                all.add(counts);
                counts.slot()
            })
        });
        let slots: Vec<Slot> = slots.collect();
        Compile { all: all.slot(), per_second: per_second(&slots), slot_seconds: SLOT_SECONDS, slots }
    }

    fn slot(&mut self, now: Instant) -> Option<&mut Counts> {
        let number = self.number(now);
        let slot = self.slots.get_mut(place(number))?;
        if slot.number != number {
            *slot = Counts::of(number);
        }
        Some(slot)
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / SLOT.as_secs()
    }
}

impl Counts {
    const fn of(number: u64) -> Self {
        Self { number, failed: 0, steps: [0; STEPS + 1] }
    }

    fn add(&mut self, other: &Self) {
        self.failed = self.failed.saturating_add(other.failed);
        for (count, more) in self.steps.iter_mut().zip(&other.steps) {
            *count = count.saturating_add(*more);
        }
    }

    fn slot(&self) -> Slot {
        let compiled = self.steps.iter().fold(0_u32, |sum, count| sum.saturating_add(*count));
        let quantile = |part: f64| (compiled > 0).then(|| self.quantile(f64::from(compiled) * part));
        Slot { compiled, failed: self.failed, p50_seconds: quantile(0.5), p95_seconds: quantile(0.95) }
    }

    /// What so many took no longer than: the middle of the step that holds the last of them.
    fn quantile(&self, many: f64) -> f64 {
        let mut seen = 0.0;
        let at = self.steps.iter().position(|count| {
            seen += f64::from(*count);
            seen >= many
        });
        let exponent = at.unwrap_or(STEPS) as f64 + 0.5;
        SHORTEST * FACTOR.powf(exponent)
    }
}

/// Of the last minute: the slot that is not over would show less than there is.
fn per_second(slots: &[Slot]) -> f64 {
    let over = slots.split_last().map_or(slots, |(_, over)| over);
    let minute = over.get(over.len().saturating_sub(MINUTE)..).unwrap_or_default();
    let compiled: u32 = minute.iter().map(|slot| slot.compiled).sum();
    f64::from(compiled) / f64::from(SLOT_SECONDS * minute.len().max(1) as u32)
}

fn place(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between nothing and the number of steps"
)]
fn step(took: Duration) -> usize {
    let steps = (took.as_secs_f64().max(SHORTEST) / SHORTEST).ln() / FACTOR.ln();
    steps.clamp(0.0, STEPS as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn last(recent: &Recent, now: Instant) -> Slot {
        *recent.read(now).slots.last().unwrap()
    }

    #[test]
    fn half_and_most_of_a_slots_catalogs_are_told_to_a_seventh() {
        let now = start();
        let mut recent = Recent::new(now);
        for seconds in 1..=100 {
            recent.compiled(Duration::from_secs(seconds), now);
        }
        recent.failed(now);
        let slot = last(&recent, now);
        assert_eq!((slot.compiled, slot.failed), (100, 1));
        for (told, is) in [(slot.p50_seconds.unwrap(), 50.0), (slot.p95_seconds.unwrap(), 95.0)] {
            assert!((told / is - 1.0_f64).abs() < 0.15, "{told} of {is}");
        }
    }

    #[test]
    fn a_slot_is_over_after_ten_seconds_and_forgotten_after_ten_minutes() {
        let now = start();
        let mut recent = Recent::new(now);
        recent.compiled(Duration::from_secs(3), now);
        let later = now + SLOT;
        assert_eq!(last(&recent, later), Slot::default());
        assert_eq!(recent.read(later).slots.iter().map(|slot| slot.compiled).sum::<u32>(), 1);
        assert_eq!(recent.read(later).all.compiled, 1);
        assert_eq!((recent.read(now).per_second, recent.read(later).per_second), (0.0, 0.1));
        assert_eq!(recent.read(now + 6 * SLOT).per_second, 1.0 / 60.0);
        assert_eq!(recent.read(now + 7 * SLOT).per_second, 0.0, "it is more than a minute ago");
        let much_later = now + SLOT * SLOTS as u32;
        let read = recent.read(much_later);
        assert_eq!((read.slots.len(), read.slot_seconds), (SLOTS, 10));
        assert!(read.slots.iter().all(|slot| *slot == Slot::default()));
        recent.compiled(Duration::from_secs(3), much_later);
        assert_eq!(last(&recent, much_later).compiled, 1);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_step_each() {
        assert_eq!(step(Duration::ZERO), 0);
        assert_eq!(step(Duration::MAX), STEPS);
        assert_eq!(step(Duration::from_secs(1200)), STEPS - 1);
    }
}
