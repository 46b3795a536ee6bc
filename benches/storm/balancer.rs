//! The balancers that are compared: what they know of a request, whom they give it to, and what they keep back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stagedoor::pool::seat::Gauges;

use crate::work::What;

/// A request, as a balancer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Its number.
    pub(crate) id: usize,
    /// Its agent's run.
    pub(crate) run: usize,
    /// The connection it comes over.
    pub(crate) connection: usize,
    /// The environment that it names.
    pub(crate) environment: usize,
    /// What it is.
    pub(crate) what: What,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is given away by [`Balancer::next`], now or later.
    Stays,
    /// Its agent is to ask again after so long.
    Later(Duration),
}

/// Gives requests to masters.
pub(crate) trait Balancer {
    /// A request came.
    fn came(&mut self, request: Request, now: Duration) -> Came;

    /// The next request that is given to a master; none while all that are left are kept back.
    fn next(&mut self, now: Duration) -> Option<(usize, usize)>;

    /// A master answered.
    fn answered(&mut self, request: Request, master: usize, now: Duration);

    /// A master died that had this in hand.
    fn lost(&mut self, request: Request, master: usize, now: Duration);

    /// Whether what was lost and may be asked twice is asked of another master.
    fn asks_again(&self) -> bool {
        false
    }

    /// A connection was closed.
    fn closed(&mut self, connection: usize);

    /// A master can be connected to, or no longer: whoever tries is refused at once, so that it costs nothing.
    fn is(&mut self, master: usize, there: bool, now: Duration);

    /// What a master says of its JRubies, to whoever asks.
    fn gauges(&mut self, _master: usize, _gauges: Gauges, _now: Duration) {}
}

/// Who has the fewest; of several the one whose last turn was longest ago, as in HAProxy.
#[derive(Default)]
struct Fewest {
    has: Vec<u32>,
    /// Who cannot be connected to.
    gone: Vec<bool>,
    turns: Vec<u64>,
    turn: u64,
}

impl Fewest {
    fn of(masters: usize) -> Self {
        Self { has: vec![0; masters], gone: vec![false; masters], turns: vec![0; masters], turn: 0 }
    }

    /// One more for who has the fewest; nobody where each has as many as it may.
    fn take(&mut self, limit: u32) -> Option<usize> {
        let free = (0..self.has.len()).filter(|at| !self.gone[*at] && self.has[*at] < limit);
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
    fn came(&mut self, request: Request, _: Duration) -> Came {
        let open = &mut self.open;
        let pick = || open.take(u32::MAX).unwrap_or_default();
        let master = *self.of.entry(request.connection).or_insert_with(pick);
        self.ready.push_back((request.id, master));
        Came::Stays
    }

    fn next(&mut self, _: Duration) -> Option<(usize, usize)> {
        self.ready.pop_front()
    }

    fn answered(&mut self, _: Request, _: usize, _: Duration) {}

    fn lost(&mut self, _: Request, _: usize, _: Duration) {}

    fn closed(&mut self, connection: usize) {
        if let Some(master) = self.of.remove(&connection) {
            self.open.give_back(master);
        }
    }

    fn is(&mut self, master: usize, there: bool, _: Duration) {
        self.open.gone[master] = !there;
        // Connections that were idle end as well, and are opened anew.
        let lost: Vec<usize> = self.of.iter().filter(|(_, of)| **of == master).map(|(of, _)| *of).collect();
        lost.into_iter().for_each(|connection| self.closed(connection));
    }
}

/// Each request to the next master.
pub(crate) struct RoundRobin {
    gone: Vec<bool>,
    turn: usize,
    ready: VecDeque<(usize, usize)>,
}

impl RoundRobin {
    pub(crate) fn new(masters: usize) -> Self {
        Self { gone: vec![false; masters], turn: 0, ready: VecDeque::new() }
    }
}

impl Balancer for RoundRobin {
    fn came(&mut self, request: Request, _: Duration) -> Came {
        let masters = self.gone.len();
        let next = (1..=masters).map(|step| (self.turn + step) % masters).find(|at| !self.gone[*at]);
        self.turn = next.unwrap_or_default();
        self.ready.push_back((request.id, self.turn));
        Came::Stays
    }

    fn next(&mut self, _: Duration) -> Option<(usize, usize)> {
        self.ready.pop_front()
    }

    fn answered(&mut self, _: Request, _: usize, _: Duration) {}

    fn lost(&mut self, _: Request, _: usize, _: Duration) {}

    fn closed(&mut self, _: usize) {}

    fn is(&mut self, master: usize, there: bool, _: Duration) {
        self.gone[master] = !there;
    }
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
    fn came(&mut self, request: Request, _: Duration) -> Came {
        // Without a limit nobody waits here, so that the lanes do not matter.
        match request.what {
            What::Catalog => self.catalogs.push_back(request.id),
            _ => self.small.push_back(request.id),
        }
        Came::Stays
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

    fn lost(&mut self, _: Request, master: usize, _: Duration) {
        self.at_work.give_back(master);
    }

    fn asks_again(&self) -> bool {
        self.limit.is_some()
    }

    fn closed(&mut self, _: usize) {}

    fn is(&mut self, master: usize, there: bool, _: Duration) {
        self.at_work.gone[master] = !there;
    }
}
