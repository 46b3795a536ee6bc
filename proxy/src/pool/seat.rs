//! A master's seats: as many as it has JRubies, each of which serves one request at a time.
//!
//! What this door has in the master's hands leads, since it is known to the moment. The master's own gauges are seconds
//! old and correct it: a JRuby that somebody else has borrowed is not free for us, and a pool that is locked for a deploy
//! or a flush serves nobody until it is unlocked.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use stagedoor_config::proxy::share::Share;

/// JRubies of a master of which nobody knows: Puppet Server's own most, unless somebody sets more. Too few would leave
/// JRubies idle for ever, since nothing would ever say so; too many only wait at the master, as they would without seats.
pub const ASSUMED: u32 = 4;

/// More JRubies than this no machine has; what a master says is added up.
const MOST: u32 = 4096;

/// How many questions may go unanswered before what the gauges said of others, or of a lock, counts no more.
const STALE: u32 = 3;

/// What a master says of its JRubies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// How many it has.
    pub jrubies: u32,
    /// How many of them are free.
    pub free: u32,
    /// Whether its pool is locked, or somebody waits to lock it, after which nothing more is served before.
    pub locked: bool,
}

/// One master's seats.
#[derive(Debug, Clone, Default)]
pub struct Seats {
    /// As the roster says.
    said: Option<u32>,
    told: Option<Told>,
    taken: u32,
    /// The most that were taken at once since the gauges were asked for.
    peak: u32,
}

/// What the latest gauges come to.
#[derive(Debug, Clone, Copy)]
struct Told {
    jrubies: u32,
    /// JRubies that others must have borrowed, since we had not so many requests there.
    others: u32,
    locked: bool,
    /// Until when that counts of others and of the lock.
    until: Instant,
}

/// Who says how many seats a master has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The roster.
    ByRoster,
    /// Its gauges.
    ByGauges,
    /// Nobody.
    Assumed,
}

impl Seats {
    /// Of a master of which the roster says so much.
    #[must_use]
    pub fn new(said: Option<u32>) -> Self {
        Self { said, ..Self::default() }
    }

    /// The roster says otherwise from now on.
    pub const fn say(&mut self, said: Option<u32>) {
        self.said = said;
    }

    /// The gauges are asked for. What is taken from here on may have been borrowed when they were read.
    pub const fn asks(&mut self) {
        self.peak = self.taken;
    }

    /// The gauges came, and are asked for again at this distance.
    pub fn tell(&mut self, gauges: Gauges, now: Instant, again: Duration) {
        let jrubies = gauges.jrubies.min(MOST);
        let borrowed = jrubies.saturating_sub(gauges.free);
        self.told = Some(Told {
            jrubies,
            // Ours are borrowed after they are taken and returned before they are given back: never more than `peak`.
            others: borrowed.saturating_sub(self.peak),
            locked: gauges.locked,
            until: now + again * STALE,
        });
    }

    /// How many JRubies it has, and who says so. The roster counts before the gauges: somebody wrote it on purpose.
    #[must_use]
    pub fn jrubies(&self) -> (u32, Known) {
        match (self.said, self.told) {
            (Some(said), _) => (said.max(1), Known::ByRoster),
            (None, Some(told)) => (told.jrubies.max(1), Known::ByGauges),
            (None, None) => (ASSUMED, Known::Assumed),
        }
    }

    /// How many more requests it may be given.
    #[must_use]
    pub fn free(&self, share: Share, now: Instant) -> u32 {
        if self.locked(now) {
            return 0;
        }
        let (all, _) = self.jrubies();
        let ours = share.part_of(all);
        // One is always ours: whoever never lets go of the others must not shut us out.
        let left = all.saturating_sub(self.others(now)).max(1);
        ours.min(left).saturating_sub(self.taken)
    }

    /// How many are this door's.
    #[must_use]
    pub fn ours(&self, share: Share) -> u32 {
        share.part_of(self.jrubies().0)
    }

    /// How many requests of this door's hold one.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.taken
    }

    /// How many JRubies others have borrowed, as far as that is known.
    #[must_use]
    pub fn others(&self, now: Instant) -> u32 {
        self.lately(now).map_or(0, |told| told.others)
    }

    /// Whether its pool is locked, as far as that is known.
    #[must_use]
    pub fn locked(&self, now: Instant) -> bool {
        self.lately(now).is_some_and(|told| told.locked)
    }

    fn lately(&self, now: Instant) -> Option<Told> {
        self.told.filter(|told| now < told.until)
    }

    /// One is taken.
    pub fn take(&mut self) {
        self.taken += 1;
        self.peak = self.peak.max(self.taken);
    }

    /// One is given back.
    pub fn give_back(&mut self) {
        debug_assert!(self.taken > 0, "a seat is given back once");
        self.taken = self.taken.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    const EVERY: Duration = Duration::from_secs(5);

    fn gauges(jrubies: u32, free: u32) -> Gauges {
        Gauges { jrubies, free, locked: false }
    }

    #[test]
    fn the_roster_counts_before_the_gauges_and_those_before_what_is_assumed() {
        let now = start();
        let mut seats = Seats::new(None);
        assert_eq!(seats.jrubies(), (ASSUMED, Known::Assumed));
        seats.tell(gauges(6, 6), now, EVERY);
        assert_eq!(seats.jrubies(), (6, Known::ByGauges));
        seats.say(Some(2));
        assert_eq!(seats.jrubies(), (2, Known::ByRoster));
        assert_eq!(seats.free(Share::WHOLE, now), 2);
    }

    #[test]
    fn a_jruby_that_somebody_else_has_borrowed_is_not_free_until_that_is_old_news() {
        let now = start();
        let mut seats = Seats::new(None);
        seats.take();
        seats.asks();
        seats.tell(gauges(4, 1), now, EVERY);
        assert_eq!((seats.others(now), seats.free(Share::WHOLE, now)), (2, 1));
        assert_eq!(seats.free(Share::WHOLE, now + EVERY * STALE), 3);
    }

    #[test]
    fn a_request_of_ours_that_came_and_went_while_the_gauges_were_asked_for_is_nobody_elses() {
        let now = start();
        let mut seats = Seats::new(None);
        seats.asks();
        seats.take();
        seats.give_back();
        seats.tell(gauges(4, 3), now, EVERY);
        assert_eq!((seats.others(now), seats.free(Share::WHOLE, now)), (0, 4));
    }

    #[test]
    fn a_locked_pool_is_given_nothing_and_serves_again_when_it_says_so_or_nothing_more_is_heard() {
        let now = start();
        let mut seats = Seats::new(Some(4));
        seats.tell(Gauges { locked: true, ..gauges(4, 4) }, now, EVERY);
        assert_eq!(seats.free(Share::WHOLE, now), 0);
        assert_eq!(seats.free(Share::WHOLE, now + EVERY * STALE), 4);
        seats.tell(gauges(4, 4), now, EVERY);
        assert_eq!(seats.free(Share::WHOLE, now), 4);
    }

    #[test]
    fn whoever_never_lets_go_of_every_jruby_does_not_shut_this_door_out() {
        let now = start();
        let mut seats = Seats::new(None);
        seats.tell(gauges(4, 0), now, EVERY);
        assert_eq!(seats.free(Share::WHOLE, now), 1);
        seats.take();
        assert_eq!(seats.free(Share::WHOLE, now), 0);
    }
}
