//! The pool: who is there, how busy, how fit, and who compiled for whom last.
//!
//! Pure: told what happened and when, it answers with values. The shell in `pool` holds it behind one mutex for the
//! time of one call. It outlives every swap of settings and roster and is reconciled with each.
#![deny(clippy::disallowed_methods)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Master, Standing};

use super::affinity::Affinity;
use super::health::{Health, Verdict};
use super::pick::{self, Candidate, Want};
use crate::way::Sides;

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
    /// Requests it has in hand, or connections that were passed to it.
    pub in_flight: u32,
    joined: Instant,
    name: u64,
}

/// What a reconciliation changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Numbers and entries of masters that came.
    pub joined: Vec<(u32, Master)>,
    /// Numbers of masters that left.
    pub left: Vec<u32>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            masters: Vec::new(),
            next_id: 0,
            last: vec![(0, 0); REMEMBERED],
            affinity: Affinity::default(),
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
                in_flight: 0,
                joined: now,
                name: pick::hash(master.certname.as_str()),
            });
            changes.joined.push((id, master.clone()));
        }
        changes
    }

    /// Picks a sealed master that is not among `tried` and counts the request as in its hands.
    pub fn take(&mut self, want: Want, tried: &[u32], now: Instant, chance: u64) -> Option<u32> {
        // An open master would take a request for one of its own clients', who states no identity.
        self.choose(|live| live.master.kind.is_sealed(), want, tried, now, chance)
    }

    /// Picks an open master that is not among `tried` for a connection from this address, the one that had the last
    /// while it has no more than its share, and counts the connection as passed to it.
    pub fn pass(&mut self, source: IpAddr, tried: &[u32], now: Instant, chance: u64) -> Option<u32> {
        let source = pick::hash_of_address(source);
        let want = self.affinity.home(source, now).map_or(Want::LeastBusy, Want::Stay);
        // A sealed master would refuse the client, who has no certificate of the door's.
        let picked = self.choose(|live| !live.master.kind.is_sealed(), want, tried, now, chance)?;
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
        candidates.extend(
            self.masters
                .iter()
                .filter(|live| of(live))
                .filter(|live| live.master.standing == Standing::Admitted && !tried.contains(&live.id))
                .map(|live| Candidate {
                    id: live.id,
                    name: live.name,
                    in_flight: live.in_flight,
                    fit: live.fit(now),
                }),
        );
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
        Sides::of(self.masters.iter().map(|live| (&live.master, live.fit(now))))
    }

    /// A request is no longer in a master's hands. A master that has left meanwhile is forgotten already.
    pub fn give_back(&mut self, id: u32) {
        if let Some(live) = self.masters.iter_mut().find(|live| live.id == id) {
            debug_assert!(live.in_flight > 0, "a request is given back once");
            live.in_flight = live.in_flight.saturating_sub(1);
        }
    }

    /// A probe came to an end, `bad` with why; answers with the new verdict when it flipped.
    pub fn probed(&mut self, id: u32, bad: Option<String>, rise: u32, fall: u32) -> Option<Verdict> {
        let live = self.masters.iter_mut().find(|live| live.id == id)?;
        let flipped = live.health.observe(bad.is_none(), rise, fall);
        live.why = bad;
        flipped
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

impl Live {
    /// Whether health lets it take work at this moment.
    #[must_use]
    pub fn fit(&self, now: Instant) -> bool {
        match self.health.verdict() {
            Verdict::Fit => true,
            Verdict::Unfit => false,
            Verdict::Unknown => now.saturating_duration_since(self.joined) >= UNJUDGED,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stagedoor_config::master::{Check, JETTY_HEADER_LIMIT, Kind};

    use super::*;

    fn master(name: &str, standing: Standing) -> Master {
        Master {
            certname: Certname::parse_host(name).expect("a host name"),
            address: format!("{name}:8140"),
            kind: Kind::SEALED,
            standing,
            header_limit: JETTY_HEADER_LIMIT,
            jrubies: None,
        }
    }

    fn pool(roster: &[Master], now: Instant) -> State {
        let mut state = State::default();
        assert_eq!(state.reconcile(roster, now).joined.len(), roster.len());
        state
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_draining_master_keeps_what_it_has_and_takes_nothing_new() {
        let now = start();
        let mut roster = [master("a", Standing::Admitted)];
        let mut state = pool(&roster, now);
        let id = state.take(Want::LeastBusy, &[], now, 0).expect("one master");
        roster[0].standing = Standing::Draining;
        assert_eq!(state.reconcile(&roster, now), Changes::default());
        assert_eq!(state.masters()[0].in_flight, 1);
        assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None);
        state.give_back(id);
        assert_eq!(state.masters()[0].in_flight, 0);
    }

    #[test]
    fn no_request_goes_to_an_open_master() {
        let now = start();
        let open = Kind::Open { check: Check::Status };
        let mut state = pool(&[Master { kind: open, ..master("a", Standing::Admitted) }], now);
        let _flip = state.probed(0, None, 2, 3);
        assert_eq!(state.take(Want::LeastBusy, &[], now, 0), None);
        assert_eq!(state.take(Want::Prefer(0), &[], now, 0), None);
        assert!(!state.able(now), "no request would find a master");
    }

    #[test]
    fn an_address_stays_with_its_master_while_that_is_admitted_fit_and_no_busier_than_others() {
        let now = start();
        let open = Kind::Open { check: Check::Tcp };
        let mut roster = ["a", "b"].map(|name| Master { kind: open, ..master(name, Standing::Admitted) });
        let mut state = pool(&roster, now);
        for id in 0..2 {
            let _flip = state.probed(id, None, 2, 3);
        }
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let home = state.pass(from(1), &[], now, 0).expect("two are there");
        let other = state.pass(from(2), &[], now, 0).expect("two are there");
        assert_ne!(home, other, "the least busy");
        for chance in 0..4 {
            assert_eq!(
                state.pass(from(1), &[], now, chance),
                Some(home),
                "up to a quarter more than the mean and one"
            );
        }
        assert_eq!(state.pass(from(1), &[], now, 0), Some(other), "no more than its share");
        assert_eq!(state.pass(from(1), &[other], now, 0), Some(home), "nobody else is left");
        for _ in 0..4 {
            state.give_back(home);
        }
        roster[home as usize].standing = Standing::Draining;
        let _nothing = state.reconcile(&roster, now);
        for last in 0..20 {
            assert_eq!(
                state.pass(from(last), &[], now, last.into()),
                Some(other),
                "a draining master gets nothing new"
            );
        }
    }

    #[test]
    fn a_retired_master_may_give_back_what_it_had() {
        let now = start();
        let mut state = pool(&[master("a", Standing::Admitted)], now);
        let id = state.take(Want::LeastBusy, &[], now, 0).expect("one master");
        assert_eq!(state.reconcile(&[], now).left, [id]);
        state.give_back(id);
    }

    #[test]
    fn a_master_without_a_verdict_counts_as_fit_after_two_seconds() {
        let now = start();
        let mut state = pool(&[master("a", Standing::Admitted), master("b", Standing::Admitted)], now);
        assert!(!state.able(now));
        assert_eq!(state.probed(1, None, 2, 3), Some(Verdict::Fit));
        assert!(state.able(now));
        for chance in 0..20 {
            assert_eq!(state.take(Want::LeastBusy, &[], now, chance), Some(1), "a is not judged yet");
        }
        let later = now + Duration::from_secs(2);
        assert_eq!(state.take(Want::LeastBusy, &[], later, 0), Some(0), "a counts as fit now");
    }

    #[test]
    fn a_master_that_moved_is_a_new_one() {
        let now = start();
        let mut roster = [master("a", Standing::Admitted)];
        let mut state = pool(&roster, now);
        let _flip = state.probed(0, Some("no answer".to_owned()), 2, 3);
        roster[0].address = "elsewhere:8140".into();
        let changes = state.reconcile(&roster, now);
        assert_eq!((changes.left, changes.joined.len()), (vec![0], 1));
        assert_eq!(state.masters()[0].health.verdict(), Verdict::Unknown);
    }

    proptest! {
        #[test]
        fn no_request_goes_to_an_open_master_and_no_connection_is_passed_to_a_sealed_one(
            kinds in proptest::collection::vec(any::<bool>(), 1..8),
            fits in proptest::collection::vec(any::<bool>(), 8),
            asks in proptest::collection::vec((any::<bool>(), 0_u32..8, any::<u8>(), any::<u64>()), 1..40),
        ) {
            let now = start();
            let kind = |sealed| if sealed { Kind::SEALED } else { Kind::Open { check: Check::Status } };
            let roster: Vec<Master> = kinds
                .iter()
                .enumerate()
                .map(|(n, sealed)| Master { kind: kind(*sealed), ..master(&format!("m{n}"), Standing::Admitted) })
                .collect();
            let mut state = pool(&roster, now);
            for (id, fit) in (0_u32..).zip(fits).take(roster.len()) {
                let _flip = state.probed(id, (!fit).then(String::new), 1, 1);
            }
            for (request, prefer, last, chance) in asks {
                let picked = match request {
                    true => state.take(Want::Prefer(prefer), &[], now, chance),
                    false => state.pass(IpAddr::from([192, 0, 2, last]), &[], now, chance),
                };
                let there = kinds.contains(&request);
                prop_assert_eq!(picked.map(|id| kinds[id as usize]), there.then_some(request));
            }
        }
    }

    #[test]
    fn the_last_master_of_an_agent_is_remembered() {
        let now = start();
        let mut state = pool(&[master("a", Standing::Admitted)], now);
        let agent = Certname::parse("web1").expect("a certname");
        assert_eq!(state.last_master(&agent), None);
        state.compiled(&agent, 0);
        assert_eq!(state.last_master(&agent), Some(0));
    }
}
