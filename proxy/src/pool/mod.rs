//! The pool of masters: one pure state behind one mutex that is held for the time of one decision. The roster's masters
//! are one pool, the backends of a passed port another, in which nobody joins or leaves.
//!
//! Beside it, for each master, what lives: the way to it (`Peer`), its metrics, and the two tasks that ask how it
//! is and where it is. It outlives every swap of settings and roster and is reconciled with each.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Kind, Master};
use stagedoor_config::roster::Roster;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::link::{Peer, PeerId};
use crate::observe::Observe;
use crate::observe::metrics::MasterMetrics;
use crate::way::Sides;
use health::Verdict;
use pick::Want;
use state::{Live, State};

pub mod affinity;
pub(crate) mod flush;
pub mod health;
pub mod pick;
pub(crate) mod probe;
pub(crate) mod question;
pub(crate) mod relay;
pub(crate) mod resolve;
pub mod state;

/// The masters on the roster, alive.
pub(crate) struct Pool {
    inside: Mutex<Inside>,
    observe: Arc<Observe>,
    /// Connections that may be open to one master.
    connections: usize,
    /// Where the tasks beside the path run.
    beside: Handle,
}

struct Inside {
    state: State,
    members: Vec<(Arc<Member>, Tasks)>,
}

/// What belongs to one master while it is on the roster.
pub(crate) struct Member {
    /// Its number in the pool.
    pub id: u32,
    /// How it is protected; the member leaves when this changes.
    pub kind: Kind,
    /// The most bytes of request head it reads.
    pub header_limit: usize,
    /// The way to it.
    pub peer: Arc<Peer>,
    /// Its series.
    pub metrics: Arc<MasterMetrics>,
}

/// What asks how a master is and where it is, until it leaves.
struct Tasks([AbortHandle; 2]);

/// A request in a master's hands, or a connection that was passed to it; given back when dropped.
pub(crate) struct InHand {
    pool: Arc<Pool>,
    /// Whose hands.
    pub member: Arc<Member>,
}

impl Pool {
    pub(crate) fn new(observe: Arc<Observe>, connections: usize, beside: Handle) -> Arc<Self> {
        let inside = Inside { state: State::default(), members: Vec::new() };
        Arc::new(Self { inside: Mutex::new(inside), observe, connections, beside })
    }

    /// Makes the pool hold what the roster says, and starts and ends what belongs to each master. `probe` starts
    /// asking a master that joined.
    pub(crate) fn reconcile(&self, roster: &Roster, probe: impl Fn(Arc<Member>, &Handle) -> AbortHandle) {
        let mut inside = self.lock();
        let changes = inside.state.reconcile(&roster.masters, Instant::now());
        let (left, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut inside.members)
            .into_iter()
            .partition(|(member, _)| changes.left.contains(&member.id));
        inside.members = stay;
        for (id, master) in changes.joined {
            let (known, addresses) = watch::channel(resolve::Addresses::from([]));
            let certname = master.certname.clone();
            let peer =
                Peer::new(PeerId::Master(id), certname, master.address.clone(), addresses, self.connections);
            let Some(peer) = peer.map(Arc::new) else {
                tracing::error!(master = %master.certname, "certname is no host name: the master cannot be connected to");
                continue;
            };
            let metrics = self.observe.master(&master.certname);
            let Master { kind, header_limit, .. } = master;
            let member = Arc::new(Member { id, kind, header_limit, peer, metrics });
            let resolving = self.beside.spawn(resolve::keep(master.address, known)).abort_handle();
            let tasks = Tasks([resolving, probe(Arc::clone(&member), &self.beside)]);
            inside.members.push((member, tasks));
        }
        let stays = |name: &Certname| roster.masters.iter().any(|m| m.certname == *name);
        for (member, _) in left.iter().filter(|(member, _)| !stays(&member.peer.certname)) {
            self.observe.retire(&member.peer.certname);
        }
    }

    /// Gives a request into the hands of a sealed master that is not among `tried`.
    pub(crate) fn take(self: &Arc<Self>, want: Want, tried: &[u32]) -> Option<InHand> {
        let chance = fastrand::u64(..);
        self.give(|state| state.take(want, tried, Instant::now(), chance))
    }

    /// Gives a connection from this address to an open master that is not among `tried`.
    pub(crate) fn pass(self: &Arc<Self>, source: IpAddr, tried: &[u32]) -> Option<InHand> {
        let chance = fastrand::u64(..);
        self.give(|state| state.pass(source, tried, Instant::now(), chance))
    }

    fn give(self: &Arc<Self>, pick: impl FnOnce(&mut State) -> Option<u32>) -> Option<InHand> {
        let mut inside = self.lock();
        let id = pick(&mut inside.state)?;
        let member = inside.members.iter().find_map(|(m, _)| (m.id == id).then(|| Arc::clone(m)));
        if member.is_none() {
            inside.state.give_back(id);
        }
        drop(inside);
        let member = member?;
        member.metrics.in_flight.inc();
        Some(InHand { pool: Arc::clone(self), member })
    }

    /// What each kind of master can carry.
    pub(crate) fn sides(&self) -> Sides {
        self.lock().state.sides(Instant::now())
    }

    /// What belongs to the master of this name.
    pub(crate) fn member(&self, certname: &Certname) -> Option<Arc<Member>> {
        let of = |(member, _): &(Arc<Member>, Tasks)| {
            (member.peer.certname == *certname).then(|| Arc::clone(member))
        };
        self.lock().members.iter().find_map(of)
    }

    /// Remembers who compiled an agent's catalog.
    pub(crate) fn compiled(&self, agent: &Certname, id: u32) {
        self.lock().state.compiled(agent, id);
    }

    /// Who compiled an agent's last catalog.
    pub(crate) fn last_master(&self, agent: &Certname) -> Option<u32> {
        self.lock().state.last_master(agent)
    }

    /// Counts a probe's outcome.
    pub(crate) fn probed(&self, id: u32, bad: Option<String>, rise: u32, fall: u32) -> Option<Verdict> {
        self.lock().state.probed(id, bad, rise, fall)
    }

    /// Whether some master can take work by its own health.
    pub(crate) fn able(&self) -> bool {
        self.lock().state.able(Instant::now())
    }

    /// Looks at every master's live state.
    pub(crate) fn look<T>(&self, look: impl Fn(&Live, bool) -> T) -> Vec<T> {
        let now = Instant::now();
        self.lock().state.masters().iter().map(|live| look(live, live.fit(now))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.member.metrics.in_flight.dec();
        self.pool.lock().state.give_back(self.member.id);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
