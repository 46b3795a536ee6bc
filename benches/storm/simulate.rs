//! One site for one seed: agents, a balancer, masters; time is a number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use stagedoor::pool::seat::Gauges;

use crate::balancer::{Balancer, Came, Request};
use crate::machine::Machine;
use crate::site::{self, Site};
use crate::work::{PATIENCE, REOPENS, Run, Step, What};

/// How often a master's gauges are looked at.
const GAUGES: Duration = Duration::from_secs(5);

/// What was seen of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// From the first request to the last answer, what the agents do between them included.
    pub(crate) runs: Vec<Duration>,
    /// From a catalog's request to its answer.
    pub(crate) catalogs: Vec<Duration>,
    /// The same of small requests.
    pub(crate) small: Vec<Duration>,
    /// Runs that lost a request, or whose agent left.
    pub(crate) failed: usize,
    /// How often an agent was asked to come back later.
    pub(crate) sent_away: usize,
    /// The most requests that waited at once, wherever.
    pub(crate) most_waiting: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asks { run: usize },
    Done { master: usize, request: usize },
    Happens { master: usize, what: site::Event },
    Unlocks { master: usize },
    Gauges,
}

/// A request under way.
struct Asked {
    run: usize,
    step: Step,
    request: Request,
    at: Duration,
}

/// A run's agent.
#[derive(Clone, Copy, Default)]
struct Agent {
    step: usize,
    /// Its connection; none while it has none.
    connection: Option<usize>,
}

struct World<'w> {
    runs: &'w [Run],
    balancer: &'w mut dyn Balancer,
    masters: Vec<Machine>,
    /// For how long each master whose pool is locked stays so after its last JRuby has come back.
    locks: Vec<Option<Duration>>,
    agents: Vec<Agent>,
    asked: Vec<Asked>,
    waiting: usize,
    connections: usize,
    /// Runs that have not ended.
    left: usize,
    events: BinaryHeap<Reverse<(Duration, usize, Event)>>,
    happened: usize,
    now: Duration,
    seen: Seen,
}

/// Lets every run come to its end, and tells what was seen of those after the first tenth, when the site is warm.
pub(crate) fn simulate(runs: &[Run], (site, seed): (&Site, u64), balancer: &mut dyn Balancer) -> Seen {
    let mut chance = fastrand::Rng::with_seed(seed);
    let masters = site.masters();
    let mut world = World {
        runs,
        balancer,
        masters: masters.iter().map(|is| Machine::new(*is, site.environments, &mut chance)).collect(),
        locks: vec![None; masters.len()],
        agents: vec![Agent::default(); runs.len()],
        asked: Vec::new(),
        waiting: 0,
        connections: 0,
        left: runs.len(),
        events: BinaryHeap::new(),
        happened: 0,
        now: Duration::ZERO,
        seen: Seen::default(),
    };
    for (at, master, what) in site.events(runs.last().map(|run| run.at).unwrap_or_default()) {
        world.then(at, Event::Happens { master, what });
    }
    world.then(Duration::ZERO, Event::Gauges);
    for (run, begins) in runs.iter().enumerate() {
        world.then(begins.at, Event::Asks { run });
    }
    while world.left > 0
        && let Some(Reverse((at, _, event))) = world.events.pop()
    {
        world.now = at;
        match event {
            Event::Asks { run } => world.asks(run),
            Event::Done { master, request } => world.done(master, request),
            Event::Happens { master, what } => world.happens(master, what),
            Event::Unlocks { master } => world.unlocks(master),
            Event::Gauges => world.gauges(),
        }
        world.give();
    }
    assert!(world.left == 0, "{} runs never ended", world.left);
    world.seen
}

impl World<'_> {
    fn then(&mut self, at: Duration, event: Event) {
        self.happened += 1;
        self.events.push(Reverse((at, self.happened, event)));
    }

    fn asks(&mut self, run: usize) {
        let Agent { step, connection } = self.agents[run];
        let is = self.runs[run].steps[step];
        let connection = connection.filter(|_| is.pause <= REOPENS).unwrap_or_else(|| {
            self.closes(run);
            self.connections += 1;
            self.connections
        });
        self.agents[run].connection = Some(connection);
        let environment = self.runs[run].environment;
        let request = Request { id: self.asked.len(), run, connection, environment, what: is.what };
        match self.balancer.came(request, self.now) {
            Came::Later(after) => {
                self.seen.sent_away += 1;
                self.closes(run);
                self.then(self.now + after, Event::Asks { run });
            }
            Came::Stays => {
                self.asked.push(Asked { run, step: is, request, at: self.now });
                self.waits();
            }
        }
    }

    fn waits(&mut self) {
        self.waiting += 1;
        self.seen.most_waiting = self.seen.most_waiting.max(self.waiting);
    }

    fn closes(&mut self, run: usize) {
        if let Some(connection) = self.agents[run].connection.take() {
            self.balancer.closed(connection);
        }
    }

    /// Whatever the balancer gives away now.
    fn give(&mut self) {
        while let Some((request, master)) = self.balancer.next(self.now) {
            self.masters[master].waiting.push_back(request);
            self.works(master);
        }
    }

    fn works(&mut self, master: usize) {
        while let Some(request) = self.masters[master].begins() {
            self.waiting -= 1;
            let Asked { step, request: Request { environment, .. }, .. } = self.asked[request];
            let compiles = (step.what == What::Catalog).then_some(environment);
            let takes = self.masters[master].takes(request, step.work, compiles, self.now);
            self.then(self.now + takes, Event::Done { master, request });
        }
    }

    fn done(&mut self, master: usize, request: usize) {
        if !self.masters[master].done(request) {
            return;
        }
        self.lock(master);
        self.works(master);
        let Asked { run, step, request, at } = self.asked[request];
        self.balancer.answered(request, master, self.now);
        let took = self.now - at;
        if took > PATIENCE {
            return self.fails(run);
        }
        let counts = self.counts(run);
        match step.what {
            What::Catalog if counts => self.seen.catalogs.push(took),
            What::Node | What::Small if counts => self.seen.small.push(took),
            _ => {}
        }
        self.agents[run].step += 1;
        if let Some(step) = self.runs[run].steps.get(self.agents[run].step) {
            self.then(self.now + step.pause, Event::Asks { run });
        } else {
            self.closes(run);
            self.left -= 1;
            if counts {
                self.seen.runs.push(self.now - self.runs[run].at);
            }
        }
    }

    fn counts(&self, run: usize) -> bool {
        run >= self.runs.len() / 10
    }

    fn fails(&mut self, run: usize) {
        self.closes(run);
        self.left -= 1;
        self.seen.failed += 1;
    }

    fn happens(&mut self, master: usize, what: site::Event) {
        match what {
            site::Event::Dies => {
                let waited = self.masters[master].waiting.len();
                let lost = self.masters[master].dies();
                self.balancer.is(master, false, self.now);
                self.waiting -= waited;
                for request in lost {
                    self.lost(master, request);
                }
            }
            site::Event::Starts => {
                self.masters[master].starts();
                self.balancer.is(master, true, self.now);
            }
            site::Event::Locks(lasts) => {
                self.masters[master].locked = true;
                self.locks[master] = Some(lasts);
                self.lock(master);
            }
        }
    }

    /// A request is asked of another master where that is safe and somebody does it; its run fails otherwise.
    fn lost(&mut self, master: usize, request: usize) {
        let Asked { run, step, request, .. } = self.asked[request];
        self.balancer.lost(request, master, self.now);
        if self.balancer.asks_again() && matches!(step.what, What::Node | What::Small) {
            self.waits();
            let _stays = self.balancer.came(request, self.now);
        } else {
            self.fails(run);
        }
    }

    /// Where a pool waits to be locked and every JRuby has come back, it is.
    fn lock(&mut self, master: usize) {
        if self.masters[master].is_at_rest()
            && let Some(lasts) = self.locks[master].take()
        {
            self.then(self.now + lasts, Event::Unlocks { master });
        }
    }

    fn unlocks(&mut self, master: usize) {
        self.masters[master].locked = false;
        self.masters[master].flushed();
        self.works(master);
    }

    fn gauges(&mut self) {
        for (at, master) in self.masters.iter().enumerate().filter(|(_, master)| !master.dead) {
            let (jrubies, free) = (master.is.jrubies as u32, master.free() as u32);
            self.balancer.gauges(at, Gauges { jrubies, free, locked: master.locked }, self.now);
        }
        self.then(self.now + GAUGES, Event::Gauges);
    }
}
