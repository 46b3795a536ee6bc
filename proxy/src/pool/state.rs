//! The pool: who is there, how busy, how fit, and who compiled for whom last.
//!
//! Pure: told what happened and when, it answers with values. The shell in `pool` holds it behind one mutex for the
//! time of one call. It outlives every swap of settings and roster and is reconciled with each.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Master, Standing};

use super::affinity::Affinity;
use super::budget::Budget;
use super::caches::{Caches, Costs};
use super::canary::{self, Barred};
use super::catalogs::{Became, Catalogs, Whose};
use super::ejection::{Ejection, Out};
use super::health::{Health, Verdict};
use super::pick::{self, Candidate, Want};
use super::queue::Queue;
use super::seal::Seal;
use super::seat::Seats;
use super::service::Service;
use super::speed::Speed;
use crate::way::Sides;
use hold::Hold;
use seating::Terms;

mod hold;
mod judged;
pub mod seating;
#[cfg(test)]
mod tests;

/// How long a master without any verdict is waited for. A probe that has not come back by then says less than the
/// agents that wait.
const UNJUDGED: Duration = Duration::from_secs(2);

/// Agents whose last master is remembered: enough for the largest sites, 1 MiB, and never more.
const REMEMBERED: usize = 1 << 16;

/// The live state of every master on the roster.
#[derive(Debug)]
pub struct State {
    masters: Vec<Live>,
    next_id: u32,
    /// By a hash of the certname: the whole hash, to tell agents in one place apart, and the master's number.
    last: Vec<(u64, u32)>,
    affinity: Affinity,
    queue: Queue,
    /// Agents whose catalog is being compiled, where that may be once at a time.
    compiling: BTreeSet<Certname>,
    service: Service,
    costs: Costs,
    budget: Budget,
    terms: Terms,
    hold: Hold,
    /// Kept between calls so that a choice allocates nothing.
    scratch: Vec<Candidate>,
}

/// One master's live state.
#[derive(Debug)]
pub struct Live {
    /// Its number in this process; never used again after it left.
    pub id: u32,
    /// As it stands on the roster.
    pub master: Master,
    /// What the probes say.
    pub health: Health,
    /// Why its last probe was bad, in words; none after a good one.
    pub why: Option<String>,
    /// Whether it answers strangers; none where it is open.
    pub seal: Option<Seal>,
    /// Counts each time that what was known of its seal may have ceased to hold.
    losses: u32,
    /// What it made of catalogs; none where it is open, since those are asked for where nobody else reads them.
    pub catalogs: Option<Catalogs>,
    /// Requests it has in hand, or connections that were passed to it.
    pub in_flight: u32,
    /// Its JRubies.
    pub seats: Seats,
    /// How fast it is beside the others.
    pub speed: Speed,
    /// What its JRubies have compiled.
    pub caches: Caches,
    /// Whether it compiles what its peers compile.
    pub ejection: Ejection,
    joined: Instant,
    /// When its process was started at the latest, by its own clock; none where it does not say.
    started: Option<Instant>,
    name: u64,
}

/// A catalog that a master was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Cataloged<'a> {
    /// Whose it was.
    pub whose: Whose<'a>,
    /// A hash of its agent.
    pub agent: u64,
    /// What became of it.
    pub became: Became,
    /// When the master was asked.
    pub begun: Instant,
}

/// What a reconciliation changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Numbers and entries of masters that came.
    pub joined: Vec<(u32, Master)>,
    /// Numbers of masters that left.
    pub left: Vec<u32>,
}

/// Why there is nobody to ask. Each is said as "nobody …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// None that is admitted and sealed, or each was tried.
    TakesWork,
    /// Some that are admitted are not tested yet, and the others answer strangers.
    IsTested,
    /// All that are admitted answer strangers.
    IsSealed,
}

impl Default for State {
    fn default() -> Self {
        Self {
            masters: Vec::new(),
            next_id: 0,
            last: vec![(0, 0); REMEMBERED],
            affinity: Affinity::default(),
            queue: Queue::default(),
            compiling: BTreeSet::new(),
            service: Service::default(),
            costs: Costs::default(),
            budget: Budget::default(),
            terms: Terms::default(),
            hold: Hold::default(),
            scratch: Vec::new(),
        }
    }
}

impl State {
    /// Makes the pool hold what the roster says. A master whose address or kind changed leaves and joins anew, since
    /// everything learned was about the old one; a changed standing is taken over in place.
    pub fn reconcile(&mut self, roster: &[Master], now: Instant) -> Changes {
        let mut changes = Changes::default();
        self.masters.retain_mut(|live| {
            let same = roster.iter().find(|m| m.certname == live.master.certname).filter(|m| {
                m.address == live.master.address
                    && m.kind == live.master.kind
                    && m.header_limit == live.master.header_limit
            });
            if let Some(master) = same {
                live.master.standing = master.standing;
                live.master.jrubies = master.jrubies;
                live.seats.say(jrubies(master));
            } else {
                changes.left.push(live.id);
            }
            same.is_some()
        });
        for master in roster {
            if self.masters.iter().any(|live| live.master.certname == master.certname) {
                continue;
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            self.masters.push(Live {
                id,
                master: master.clone(),
                health: Health::new(),
                why: None,
                seal: master.kind.is_sealed().then(Seal::new),
                losses: 0,
                catalogs: master.kind.is_sealed().then(|| Catalogs::new(now)),
                in_flight: 0,
                seats: Seats::new(jrubies(master)),
                speed: Speed::default(),
                caches: Caches::default(),
                ejection: Ejection::default(),
                joined: now,
                started: None,
                name: pick::hash(master.certname.as_str()),
            });
            changes.joined.push((id, master.clone()));
        }
        changes
    }

    /// Picks a sealed master that is not among `tried` for a request that needs no seat, and counts the request as in its
    /// hands.
    pub fn take(&mut self, want: Want, tried: &[u32], now: Instant, chance: u64) -> Option<u32> {
        // An open master would take a request for one of its own clients', who states no identity.
        let sealed = |live: &Live| live.master.kind.is_sealed() && live.may_get_something();
        if tried.is_empty() {
            self.budget.earn();
        }
        self.choose(sealed, want, tried, now, chance)
    }

    /// Picks a sealed master that drains, for a request of an agent whose connections would be passed by now and whose
    /// run began before that.
    pub fn take_leaving(&mut self, want: Want, tried: &[u32], now: Instant, chance: u64) -> Option<u32> {
        let leaving = |live: &Live| {
            live.master.standing == Standing::Draining && live.seal.as_ref().is_some_and(Seal::lets_in)
        };
        self.choose(leaving, want, tried, now, chance)
    }

    /// Gives a canary's request to its master and counts it as in that one's hands; none where this agent is nobody's
    /// canary.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn take_canary(&mut self, agent: &Certname) -> Option<Result<u32, Barred>> {
        let goes_to = canary::goes_to(agent, &self.masters)?;
        if let Some(live) = self.masters.iter_mut().find(|live| Ok(live.id) == goes_to) {
            live.in_flight += 1;
        }
        Some(goes_to)
    }

    /// Picks an open master that is not among `tried` for a connection from this address, the one that had the last
    /// while it has no more than its share, and counts the connection as passed to it.
    pub fn pass(&mut self, source: IpAddr, tried: &[u32], now: Instant, chance: u64) -> Option<u32> {
        let source = pick::hash_of_address(source);
        let want = self.affinity.home(source, now).map_or(Want::LeastBusy, Want::Stay);
        // A sealed master would refuse the client, who has no certificate of the door's.
        let open = |live: &Live| !live.master.kind.is_sealed() && live.may_get_something();
        let picked = self.choose(open, want, tried, now, chance)?;
        self.affinity.settle(source, picked, now);
        Some(picked)
    }

    fn choose(
        &mut self,
        of: impl Fn(&Live) -> bool,
        want: Want,
        tried: &[u32],
        now: Instant,
        chance: u64,
    ) -> Option<u32> {
        let mut candidates = std::mem::take(&mut self.scratch);
        candidates.clear();
        candidates.extend(self.masters.iter().filter(|live| of(live) && !tried.contains(&live.id)).map(
            |live| {
                let Live { id, name, in_flight, .. } = *live;
                Candidate { id, name, in_flight, seats: 1, takes: 1.0, fit: live.fit(now) }
            },
        ));
        let picked = pick::pick(&candidates, want, chance);
        self.scratch = candidates;
        if let Some(live) = self.masters.iter_mut().find(|live| Some(live.id) == picked) {
            live.in_flight += 1;
        }
        picked
    }

    /// What each kind of master can carry.
    #[must_use]
    pub fn sides(&self, now: Instant) -> Sides {
        // One that answers strangers stays out until somebody seals it, so its share is for the others; one that is only
        // to be tested again keeps it, as one does that health takes out.
        let able = self.masters.iter().filter(|live| !matches!(live.seal, Some(Seal::Unsealed { .. })));
        Sides::of(able.map(|live| (&live.master, live.may_get_something() && live.fit(now))))
    }

    /// A request is no longer in a master's hands. A master that has left meanwhile is forgotten already.
    pub fn give_back(&mut self, id: u32) {
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            debug_assert!(live.in_flight > 0, "a request is given back once");
            live.in_flight = live.in_flight.saturating_sub(1);
        }
    }

    /// Whether a request that failed may be asked of another master, which is then counted.
    pub fn may_ask_again(&mut self, now: Instant) -> bool {
        self.budget.spend(now)
    }

    /// Why [`State::take`] finds nobody, where not one was tried.
    #[must_use]
    pub fn nobody(&self) -> Nobody {
        let seals = || {
            let admitted = self.masters.iter().filter(|live| live.master.standing == Standing::Admitted);
            admitted.filter_map(|live| live.seal.as_ref())
        };
        if seals().next().is_none() || seals().any(Seal::lets_in) {
            Nobody::TakesWork
        } else if seals().any(|seal| matches!(seal, Seal::Untested { .. })) {
            Nobody::IsTested
        } else {
            Nobody::IsSealed
        }
    }

    /// A master was asked for a catalog; says whether it is out for what became of it. One that has left meanwhile is
    /// forgotten already.
    pub fn cataloged(&mut self, id: u32, cataloged: Cataloged<'_>, now: Instant) -> Option<Out> {
        let Cataloged { whose, agent, became, begun } = cataloged;
        let environment = match whose {
            Whose::Agents(environment) => environment,
            Whose::Canarys => None,
        };
        let others = || self.masters.iter().filter(|live| live.id != id);
        let peers =
            environment.and_then(|name| others().filter_map(|live| live.ejection.compiled_at(name)).max());
        let fails_elsewhere =
            environment.is_some_and(|name| others().any(|live| live.ejection.fails(name, agent)));
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        live.catalogs.as_mut()?.count(whose, became, now);
        match became {
            Became::Compiled(_) => {
                live.ejection.compiled(environment?, begun, live.seats.jrubies().0);
                None
            }
            // It is the node's own, or everybody's.
            Became::Failed if fails_elsewhere => None,
            Became::Failed => live.ejection.failed(environment?, agent, peers, now),
        }
    }

    /// A master has dropped its caches of these environments, given as hashes; none named means all.
    pub fn flushed(&mut self, id: u32, environments: &[u64]) {
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            live.caches.flushed(environments);
        }
    }

    /// A master compiled this agent's catalog.
    pub fn compiled(&mut self, agent: &Certname, id: u32) {
        let hash = pick::hash(agent.as_str());
        if let Some(place) = self.last.get_mut(hash as usize % REMEMBERED) {
            *place = (hash, id);
        }
    }

    /// Who compiled this agent's last catalog, unless another agent has taken its place in the table since.
    #[must_use]
    pub fn last_master(&self, agent: &Certname) -> Option<u32> {
        let hash = pick::hash(agent.as_str());
        self.last.get(hash as usize % REMEMBERED).filter(|(tag, _)| *tag == hash).map(|(_, id)| *id)
    }

    /// Every master, in the roster's order.
    #[must_use]
    pub fn masters(&self) -> &[Live] {
        &self.masters
    }

    /// Whether some sealed master can take work by its own health, not by the rule that health never empties the pool.
    #[must_use]
    pub fn able(&self, now: Instant) -> bool {
        self.sides(now).sealed.fit
    }
}

fn jrubies(master: &Master) -> Option<u32> {
    master.jrubies.map(|jrubies| u32::from(jrubies.get()))
}

impl Live {
    /// Whether it may get anything new, whatever its health: not where it drains or is warm, and not where strangers may
    /// reach it although it is to be sealed. Health never empties the pool; this may.
    #[must_use]
    pub fn may_get_something(&self) -> bool {
        self.master.standing == Standing::Admitted && self.seal.as_ref().is_none_or(Seal::lets_in)
    }

    /// Whether its seats are for agents' requests.
    #[must_use]
    pub fn may_seat(&self) -> bool {
        self.master.kind.is_sealed() && self.may_get_something()
    }

    /// Whether a request that has tried these may wait for one of its seats.
    fn could_seat(&self, tried: &[u32]) -> bool {
        self.may_seat() && !tried.contains(&self.id)
    }

    /// Whether health lets it take work at this moment.
    #[must_use]
    pub fn fit(&self, now: Instant) -> bool {
        let answers = match self.health.verdict() {
            Verdict::Fit => true,
            Verdict::Unfit => false,
            Verdict::Unknown => now.saturating_duration_since(self.joined) >= UNJUDGED,
        };
        answers && !self.ejection.is_out(now)
    }
}
