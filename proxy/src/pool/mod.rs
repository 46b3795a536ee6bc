//! The pool of masters: one pure state behind one mutex that is held for the time of one decision. The roster's masters
//! are one pool, the backends of a passed port another, in which nobody joins or leaves.
//!
//! Beside it, for each master, what lives: the way to it (`Peer`), its metrics, and the tasks that ask how it is,
//! where it is, and whether it is sealed. It outlives every swap of settings and roster and is reconciled with each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Kind, Master};
use stagedoor_config::roster::Roster;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::link::{Peer, PeerId};
use crate::observe::Observe;
use crate::observe::metrics::MasterMetrics;
use crate::way::Sides;
use canary::Barred;
use ejection::Out;
pub(crate) use hand::InHand;
use hand::Waits;
use health::Verdict;
use pick::Want;
use queue::Ticket;
use seal::{At, Outcome, Seal, Turn};
use seat::Gauges;
use state::seating::{Terms, Waiting};
use state::{Cataloged, Live, Nobody, State};

pub mod affinity;
pub mod budget;
pub mod caches;
pub mod canary;
pub mod catalogs;
pub mod ejection;
pub(crate) mod flush;
pub(crate) mod gauges;
pub(crate) mod hand;
pub mod health;
pub(crate) mod outsider;
pub mod pick;
pub(crate) mod probe;
pub(crate) mod question;
pub mod queue;
pub(crate) mod relay;
pub(crate) mod resolve;
pub mod seal;
pub mod seat;
pub mod service;
pub mod shed;
pub mod speed;
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
    /// Those who wait for a seat.
    waiting: BTreeMap<Ticket, Waits>,
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
    /// Has its seal tested now.
    pub test: Notify,
    /// Has its health asked for now.
    pub probe: Notify,
}

/// What asks how a master is, where it is, and whether it is sealed, until it leaves.
struct Tasks(Vec<AbortHandle>);

impl Pool {
    pub(crate) fn new(observe: Arc<Observe>, connections: usize, beside: Handle) -> Arc<Self> {
        let inside = Inside { state: State::default(), waiting: BTreeMap::new(), members: Vec::new() };
        Arc::new(Self { inside: Mutex::new(inside), observe, connections, beside })
    }

    /// Makes the pool hold what the roster says, and starts and ends what belongs to each master. `ask` starts asking
    /// a master that joined.
    pub(crate) fn reconcile(
        self: &Arc<Self>,
        roster: &Roster,
        ask: impl Fn(Arc<Member>, &Handle) -> Vec<AbortHandle>,
    ) {
        self.change(|_, inside| self.take_over(inside, roster, ask));
    }

    fn take_over(
        &self,
        inside: &mut Inside,
        roster: &Roster,
        ask: impl Fn(Arc<Member>, &Handle) -> Vec<AbortHandle>,
    ) {
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
            metrics.unsealed.set(0);
            metrics.untested.set(i64::from(kind.is_sealed()));
            let member = Arc::new(Member {
                id,
                kind,
                header_limit,
                peer,
                metrics,
                test: Notify::new(),
                probe: Notify::new(),
            });
            let mut tasks = ask(Arc::clone(&member), &self.beside);
            tasks.push(self.beside.spawn(resolve::keep(master.address, known)).abort_handle());
            inside.members.push((member, Tasks(tasks)));
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

    /// Gives a request into the hands of a sealed master that drains and is not among `tried`.
    pub(crate) fn take_leaving(self: &Arc<Self>, want: Want, tried: &[u32]) -> Option<InHand> {
        let chance = fastrand::u64(..);
        self.give(|state| state.take_leaving(want, tried, Instant::now(), chance))
    }

    /// Gives a canary's request into the hands of its master; none where this agent is nobody's canary.
    pub(crate) fn take_canary(self: &Arc<Self>, agent: &Certname) -> Option<Result<InHand, Barred>> {
        // Nearly no agent is one, and nobody else is to wait for the lock.
        canary::master_of(agent)?;
        let mut goes_to = None;
        let taken = self.give(|state| {
            goes_to = state.take_canary(agent);
            goes_to?.ok()
        });
        Some(match (goes_to?, taken) {
            (Ok(_), Some(hand)) => Ok(hand),
            // Nobody could be connected to there, let alone be tested.
            (Ok(_), None) => Err(Barred::IsUntested),
            (Err(barred), _) => Err(barred),
        })
    }

    /// Gives a connection from this address to an open master that is not among `tried`.
    pub(crate) fn pass(self: &Arc<Self>, source: IpAddr, tried: &[u32]) -> Option<InHand> {
        let chance = fastrand::u64(..);
        self.give(|state| state.pass(source, tried, Instant::now(), chance))
    }

    fn give(self: &Arc<Self>, pick: impl FnOnce(&mut State) -> Option<u32>) -> Option<InHand> {
        let mut inside = self.lock();
        let id = pick(&mut inside.state)?;
        inside.hand(self, id, None)
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

    /// Counts what became of a catalog that this master was asked for; says whether it is out for that.
    pub(crate) fn cataloged(self: &Arc<Self>, member: &Member, cataloged: Cataloged<'_>) -> Option<Out> {
        self.change(|_, inside| inside.state.cataloged(member.id, cataloged, Instant::now()))
    }

    /// How long a catalog takes on average.
    pub(crate) fn mean_of_catalogs(&self) -> Duration {
        self.lock().state.mean_of_catalogs()
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
    pub(crate) fn probed(
        self: &Arc<Self>,
        id: u32,
        bad: Option<String>,
        rise: u32,
        fall: u32,
    ) -> Option<Verdict> {
        self.change(|_, inside| inside.state.probed(id, bad, rise, fall))
    }

    /// A request could not be connected to this master: it counts as a bad probe, and the next one comes at once.
    pub(crate) fn unconnected(self: &Arc<Self>, member: &Member, why: &str, fall: u32) -> Option<Verdict> {
        member.probe.notify_one();
        self.change(|_, inside| inside.state.unconnected(member.id, why, fall))
    }

    /// A master that was asked then says for how long it has been up; true where it was started anew since it said so before.
    pub(crate) fn has_been_up(&self, id: u32, time: Duration, asked: Instant) -> bool {
        self.lock().state.has_been_up(id, time, asked, Instant::now())
    }

    /// Whether a request that failed may be asked of another master, which is then counted.
    pub(crate) fn may_ask_again(&self) -> bool {
        self.lock().state.may_ask_again(Instant::now())
    }

    /// A master is asked for its gauges.
    pub(crate) fn gauges_asked(&self, id: u32) {
        self.lock().state.gauges_asked(id);
    }

    /// A master's gauges came, and are asked for again at this distance.
    pub(crate) fn gauged(self: &Arc<Self>, id: u32, gauges: Gauges, again: Duration) {
        self.change(|_, inside| inside.state.gauged(id, gauges, Instant::now(), again));
    }

    /// A master has dropped its caches of these environments, given as hashes; none named means all.
    pub(crate) fn flushed(&self, id: u32, environments: &[u64]) {
        self.lock().state.flushed(id, environments);
    }

    /// Keeps catalogs in the queue for so long from now on; how much longer they are kept.
    pub(crate) fn hold(self: &Arc<Self>, time: Duration) -> Duration {
        let now = Instant::now();
        let left = self.change(|_, inside| inside.state.hold(time, now));
        if !left.is_zero() {
            let pool = Arc::clone(self);
            // Those who wait are called when it is over. Each is over within a minute, so that there are few.
            self.beside.spawn(async move {
                tokio::time::sleep_until((now + left).into()).await;
                pool.change(|_, _| ());
            });
        }
        left
    }

    /// The settings say otherwise from now on.
    pub(crate) fn agree(self: &Arc<Self>, terms: Terms) {
        self.change(|_, inside| inside.state.agree(terms));
    }

    /// How many wait for a seat, and for how long.
    pub(crate) fn waiting(&self) -> Waiting {
        self.lock().state.waiting(Instant::now())
    }

    /// A test of a master's seal begins; the number is for its end.
    pub(crate) fn seal_test_begins(&self, id: u32) -> Option<u32> {
        self.lock().state.seal_test_begins(id)
    }

    /// A test of this master's seal ended; answers with what that changed.
    pub(crate) fn seal_tested(
        self: &Arc<Self>,
        member: &Member,
        begun: u32,
        outcome: Outcome,
        lasts: Duration,
    ) -> Option<Turn> {
        self.change(|_, inside| {
            let at = At { now: Instant::now(), lasts };
            let turn = inside.state.seal_tested(member.id, begun, outcome, at);
            publish_seal(&inside.state, member);
            turn
        })
    }

    /// What is known of this master's seal may no longer hold: it is tested before it is used again.
    pub(crate) fn seal_lost(self: &Arc<Self>, member: &Member, why: &str) -> Option<Turn> {
        let turn = self.change(|_, inside| {
            let turn = inside.state.seal_lost(member.id, why);
            publish_seal(&inside.state, member);
            turn
        });
        member.test.notify_one();
        turn
    }

    /// A master answers its health checks: if its seal waits for a test, now is the time.
    pub(crate) fn there_again(&self, member: &Member) {
        let untested = |live: &Live| live.id == member.id && matches!(live.seal, Some(Seal::Untested { .. }));
        if self.lock().state.masters().iter().any(untested) {
            member.test.notify_one();
        }
    }

    /// Why [`Pool::take`] finds nobody, where not one was tried.
    pub(crate) fn nobody(&self) -> Nobody {
        self.lock().state.nobody()
    }

    /// Whether some master can take work by its own health.
    pub(crate) fn able(&self) -> bool {
        self.lock().state.able(Instant::now())
    }

    /// Looks at every master's live state, as of one moment.
    pub(crate) fn look<T>(&self, look: impl Fn(&Live, Instant) -> T) -> Vec<T> {
        let now = Instant::now();
        self.lock().state.masters().iter().map(|live| look(live, now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under the pool's lock, so that the numbers of a master that left and came back are the later one's.
fn publish_seal(state: &State, member: &Member) {
    let live = state.masters().iter().find(|live| live.id == member.id);
    let Some(seal) = live.and_then(|live| live.seal.as_ref()) else { return };
    let unknown = matches!(seal, Seal::Untested { .. } | Seal::Untestable { .. });
    member.metrics.unsealed.set(i64::from(matches!(seal, Seal::Unsealed { .. })));
    member.metrics.untested.set(i64::from(unknown));
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
