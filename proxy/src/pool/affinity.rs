//! Which open master an address was passed to last.
//!
//! A run makes several connections, and what it asks for in the later ones (plugins, files of its catalog) is best
//! known to the master that had the earlier ones. An address therefore goes back to its master while that has no more
//! than its share ([`super::pick::Want::Stay`]).
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// Addresses that are remembered: enough for the largest sites, 1.5 MiB once the first is passed, and never more.
const REMEMBERED: usize = 1 << 16;

/// How long an address is remembered after its last connection. Agents run each half hour: an hour bridges a run that
/// was missed, and one that stays away longer finds a new master as anybody does.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// A table with one place for each hash of an address; of two in one place, the later is remembered.
#[derive(Debug, Default)]
pub struct Affinity {
    /// Empty until the first address is remembered: most doors pass nothing.
    places: Vec<Option<Place>>,
    began: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The whole hash, to tell addresses in one place apart.
    source: u64,
    master: u32,
    /// Seconds since the table began.
    at: u32,
}

impl Affinity {
    /// The number of the master that had this address last, unless that is too long ago.
    #[must_use]
    pub fn home(&self, source: u64, now: Instant) -> Option<u32> {
        let place = self.places.get(at(source))?.as_ref().filter(|place| place.source == source)?;
        let age = self.seconds(now).saturating_sub(place.at);
        (Duration::from_secs(age.into()) < FORGOTTEN).then_some(place.master)
    }

    /// This master has it now.
    pub fn settle(&mut self, source: u64, master: u32, now: Instant) {
        self.began.get_or_insert(now);
        if self.places.is_empty() {
            self.places = vec![None; REMEMBERED];
        }
        let seconds = self.seconds(now);
        if let Some(place) = self.places.get_mut(at(source)) {
            *place = Some(Place { source, master, at: seconds });
        }
    }

    fn seconds(&self, now: Instant) -> u32 {
        let since = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }
}

fn at(source: u64) -> usize {
    usize::try_from(source % REMEMBERED as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_address_is_remembered_for_an_hour_after_its_last_connection() {
        let (mut affinity, now) = (Affinity::default(), start());
        assert_eq!(affinity.home(7, now), None);
        affinity.settle(7, 3, now);
        let later = now + Duration::from_secs(59 * 60);
        assert_eq!(affinity.home(7, later), Some(3));
        affinity.settle(7, 4, later);
        assert_eq!(affinity.home(7, later + Duration::from_secs(59 * 60)), Some(4));
        assert_eq!(affinity.home(7, later + Duration::from_secs(60 * 60)), None);
    }

    #[test]
    fn of_two_addresses_in_one_place_the_later_is_remembered_and_never_taken_for_the_other() {
        let (mut affinity, now) = (Affinity::default(), start());
        let other = 7 + REMEMBERED as u64;
        affinity.settle(7, 3, now);
        assert_eq!(affinity.home(other, now), None);
        affinity.settle(other, 4, now);
        assert_eq!((affinity.home(7, now), affinity.home(other, now)), (None, Some(4)));
    }

    #[test]
    fn a_table_that_remembers_nobody_takes_no_memory() {
        assert_eq!(Affinity::default().places.capacity(), 0);
        assert_eq!(size_of::<Option<Place>>(), 24);
    }
}
