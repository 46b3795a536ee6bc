//! The door's own pool, driven as the door drives it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::time::{Duration, Instant};

use stagedoor::pool::pick::Want;
use stagedoor::pool::queue::{Ticket, Waiter};
use stagedoor::pool::seal::{At, Outcome};
use stagedoor::pool::seat::Gauges;
use stagedoor::pool::shed;
use stagedoor::pool::state::State;
use stagedoor::pool::state::seating::{Asked, Called, Held};
use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;
use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Master, Standing};

use crate::balancer::{Balancer, Came, Request};
use crate::work::What;

/// Long enough that nobody is told that it waits in vain: every balancer serves whatever it is given.
const PATIENCE: Duration = Duration::from_secs(1 << 30);

/// How often the gauges come.
const GAUGES: Duration = Duration::from_secs(5);

/// The pool, and where its requests are.
pub(crate) struct Door {
    state: State,
    began: Instant,
    chance: fastrand::Rng,
    ready: VecDeque<(usize, usize)>,
    waiting: BTreeMap<Ticket, Request>,
    held: BTreeMap<usize, Held>,
    /// Where the catalog of each run under way was compiled.
    compiled: BTreeMap<usize, u32>,
    /// Whether it looks at environments and at where a run's catalog was compiled.
    affinity: bool,
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
            compiled: Default::default(),
            affinity: true,
        }
    }

    /// The same, which takes every master with a free seat for as good as any.
    pub(crate) fn without_affinity(masters: usize, jrubies: u16, seed: u64) -> Self {
        Self { affinity: false, ..Self::new(masters, jrubies, seed) }
    }

    fn given(&mut self, request: Request, master: u32, held: Held) {
        self.held.insert(request.id, held);
        self.ready.push_back((request.id, master as usize));
        match request.what {
            What::Catalog => drop(self.compiled.insert(request.run, master)),
            What::Report => drop(self.compiled.remove(&request.run)),
            What::Node | What::Small => {}
        }
    }
}

impl Balancer for Door {
    fn came(&mut self, request: Request, now: Duration) -> Came {
        let now = self.began + now;
        let class = match request.what {
            What::Node => Class::Node,
            What::Small => Class::FileMetadata,
            What::Catalog => Class::Catalog,
            What::Report => Class::Report,
        };
        if request.what == What::Node
            && let Some(seconds) = shed::after(self.state.waiting(now).expected, self.chance.u64(..))
        {
            return Came::Later(Duration::from_secs(seconds.into()));
        }
        let near = self.compiled.get(&request.run).filter(|_| self.affinity && request.what == What::Small);
        let want = near.map_or(Want::LeastBusy, |master| Want::Near(*master));
        let compiles = self.affinity && request.what == What::Catalog;
        let environment = compiles.then_some(request.environment as u64);
        let (agent, alone, tried) = (None, false, Vec::new());
        let waiter = Waiter { class, agent, alone, environment, want, tried, since: now };
        match self.state.ask(&waiter, PATIENCE, now, self.chance.u64(..)) {
            Asked::Given(master, held) => self.given(request, master, held),
            Asked::Waits { ticket, .. } => drop(self.waiting.insert(ticket, request)),
            other => panic!("nobody is turned away here: {other:?}"),
        }
        Came::Stays
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

    fn lost(&mut self, request: Request, master: usize, now: Duration) {
        if let Some(held) = self.held.remove(&request.id) {
            self.state.unseat(master as u32, &held, false, self.began + now);
        }
    }

    fn asks_again(&self) -> bool {
        true
    }

    fn closed(&mut self, _: usize) {}

    fn is(&mut self, master: usize, there: bool, _: Duration) {
        let why = (!there).then(|| "connection refused".to_owned());
        let _flip = self.state.probed(master as u32, why, 1, 1);
    }

    fn gauges(&mut self, master: usize, gauges: Gauges, now: Duration) {
        self.state.gauges_asked(master as u32);
        self.state.gauged(master as u32, gauges, self.began + now, GAUGES);
    }
}
