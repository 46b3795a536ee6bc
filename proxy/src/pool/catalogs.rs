//! What one master made of catalogs: of agents' within the last minutes, by environment; of its canary's since it
//! joined.
//!
//! Counts are kept in slots of a minute, so that a master that fails now is not excused by a good hour before, and what
//! was counted before the last minutes costs nothing to forget. A decaying mean would need no slots and could not be
//! added up over several doors.
//!
//! Environments are named by agents, so a table of them must not grow: [`MOST`] are counted by name and the rest
//! together. A name is kept for what was compiled under it. One under which catalogs only failed gives its place up to one that
//! compiles; a catalog that was refused with 4xx, as for an environment that does not exist, never takes one.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use http::StatusCode;
use stagedoor_config::admin::catalogs as wire;

use crate::retry::Failure;

/// How many minutes are looked back on.
pub const MINUTES: u32 = 10;
/// The most environments counted by name: more than agents of one site are in at once, and 13 kB of one master's.
pub const MOST: usize = 32;

/// Whose catalog it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// An agent's in this environment; none where it named none.
    Agents(Option<&'a str>),
    /// The canary's.
    Canarys,
}

/// What became of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was answered with 2xx, whose head came after this time.
    Compiled(Duration),
    /// The master could not make it.
    Failed,
}

impl Became {
    /// What an answer says of the master's compiling. `refused`: it was given before any work.
    #[must_use]
    pub fn of_answer(status: StatusCode, refused: bool, took: Duration) -> Option<Self> {
        if status.is_success() {
            Some(Self::Compiled(took))
        } else {
            (status.is_server_error() && !refused).then_some(Self::Failed)
        }
    }

    /// What it says where there is no answer: nothing, unless the master was asked.
    #[must_use]
    pub const fn of_failure(failure: Failure) -> Option<Self> {
        match failure {
            Failure::Cut { .. } | Failure::Silent => Some(Self::Failed),
            Failure::Unconnected | Failure::ClosedIdle | Failure::NothingSent | Failure::Refused => None,
        }
    }
}

/// What one master made of catalogs.
#[derive(Debug)]
pub struct Catalogs {
    began: Instant,
    named: Vec<(Box<str>, Slots)>,
    other: Slots,
    failed: u64,
    canary: wire::CanaryCatalogs,
}

/// One environment's last minutes.
#[derive(Debug, Clone, Copy, Default)]
struct Slots([Slot; MINUTES as usize]);

/// One minute.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Counted from when the master joined. What the slot holds is of no other.
    minute: u64,
    compiled: u64,
    failed: u64,
    /// All compiled ones together.
    took: Duration,
}

impl Catalogs {
    /// Of a master that joins now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let canary = wire::CanaryCatalogs::default();
        Self { began: now, named: Vec::new(), other: Slots::default(), failed: 0, canary }
    }

    /// Counts one catalog.
    pub fn count(&mut self, whose: Whose<'_>, became: Became, now: Instant) {
        let environment = match (whose, became) {
            (Whose::Canarys, Became::Compiled(_)) => return self.canary.compiled += 1,
            (Whose::Canarys, Became::Failed) => return self.canary.failed += 1,
            (Whose::Agents(environment), _) => environment,
        };
        self.failed += u64::from(became == Became::Failed);
        let minute = self.minute(now);
        self.slots(environment, became, minute).count(became, minute);
    }

    /// Agents' catalogs within the last minutes.
    #[must_use]
    pub fn lately(&self, now: Instant) -> wire::Catalogs {
        let minute = self.minute(now);
        let named = self.named.iter().map(|(name, slots)| (&**name, slots.sum(minute)));
        let all = named.chain([(wire::OTHER, self.other.sum(minute))]);
        let mut environments: Vec<wire::EnvironmentCatalogs> = Vec::new();
        for (name, sum) in all.filter(|(_, sum)| sum.compiled + sum.failed > 0) {
            environments.push(wire::EnvironmentCatalogs {
                environment: name.to_owned(),
                compiled: sum.compiled,
                failed: sum.failed,
                mean_ms: mean_ms(&sum),
            });
        }
        environments
            .sort_by_key(|one| (std::cmp::Reverse(one.compiled + one.failed), one.environment.clone()));
        wire::Catalogs { minutes: MINUTES, environments, failed_in_all: self.failed }
    }

    /// The canary's catalogs.
    #[must_use]
    pub const fn canary(&self) -> wire::CanaryCatalogs {
        self.canary
    }

    fn minute(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / 60
    }

    /// Where an environment is counted.
    fn slots(&mut self, environment: Option<&str>, became: Became, minute: u64) -> &mut Slots {
        // One that is called so is counted there as well, and is told once.
        let Some(environment) = environment.filter(|name| *name != wire::OTHER) else {
            return &mut self.other;
        };
        if let Some(at) = self.named.iter().position(|(name, _)| &**name == environment) {
            return self.named.get_mut(at).map_or(&mut self.other, |(_, slots)| slots);
        }
        if self.named.len() >= MOST {
            self.make_room(became, minute);
        }
        if self.named.len() >= MOST {
            return &mut self.other;
        }
        self.named.push((environment.into(), Slots::default()));
        self.named.last_mut().map_or(&mut self.other, |(_, slots)| slots)
    }

    /// Forgets names under which nothing was counted lately. For a catalog that was compiled, one under which catalogs
    /// only failed goes as well; what was counted under it is counted on.
    fn make_room(&mut self, became: Became, minute: u64) {
        self.named.retain(|(_, slots)| !slots.sum(minute).is_empty());
        if self.named.len() < MOST || became == Became::Failed {
            return;
        }
        if let Some(at) = self.named.iter().position(|(_, slots)| slots.sum(minute).compiled == 0) {
            let (_, slots) = self.named.swap_remove(at);
            self.other.add(&slots, minute);
        }
    }
}

impl Slots {
    fn count(&mut self, became: Became, minute: u64) {
        let Some(slot) = self.at(minute) else { return };
        match became {
            Became::Compiled(took) => {
                slot.compiled += 1;
                slot.took += took;
            }
            Became::Failed => slot.failed += 1,
        }
    }

    /// The slot of this minute, empty if it was another's.
    fn at(&mut self, minute: u64) -> Option<&mut Slot> {
        let place = usize::try_from(minute % u64::from(MINUTES)).unwrap_or_default();
        let slot = self.0.get_mut(place)?;
        if slot.minute != minute {
            *slot = Slot { minute, ..Slot::default() };
        }
        Some(slot)
    }

    /// What counts at this minute.
    fn sum(&self, minute: u64) -> Slot {
        let mut sum = Slot { minute, ..Slot::default() };
        self.counting(minute).for_each(|slot| sum.add(slot));
        sum
    }

    fn add(&mut self, others: &Self, minute: u64) {
        for slot in others.counting(minute) {
            if let Some(own) = self.at(slot.minute) {
                own.add(slot);
            }
        }
    }

    fn counting(&self, minute: u64) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter(move |slot| slot.minute + u64::from(MINUTES) > minute)
    }
}

impl Slot {
    fn add(&mut self, other: &Self) {
        self.compiled += other.compiled;
        self.failed += other.failed;
        self.took += other.took;
    }

    const fn is_empty(&self) -> bool {
        self.compiled == 0 && self.failed == 0
    }
}

fn mean_ms(sum: &Slot) -> u64 {
    let mean = sum.took.as_millis().checked_div(sum.compiled.into()).unwrap_or_default();
    u64::try_from(mean).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
