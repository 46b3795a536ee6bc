//! Everything the door counts.
//!
//! Fields are handles: whoever has something to count reaches its counter by a field or an index, never by a label.
//! Their names, words and units stand in [`super::scrape`] alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;

use self::bounds::{COMPILE, HANDSHAKE, REMAINING, REQUEST};
pub use self::master::{Ejected, MasterMetrics};
use super::environments::Environments;
use super::latency::Latency;
use super::meter::{Counter, Gauge, Histogram, Tally};
use super::passed::{PassOutcome, Passed};
use super::record::{Asked, Outcome, Record, TlsVersion};
use crate::way::Why;

mod bounds;
mod master;

/// One row for each class, and one for requests that were refused before they had one.
pub(super) const CLASSES: usize = Class::ALL.len() + 1;

/// The counters, gauges and histograms of one door.
#[derive(Debug)]
pub struct Metrics {
    pub(super) requests: [[Counter; Outcome::ALL.len()]; CLASSES],
    pub(super) request_seconds: [Histogram; CLASSES],
    pub(super) request_bytes: [Counter; CLASSES],
    pub(super) response_bytes: [Counter; CLASSES],
    pub(super) failures: [Tally; CLASSES],
    pub(super) masters: Mutex<BTreeMap<Certname, Arc<MasterMetrics>>>,
    environments: Mutex<Environments<EnvironmentMetrics>>,
    pub(super) seat_nanoseconds: [Counter; Class::ALL.len()],

    /// Agent connections open now; raised by `Held::one`.
    pub connections_open: Gauge,
    /// Agent connections accepted.
    pub connections: Counter,
    /// Times that accepting paused because every connection the bounds allow was open.
    pub accepts_paused: Counter,
    /// Connections open now without a verified certificate.
    pub unauthenticated: Gauge,
    /// Connections closed because their source had too many without a verified certificate.
    pub unauthenticated_refused: Counter,
    /// Connections refused before a handshake, by what the first bytes were.
    pub hello_refused: Tally,
    pub(super) handshakes: [Counter; TlsVersion::ALL.len()],
    pub(super) handshakes_failed: [Tally; TlsVersion::ALL.len()],
    /// From the accept to the end of a handshake that succeeded.
    pub handshake_seconds: Histogram,
    /// What agents' certificates have left, once for each handshake that succeeded with one.
    pub agent_certificate_remaining: Histogram,

    pub(super) passed: [[Counter; PassOutcome::ALL.len()]; Why::ALL.len()],
    /// Passed connections open now; raised by `Held::one`.
    pub passed_open: Gauge,
    /// Bytes that passed connections have moved, counted as they go.
    pub passed_bytes: Both,

    /// Requests that carried `X-Client-*` headers, which were removed.
    pub forged_headers: Counter,
    /// Requests that carried Content-Length and Transfer-Encoding at once: seen by the connection ending after them,
    /// so not among those that ask for that, nor among those whose body streams.
    pub both_lengths: Counter,
    /// Bytes of request bodies kept in memory now.
    pub bodies_held: Gauge,
    /// Requests asked once more, by why the attempt before failed.
    pub retries: Tally,
    /// Requests that were not asked of another master because too many had been of late.
    pub retries_denied: Counter,
    /// What the Master of Masters has of CA bootstrap.
    pub mom_ca: MomMetrics,
    /// What the Master of Masters has of packages.
    pub mom_packages: MomMetrics,
    /// What its CA has of renewals.
    pub mom_renewal: MomMetrics,

    /// New settings, certificates, CA files, lists and rosters that came into force, by what they were.
    pub reloads_taken: Tally,
    /// Those that were refused while the old ones stayed in force, by what they were.
    pub reloads_refused: Tally,
    /// When what the door stands on ends, by [`Expiry::index`], in seconds since 1970; 0 is unknown.
    pub expiry: [Gauge; Expiry::ALL.len()],
    /// The roster in force.
    pub roster_generation: Gauge,

    /// Access lines lost because the writer was behind.
    pub access_lines_behind: Counter,
    /// Access lines lost because they could not be written.
    pub access_lines_unwritten: Counter,
}

/// One kind of requests at the Master of Masters.
#[derive(Debug, Default)]
pub struct MomMetrics {
    /// There now.
    pub in_flight: Gauge,
    /// Refused because as many as the bounds allow were there.
    pub refused: Counter,
}

/// Bytes of passed connections, each way.
#[derive(Debug, Default)]
pub struct Both {
    /// From clients.
    pub from_clients: Counter,
    /// To clients.
    pub to_clients: Counter,
}

impl Both {
    /// So many more.
    pub fn add(&self, from_clients: u64, to_clients: u64) {
        // Nearly always one of the two is nothing.
        for (counter, bytes) in [(&self.from_clients, from_clients), (&self.to_clients, to_clients)] {
            if bytes > 0 {
                counter.add(bytes);
            }
        }
    }
}

/// What one environment's catalogs took, and how many could not be made.
#[derive(Debug)]
pub(super) struct EnvironmentMetrics {
    pub(super) compile: Latency,
    pub(super) failed: Counter,
}

/// What ends on a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The ECDSA certificate shown to agents.
    DoorEcdsa,
    /// The RSA certificate shown to agents.
    DoorRsa,
    /// The certificate shown to masters.
    MasterClient,
    /// The certificate shown to the CA for renewals.
    Renewal,
    /// The first certificate of the Puppet CA's bundle to end.
    PuppetCa,
    /// The first of the Puppet CA's lists of revoked certificates whose next update is due.
    Crl,
    /// The first certificate of the door CA to end.
    DoorCa,
    /// The first of the door CA's lists whose next update is due.
    DoorCaCrl,
}

impl Expiry {
    /// Each of them, in the order of [`Expiry::index`].
    pub const ALL: [Self; 8] = [
        Self::DoorEcdsa,
        Self::DoorRsa,
        Self::MasterClient,
        Self::Renewal,
        Self::PuppetCa,
        Self::Crl,
        Self::DoorCa,
        Self::DoorCaCrl,
    ];

    /// Its place in [`Metrics::expiry`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it: a CA's is that of its lists as well.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DoorEcdsa => "door_ecdsa",
            Self::DoorRsa => "door_rsa",
            Self::MasterClient => "master_client",
            Self::Renewal => "renewal",
            Self::PuppetCa | Self::Crl => "puppet_ca",
            Self::DoorCa | Self::DoorCaCrl => "door_ca",
        }
    }

    /// Whether it is a list, and what ends is its promise of the next one.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Crl | Self::DoorCaCrl)
    }
}

/// What is read anew when its files change.
const RELOADED: [&str; 4] = ["puppet_ca", "certificate", "master_client", "renewal"];

/// What shipped alerts look for stands at zero from the start, or its first time would not be seen.
fn failures(class: usize) -> Tally {
    let class = Class::ALL.get(class).copied();
    Tally::of(match class {
        Some(Class::Ca | Class::Csr | Class::Renewal | Class::Packages) => {
            &["unreachable", "closed", "silent", "connections_full"]
        }
        Some(class) if class.needs_seat() => &["shed", "queue_full", "in_vain"],
        _ => &[],
    })
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            requests: Default::default(),
            request_seconds: std::array::from_fn(|_| Histogram::new(&REQUEST)),
            request_bytes: Default::default(),
            response_bytes: Default::default(),
            failures: std::array::from_fn(failures),
            masters: Mutex::default(),
            environments: Mutex::new(Environments::new(Arc::new(EnvironmentMetrics::new()))),
            seat_nanoseconds: Default::default(),
            connections_open: Gauge::default(),
            connections: Counter::default(),
            accepts_paused: Counter::default(),
            unauthenticated: Gauge::default(),
            unauthenticated_refused: Counter::default(),
            hello_refused: Tally::of(&[]),
            handshakes: Default::default(),
            handshakes_failed: std::array::from_fn(|_| Tally::of(&[])),
            handshake_seconds: Histogram::new(&HANDSHAKE),
            agent_certificate_remaining: Histogram::of_years(&REMAINING),
            passed: Default::default(),
            passed_open: Gauge::default(),
            passed_bytes: Both::default(),
            forged_headers: Counter::default(),
            both_lengths: Counter::default(),
            bodies_held: Gauge::default(),
            retries: Tally::of(&["unconnected", "closed_idle", "nothing_sent", "cut", "refused", "silent"]),
            retries_denied: Counter::default(),
            mom_ca: MomMetrics::default(),
            mom_packages: MomMetrics::default(),
            mom_renewal: MomMetrics::default(),
            reloads_taken: Tally::of(&RELOADED),
            reloads_refused: Tally::of(&RELOADED),
            expiry: Default::default(),
            roster_generation: Gauge::default(),
            access_lines_behind: Counter::default(),
            access_lines_unwritten: Counter::default(),
        }
    }

    pub(super) fn passed(&self, passed: &Passed) {
        let outcome = passed.outcome.index();
        let of_all = self.passed.get(passed.why.index()).and_then(|row| row.get(outcome));
        let of_master = passed.master.as_ref().and_then(|master| master.passed.get(outcome));
        for counter in [of_all, of_master].into_iter().flatten() {
            counter.inc();
        }
    }

    /// A handshake succeeded.
    pub fn handshake(&self, version: TlsVersion, took: Duration) {
        if let Some(counter) = self.handshakes.get(version.index()) {
            counter.inc();
        }
        self.handshake_seconds.observe(took);
    }

    pub(super) fn handshake_failed(&self, version: TlsVersion, reason: &'static str) {
        if let Some(tally) = self.handshakes_failed.get(version.index()) {
            tally.count(reason);
        }
    }

    /// The end of `what` is this many seconds after 1970; none where there is no such thing.
    pub fn expires(&self, what: Expiry, at: Option<u64>) {
        if let Some(gauge) = self.expiry.get(what.index()) {
            gauge.set(at.map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX)));
        }
    }

    /// The numbers of one kind of requests at the Master of Masters; none for a class that does not go there.
    #[must_use]
    pub const fn mom(&self, class: Class) -> Option<&MomMetrics> {
        match class {
            Class::Ca | Class::Csr => Some(&self.mom_ca),
            Class::Packages => Some(&self.mom_packages),
            Class::Renewal => Some(&self.mom_renewal),
            _ => None,
        }
    }

    pub(super) fn masters(&self) -> MutexGuard<'_, BTreeMap<Certname, Arc<MasterMetrics>>> {
        self.masters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each environment's numbers with its name; the last is what the others have together.
    pub(super) fn environments(&self) -> Vec<(String, Arc<EnvironmentMetrics>)> {
        let environments = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        environments.iter().map(|(name, has)| (name.to_owned(), Arc::clone(has))).collect()
    }

    fn environment(&self, name: Option<&str>) -> Arc<EnvironmentMetrics> {
        let mut environments = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        environments.of(name, Instant::now(), EnvironmentMetrics::new)
    }

    pub(super) fn catalog_failed(&self, environment: Option<&str>) {
        self.environment(environment).failed.inc();
    }

    /// A request of this class had a JRuby for so long.
    pub fn seated(&self, class: Class, took: Duration) {
        if let Some(counter) = self.seat_nanoseconds.get(class.index()) {
            counter.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn request(&self, record: &Record) {
        let class = record.class.map_or(CLASSES - 1, Class::index);
        let outcome = record.outcome.index();
        if let Some(counter) = self.requests.get(class).and_then(|row| row.get(outcome)) {
            counter.inc();
        }
        if let Some(histogram) = self.request_seconds.get(class) {
            histogram.observe(record.phases.total);
        }
        for (row, bytes) in [(&self.request_bytes, record.bytes_in), (&self.response_bytes, record.bytes_out)]
        {
            if let Some(counter) = row.get(class) {
                counter.add(bytes);
            }
        }
        if let (Some(reason), Some(tally)) = (record.reason, self.failures.get(class)) {
            tally.count(reason);
        }
        if let Asked::Master(master) = &record.asked {
            master.request(record);
            if record.is_compiled() {
                let environment = self.environment(record.environment.as_deref());
                environment.compile.observe(record.phases.total, record.id, record.ended());
            }
        }
    }
}

impl EnvironmentMetrics {
    fn new() -> Self {
        Self { compile: Latency::new(&COMPILE), failed: Counter::default() }
    }
}
