//! One site for one seed: agents, a balancer, masters; time is a number.
//!
//! A master is as Puppet Server is: so many JRubies, and a queue before them in the order of arrival that nothing leaves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::balancer::{Balancer, Request};
use crate::work::{REOPENS, Run, Step, What};

/// A master.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Master {
    /// How many requests it serves at once.
    pub(crate) jrubies: usize,
    /// How many times as long it takes as a usual one.
    pub(crate) slower: f64,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// From the first request to the last answer, what the agents do between them included.
    pub(crate) runs: Vec<Duration>,
    /// From a catalog's request to its answer.
    pub(crate) catalogs: Vec<Duration>,
    /// The same of small requests.
    pub(crate) small: Vec<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asks { run: usize },
    Done { master: usize, request: usize },
}

struct Machine {
    is: Master,
    busy: usize,
    waiting: VecDeque<usize>,
}

/// A request under way.
struct Asked {
    run: usize,
    step: Step,
    request: Request,
    at: Duration,
}

struct World<'w> {
    runs: &'w [Run],
    balancer: &'w mut dyn Balancer,
    masters: Vec<Machine>,
    /// Which step of each run is next, and over which connection.
    agents: Vec<(usize, usize)>,
    asked: Vec<Asked>,
    connections: usize,
    events: BinaryHeap<Reverse<(Duration, usize, Event)>>,
    happened: usize,
    now: Duration,
}

/// Lets every run come to its end, and tells what was seen of those after the first tenth, when the site is warm.
pub(crate) fn simulate(runs: &[Run], masters: &[Master], balancer: &mut dyn Balancer) -> Seen {
    let machine = |is: &Master| Machine { is: *is, busy: 0, waiting: VecDeque::new() };
    let mut world = World {
        runs,
        balancer,
        masters: masters.iter().map(machine).collect(),
        agents: vec![(0, 0); runs.len()],
        asked: Vec::new(),
        connections: 0,
        events: BinaryHeap::new(),
        happened: 0,
        now: Duration::ZERO,
    };
    for (run, begins) in runs.iter().enumerate() {
        world.then(begins.at, Event::Asks { run });
    }
    let mut seen = Seen::default();
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        match event {
            Event::Asks { run } => world.asks(run),
            Event::Done { master, request } => world.done(master, request, &mut seen),
        }
        world.give();
    }
    seen
}

impl World<'_> {
    fn then(&mut self, at: Duration, event: Event) {
        self.happened += 1;
        self.events.push(Reverse((at, self.happened, event)));
    }

    fn asks(&mut self, run: usize) {
        let (step, connection) = self.agents[run];
        let step_is = self.runs[run].steps[step];
        let reopens = step == 0 || step_is.pause > REOPENS;
        if reopens {
            if step > 0 {
                self.balancer.closed(connection);
            }
            self.connections += 1;
            self.agents[run].1 = self.connections;
        }
        let id = self.asked.len();
        let request = Request { id, connection: self.agents[run].1, what: step_is.what };
        self.asked.push(Asked { run, step: step_is, request, at: self.now });
        self.balancer.came(request, self.now);
    }

    /// Whatever the balancer gives away now.
    fn give(&mut self) {
        while let Some((request, master)) = self.balancer.next(self.now) {
            self.masters[master].waiting.push_back(request);
            self.works(master);
        }
    }

    fn works(&mut self, master: usize) {
        let Machine { is, busy, waiting } = &mut self.masters[master];
        if *busy >= is.jrubies {
            return;
        }
        let Some(request) = waiting.pop_front() else { return };
        *busy += 1;
        let takes = self.asked[request].step.work.mul_f64(is.slower);
        self.then(self.now + takes, Event::Done { master, request });
    }

    fn done(&mut self, master: usize, request: usize, seen: &mut Seen) {
        self.masters[master].busy -= 1;
        self.works(master);
        let Asked { run, step, request, at } = self.asked[request];
        self.balancer.answered(request, master, self.now);
        let counts = run >= self.runs.len() / 10;
        if counts {
            match step.what {
                What::Catalog => seen.catalogs.push(self.now - at),
                What::Node | What::Small => seen.small.push(self.now - at),
                What::Report => {}
            }
        }
        let next = self.agents[run].0 + 1;
        self.agents[run].0 = next;
        if let Some(step) = self.runs[run].steps.get(next) {
            self.then(self.now + step.pause, Event::Asks { run });
        } else {
            self.balancer.closed(request.connection);
            if counts {
                seen.runs.push(self.now - self.runs[run].at);
            }
        }
    }
}
