//! The two kinds of state: what is swapped, and what lives.
//!
//! A [`Snapshot`] is immutable: settings, trust, TLS and roster that belong together, published by one swap and
//! loaded once per decision. What lives (the pool, bodies held, permits) stands beside it in [`Door`] and outlives
//! every swap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};
use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Check, Isolation, JETTY_HEADER_LIMIT, Kind, Master, Standing};
use stagedoor_config::proxy::{Behind, Mode, Settings, Split};
use stagedoor_config::roster::Roster;
use stagedoor_config::trust::Trust;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::body::Held;
use crate::certificates::Certificates;
use crate::identity::Identity;
use crate::link::Peer;
use crate::observe::Observe;
use crate::pass::PIPES;
use crate::places::Places;
use crate::pool::Pool;
use crate::pool::shed::{Begins, SentAway};
use crate::pool::state::Nobody;
use crate::pool::state::seating::Terms;
use crate::pool::{gauges, outsider, pick, probe};
use crate::renewal::{Renewals, Shown};
use crate::sources::Sources;
use crate::tls::Agents;

/// What belongs together and is swapped together.
pub(crate) struct Snapshot {
    /// As read from the file.
    pub settings: Arc<Settings>,
    /// Who is believed.
    pub trust: Arc<Trust>,
    /// What agents are shown, and how they are judged.
    pub agents: Agents,
    /// What whoever asks at `admin.tls` is shown, and how they are judged; none where that is off.
    pub operators: Option<Arc<ServerConfig>>,
    /// What masters sealed by the door CA are shown, and how they are judged; none without such a certificate.
    pub sealed_tls: Option<Arc<ClientConfig>>,
    /// How everybody else is judged: the Master of Masters, masters behind a firewall, open ones. They are shown
    /// nothing.
    pub bare_tls: Arc<ClientConfig>,
    /// Whom the door states itself to be where it asks a master for itself; none where its certificate names nobody.
    pub own: Option<Arc<Identity>>,
    /// What the Master of Masters' CA is shown for renewals; none where they are off.
    pub renewal: Option<Shown>,
    /// Who is admitted.
    pub roster: Arc<Roster>,
    /// Counts changes of trust and TLS: an agent judged and a link opened under another number are judged anew.
    pub generation: u64,
}

/// One door.
pub(crate) struct Door {
    /// What is in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// The masters, alive.
    pub pool: Arc<Pool>,
    /// The way to the Master of Masters.
    pub mom: Arc<Peer>,
    /// The way to its CA for renewals.
    pub renewals: Renewals,
    /// Where every outcome passes through.
    pub observe: Arc<Observe>,
    /// Bodies kept in memory.
    pub held: Held,
    /// Agent connections that may still be opened.
    pub connections: Arc<Semaphore>,
    /// Passed connections that may still be opened, each of which is one of `connections` as well.
    pub passed: Arc<Semaphore>,
    /// Pipes that may still be held for passed connections; each is one of `connections` as well.
    pub pipes: Arc<Semaphore>,
    /// Handshakes that may still begin.
    pub handshakes: Semaphore,
    /// What those without a certificate may have at work at once.
    pub places: Places,
    /// Connections without a certificate, by where they come from.
    pub sources: Sources,
    /// Connections with a certificate, by whose it is.
    pub certificates: Certificates,
    /// Who was sent away of late.
    away: Mutex<SentAway>,
    ends: watch::Sender<bool>,
    /// One change at a time: a change reads the snapshot in force, and its swap must not undo another's.
    changes: Mutex<()>,
}

impl Door {
    pub(crate) fn new(
        snapshot: Snapshot,
        pool: Arc<Pool>,
        mom: Arc<Peer>,
        observe: Arc<Observe>,
    ) -> Arc<Self> {
        let bounds = snapshot.settings.bounds;
        pool.agree(terms(&snapshot.settings));
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            pool,
            renewals: Renewals::at(&mom),
            mom,
            held: Held::new(bounds.bodies, Arc::clone(observe.metrics())),
            connections: Arc::new(Semaphore::new(bounds.connections)),
            passed: Arc::new(Semaphore::new(bounds.passed)),
            pipes: Arc::new(Semaphore::new(PIPES)),
            handshakes: Semaphore::new(bounds.handshakes),
            places: Places::new(bounds.mom_ca, bounds.mom_packages),
            observe,
            sources: Sources::new(&bounds),
            certificates: Certificates::new(bounds.connections),
            away: Mutex::default(),
            ends: watch::Sender::new(false),
            changes: Mutex::new(()),
        })
    }

    /// Makes the next snapshot from the one in force, or leaves that one in force when `make` fails.
    pub(crate) fn change<E>(
        self: &Arc<Self>,
        make: impl FnOnce(&Snapshot) -> Result<Snapshot, E>,
    ) -> Result<(), E> {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot.load_full();
        let next = make(&before)?;
        let roster_changed = next.roster.generation != before.roster.generation;
        let roster = Arc::clone(&next.roster);
        self.pool.agree(terms(&next.settings));
        self.snapshot.store(Arc::new(next));
        if roster_changed {
            self.observe.roster_changed(&before.roster, &roster);
            self.man(&roster);
        }
        Ok(())
    }

    /// Makes the pool hold what the roster says.
    pub(crate) fn man(self: &Arc<Self>, roster: &Roster) {
        let metrics = self.observe.metrics();
        metrics.roster_generation.set(i64::try_from(roster.generation).unwrap_or(i64::MAX));
        self.watch_over(&self.pool, roster);
    }

    /// The pool of an address that passes to backends of its own.
    pub(crate) fn man_backends(self: &Arc<Self>, pool: &Arc<Pool>, addresses: &[String], check: Check) {
        let masters = addresses.iter().filter_map(|address| {
            Some(Master {
                // What a roster's master has a name for, a backend has its address for, in metrics and in the log.
                certname: Certname::parse(address).ok()?,
                address: address.clone(),
                kind: Kind::Open { check },
                standing: Standing::Admitted,
                header_limit: JETTY_HEADER_LIMIT,
                jrubies: None,
            })
        });
        self.watch_over(pool, &Roster { generation: 0, masters: masters.collect() });
    }

    fn watch_over(self: &Arc<Self>, pool: &Arc<Pool>, roster: &Roster) {
        pool.reconcile(roster, |member, beside: &Handle| {
            let asking = probe::keep_asking(Arc::clone(self), Arc::clone(pool), Arc::clone(&member));
            let mut tasks = vec![beside.spawn(asking).abort_handle()];
            if member.kind.is_sealed() {
                let gauging = gauges::keep_asking(Arc::clone(self), Arc::clone(pool), Arc::clone(&member));
                tasks.push(beside.spawn(gauging).abort_handle());
                let testing = outsider::keep_testing(Arc::clone(self), Arc::clone(pool), member);
                tasks.push(beside.spawn(testing).abort_handle());
            }
            tasks
        });
    }

    /// Whether this agent is sent away from the beginning of its run for so many seconds; it is not where it was, and has gone on
    /// since.
    pub(crate) fn sends_away(&self, agent: Option<&Certname>, begins: Begins, seconds: u16) -> bool {
        let Some(agent) = agent.map(|agent| pick::hash(agent.as_str())) else { return true };
        let now = Instant::now();
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let sends = !away.goes_on(agent, begins, now);
        if sends {
            away.sends(agent, begins, seconds, now);
        }
        sends
    }

    /// From now on every answer ends its connection and no new connection is accepted.
    pub(crate) fn end(&self) {
        self.ends.send_replace(true);
    }

    /// Whether the door is being stopped.
    pub(crate) fn is_ending(&self) -> bool {
        *self.ends.borrow()
    }

    /// Waits until the door is told to stop.
    pub(crate) async fn ended(&self) {
        // The sender is our own, so it cannot be gone.
        drop(self.ends.subscribe().wait_for(|ends| *ends).await);
    }

    /// Why the door cannot serve agents now; nothing when it can.
    pub(crate) fn unready(&self) -> Vec<String> {
        let snapshot = self.snapshot.load();
        let mut why = Vec::new();
        if self.is_ending() {
            why.push("the door is being stopped".to_owned());
        }
        let sides = self.pool.sides();
        // Backends of other ports are left out: a broker that is down must not take Puppet's port with it.
        let able = snapshot.settings.listen.iter().map(|listen| match &listen.mode {
            Mode::EndTls(rules) => sides.sealed.fit || (rules.split == Split::ByCapacity && sides.open.fit),
            Mode::Pass(Behind::OpenMasters) => sides.open.fit,
            Mode::Pass(Behind::Backends { .. }) => true,
        });
        if able.into_iter().all(|able| able) {
            return why;
        }
        let masters = &snapshot.roster.masters;
        if masters.is_empty() {
            why.push(
                "the roster is empty: admit a compile master with `stagedoor roster admit CERTNAME`"
                    .to_owned(),
            );
        } else if masters.iter().all(|master| master.standing == Standing::Warm) {
            why.push(
                "every compile master on the roster is warm and none takes requests: admit one with `stagedoor roster \
                 admit CERTNAME`"
                    .to_owned(),
            );
        } else {
            let nobody = match self.pool.nobody() {
                Nobody::TakesWork => "is fit for some address that agents connect to",
                Nobody::IsTested => "has shown yet that it refuses strangers",
                Nobody::IsSealed => "refuses strangers",
            };
            why.push(format!(
                "no compile master on the roster {nobody}: ask /v1/masters of the admin door for why"
            ));
        }
        why
    }
}

fn terms(settings: &Settings) -> Terms {
    let bounds = &settings.bounds;
    let Settings { share, affinity, .. } = *settings;
    Terms { share, affinity, queue: bounds.queue.min(bounds.connections / 2) }
}

impl Snapshot {
    /// What the door shows to a master of this kind, and how it judges it.
    pub(crate) fn tls_towards(&self, kind: Kind) -> &Arc<ClientConfig> {
        match kind {
            // Without its certificate the door is refused there, which is the safe end of a mistake.
            Kind::Sealed { isolation: Isolation::DoorCa } => {
                self.sealed_tls.as_ref().unwrap_or(&self.bare_tls)
            }
            Kind::Sealed { isolation: Isolation::Firewall } | Kind::Open { .. } => &self.bare_tls,
        }
    }

    /// The same with another roster.
    pub(crate) fn with_roster(&self, roster: Arc<Roster>) -> Self {
        Self { roster, ..self.same() }
    }

    /// A copy; every part is shared.
    pub(crate) fn same(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            trust: Arc::clone(&self.trust),
            agents: self.agents.clone(),
            operators: self.operators.clone(),
            sealed_tls: self.sealed_tls.clone(),
            bare_tls: Arc::clone(&self.bare_tls),
            own: self.own.clone(),
            renewal: self.renewal.clone(),
            roster: Arc::clone(&self.roster),
            generation: self.generation,
        }
    }
}
