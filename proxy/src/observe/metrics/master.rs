//! One compile master's numbers.

use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;

use super::Both;
use super::bounds::{COMPILE, CONNECT, TRANSFER};
use crate::observe::latency::Latency;
use crate::observe::meter::{Counter, Gauge};
use crate::observe::passed::PassOutcome;
use crate::observe::record::{Outcome, Record};

/// One compile master's numbers. Kept by whoever talks to that master; its series end when the master is retired.
#[derive(Debug)]
pub struct MasterMetrics {
    certname: Certname,
    /// Requests it has now, or connections that were passed to it.
    pub in_flight: Gauge,
    /// Those of them whose agent has left: it works for nobody.
    pub orphaned: Gauge,
    /// Times that it was seen to have been started anew.
    pub restarted: Counter,
    /// 1 while it is fit to take requests, else 0.
    pub fit: Gauge,
    /// Health checks it passed.
    pub probes_passed: Counter,
    /// Health checks it failed.
    pub probes_failed: Counter,
    /// 1 while it answers strangers although it is to be sealed, else 0.
    pub unsealed: Gauge,
    /// 1 while nobody knows whether it is sealed, else 0.
    pub untested: Gauge,
    /// Tests of its seal in which a stranger was answered.
    pub seal_answered: Counter,
    /// Tests of its seal in which every stranger was refused.
    pub seal_refused: Counter,
    /// Tests of its seal that came to no verdict.
    pub seal_unclear: Counter,
    /// When its seal was tested last with a verdict, in seconds since 1970; 0 is never.
    pub seal_verdict: Gauge,
    pub(in crate::observe) requests: [Counter; Outcome::ALL.len()],
    pub(in crate::observe) queue: Latency,
    pub(in crate::observe) connect: Latency,
    pub(in crate::observe) first_byte: Latency,
    pub(in crate::observe) transfer: Latency,
    pub(in crate::observe) passed: [Counter; PassOutcome::ALL.len()],
    /// Bytes of connections that were passed to it, counted as they go.
    pub passed_bytes: Both,
    pub(in crate::observe) ejected: [Counter; Ejected::ALL.len()],
    /// Catalogs of agents that it was asked for and could not make.
    pub(in crate::observe) catalogs_failed: Counter,
    /// Times that it forgot its environments when told to.
    pub flushed: Counter,
    /// Times that it did not.
    pub flush_failed: Counter,
}

/// Why a master gets nothing although it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejected {
    /// It failed catalogs that others compile.
    Catalogs,
    /// It failed its health checks.
    Probes,
    /// Requests could not be connected to it.
    Connects,
    /// It answered strangers although it is to be sealed.
    Unsealed,
}

impl Ejected {
    /// Each of them, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Catalogs, Self::Probes, Self::Connects, Self::Unsealed];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Catalogs => "catalogs",
            Self::Probes => "probes",
            Self::Connects => "connects",
            Self::Unsealed => "unsealed",
        }
    }
}

impl MasterMetrics {
    pub(in crate::observe) fn new(certname: Certname) -> Self {
        Self {
            certname,
            in_flight: Gauge::default(),
            fit: Gauge::default(),
            probes_passed: Counter::default(),
            probes_failed: Counter::default(),
            unsealed: Gauge::default(),
            untested: Gauge::default(),
            seal_answered: Counter::default(),
            seal_refused: Counter::default(),
            seal_unclear: Counter::default(),
            seal_verdict: Gauge::default(),
            requests: Default::default(),
            queue: Latency::new(&COMPILE),
            connect: Latency::new(&CONNECT),
            first_byte: Latency::new(&COMPILE),
            transfer: Latency::new(&TRANSFER),
            passed: Default::default(),
            passed_bytes: Both::default(),
            orphaned: Gauge::default(),
            restarted: Counter::default(),
            ejected: Default::default(),
            catalogs_failed: Counter::default(),
            flushed: Counter::default(),
            flush_failed: Counter::default(),
        }
    }

    /// The master.
    #[must_use]
    pub const fn certname(&self) -> &Certname {
        &self.certname
    }

    pub(in crate::observe) fn ejected(&self, why: Ejected) {
        if let Some(counter) = self.ejected.get(why as usize) {
            counter.inc();
        }
    }

    pub(super) fn request(&self, record: &Record) {
        if let Some(counter) = self.requests.get(record.outcome.index()) {
            counter.inc();
        }
        if record.class != Some(Class::Catalog) {
            return;
        }
        let Record { phases, .. } = record;
        for (latency, took) in [
            (&self.queue, phases.queue),
            (&self.connect, phases.connect),
            (&self.first_byte, phases.first_byte),
            (&self.transfer, phases.transfer),
        ] {
            if let Some(took) = took {
                latency.observe(took, record.id, record.ended());
            }
        }
    }
}
