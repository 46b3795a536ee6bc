//! The balancers that are compared: what they know of a request, whom they give it to, and what they keep back.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::time::{Duration, Instant};

use stagedoor::pool::pick::Want;
use stagedoor::pool::queue::{Ticket, Waiter};
use stagedoor::pool::seal::{At, Outcome};
use stagedoor::pool::state::State;
use stagedoor::pool::state::seating::{Asked, Called, Held};
use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;
use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Master, Standing};

use crate::work::What;

/// Long enough that nobody is told that it waits in vain: every balancer serves whatever it is given.
const PATIENCE: Duration = Duration::from_secs(1 << 30);

/// A request, as a balancer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Its number.
    pub(crate) id: usize,
    /// The connection it comes over.
    pub(crate) connection: usize,
    /// What it is.
    pub(crate) what: What,
}

/// Gives requests to masters.
pub(crate) trait Balancer {
    /// A request came. It is given away by [`Balancer::next`], now or later.
    fn came(&mut self, request: Request, now: Duration);

    /// The next request that is given to a master; none while all that are left are kept back.
    fn next(&mut self, now: Duration) -> Option<(usize, usize)>;

    /// A master answered.
    fn answered(&mut self, request: Request, master: usize, now: Duration);

    /// A connection was closed.
    fn closed(&mut self, connection: usize);
}

/// Who has the fewest; of several the one whose last turn was longest ago, as in HAProxy.
#[derive(Default)]
struct Fewest {
    has: Vec<u32>,
    turns: Vec<u64>,
    turn: u64,
}

impl Fewest {
    fn of(masters: usize) -> Self {
        Self { has: vec![0; masters], turns: vec![0; masters], turn: 0 }
    }

    /// One more for who has the fewest; nobody where each has as many as it may.
    fn take(&mut self, limit: u32) -> Option<usize> {
        let free = (0..self.has.len()).filter(|at| self.has[*at] < limit);
        let master = free.min_by_key(|at| (self.has[*at], self.turns[*at]))?;
        self.turn += 1;
        (self.has[master], self.turns[master]) = (self.has[master] + 1, self.turn);
        Some(master)
    }

    fn give_back(&mut self, master: usize) {
        self.has[master] -= 1;
    }
}

/// Each connection to the master with the fewest, as Puppet Enterprise documents it.
pub(crate) struct TcpLeastConn {
    open: Fewest,
    /// The master of each connection that is open.
    of: BTreeMap<usize, usize>,
    ready: VecDeque<(usize, usize)>,
}

impl TcpLeastConn {
    pub(crate) fn new(masters: usize) -> Self {
        Self { open: Fewest::of(masters), of: Default::default(), ready: VecDeque::new() }
    }
}

impl Balancer for TcpLeastConn {
    fn came(&mut self, request: Request, _: Duration) {
        let open = &mut self.open;
        let pick = || open.take(u32::MAX).unwrap_or_default();
        let master = *self.of.entry(request.connection).or_insert_with(pick);
        self.ready.push_back((request.id, master));
    }

    fn next(&mut self, _: Duration) -> Option<(usize, usize)> {
        self.ready.pop_front()
    }

    fn answered(&mut self, _: Request, _: usize, _: Duration) {}

    fn closed(&mut self, connection: usize) {
        if let Some(master) = self.of.remove(&connection) {
            self.open.give_back(master);
        }
    }
}

/// Each request to the next master.
pub(crate) struct RoundRobin {
    masters: usize,
    turn: usize,
    ready: VecDeque<(usize, usize)>,
}

impl RoundRobin {
    pub(crate) fn new(masters: usize) -> Self {
        Self { masters, turn: 0, ready: VecDeque::new() }
    }
}

impl Balancer for RoundRobin {
    fn came(&mut self, request: Request, _: Duration) {
        self.turn = (self.turn + 1) % self.masters;
        self.ready.push_back((request.id, self.turn));
    }

    fn next(&mut self, _: Duration) -> Option<(usize, usize)> {
        self.ready.pop_front()
    }

    fn answered(&mut self, _: Request, _: usize, _: Duration) {}

    fn closed(&mut self, _: usize) {}
}

/// Each request to the master with the fewest; with a limit, as many as it has JRubies, small ones first, as a HAProxy
/// tuned by hand does it (`maxconn`, `http-request set-priority-class`).
pub(crate) struct HttpLeastConn {
    at_work: Fewest,
    limit: Option<u32>,
    small: VecDeque<usize>,
    catalogs: VecDeque<usize>,
}

impl HttpLeastConn {
    pub(crate) fn plain(masters: usize) -> Self {
        Self { at_work: Fewest::of(masters), limit: None, small: VecDeque::new(), catalogs: VecDeque::new() }
    }

    pub(crate) fn tuned(masters: usize, jrubies: u32) -> Self {
        Self { limit: Some(jrubies), ..Self::plain(masters) }
    }
}

impl Balancer for HttpLeastConn {
    fn came(&mut self, request: Request, _: Duration) {
        // Without a limit nobody waits here, so that the lanes do not matter.
        match request.what {
            What::Catalog => self.catalogs.push_back(request.id),
            _ => self.small.push_back(request.id),
        }
    }

    fn next(&mut self, _: Duration) -> Option<(usize, usize)> {
        if self.small.is_empty() && self.catalogs.is_empty() {
            return None;
        }
        let master = self.at_work.take(self.limit.unwrap_or(u32::MAX))?;
        let request = self.small.pop_front().or_else(|| self.catalogs.pop_front())?;
        Some((request, master))
    }

    fn answered(&mut self, _: Request, master: usize, _: Duration) {
        self.at_work.give_back(master);
    }

    fn closed(&mut self, _: usize) {}
}

/// The door's own pool, driven as the door drives it.
pub(crate) struct Door {
    state: State,
    began: Instant,
    chance: fastrand::Rng,
    ready: VecDeque<(usize, usize)>,
    waiting: BTreeMap<Ticket, usize>,
    held: BTreeMap<usize, Held>,
}

impl Door {
    pub(crate) fn new(masters: usize, jrubies: u16, seed: u64) -> Self {
        let began = Instant::now();
        let mut state = State::default();
        let roster: Vec<Master> = (0..masters)
            .filter_map(|at| {
                Some(Master {
                    certname: Certname::parse_host(&format!("m{at}.example.com")).ok()?,
                    address: format!("m{at}.example.com:8140"),
                    kind: Kind::SEALED,
                    standing: Standing::Admitted,
                    header_limit: JETTY_HEADER_LIMIT,
                    jrubies: NonZero::new(jrubies),
                })
            })
            .collect();
        for (id, _) in state.reconcile(&roster, began).joined {
            let at = At { now: began, lasts: PATIENCE };
            let _turn = state.seal_tested(id, 0, Outcome::Refused, at);
            let _flip = state.probed(id, None, 1, 1);
        }
        Self {
            state,
            began,
            chance: fastrand::Rng::with_seed(seed),
            ready: VecDeque::new(),
            waiting: Default::default(),
            held: Default::default(),
        }
    }

    fn given(&mut self, request: usize, master: u32, held: Held) {
        self.held.insert(request, held);
        self.ready.push_back((request, master as usize));
    }
}

impl Balancer for Door {
    fn came(&mut self, request: Request, now: Duration) {
        let now = self.began + now;
        let class = match request.what {
            What::Node => Class::Node,
            What::Small => Class::FileMetadata,
            What::Catalog => Class::Catalog,
            What::Report => Class::Report,
        };
        let waiter =
            Waiter { class, agent: None, alone: false, want: Want::LeastBusy, tried: Vec::new(), since: now };
        match self.state.ask(&waiter, PATIENCE, now, self.chance.u64(..)) {
            Asked::Given(master, held) => self.given(request.id, master, held),
            Asked::Waits { ticket, .. } => drop(self.waiting.insert(ticket, request.id)),
            other => panic!("nobody is turned away here: {other:?}"),
        }
    }

    fn next(&mut self, now: Duration) -> Option<(usize, usize)> {
        while let Some((ticket, called)) = self.state.call(self.began + now, self.chance.u64(..)) {
            let request = self.waiting.remove(&ticket);
            match (request, called) {
                (Some(request), Called::To(master, held)) => self.given(request, master, held),
                other => panic!("somebody waits for nobody: {other:?}"),
            }
        }
        self.ready.pop_front()
    }

    fn answered(&mut self, request: Request, master: usize, now: Duration) {
        if let Some(held) = self.held.remove(&request.id) {
            self.state.unseat(master as u32, &held, true, self.began + now);
        }
    }

    fn closed(&mut self, _: usize) {}
}
