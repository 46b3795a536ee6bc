//! Where every outcome passes through: counters, one access line per request or passed connection, the door's own log.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | what is known about one request when it is over |
//! | [`passed`] | what is known about one passed connection when it is over |
//! | [`metrics`] | everything the door counts, as handles |
//! | [`recent`] | how catalogs went within the last ten minutes |
//! | [`history`] | what happened of late |
//! | [`environments`] | which environments have numbers of their own |
//! | [`levels`] | what is looked at when somebody asks: seats, the queue |
//! | [`meter`], [`latency`] | what is counted with |
//! | [`scrape`] | the one home of names, units and labels |
//! | [`request_id`] | what joins the agent's trouble, the access line and the master's log |
//! | [`access`], `line`, `text` | one line per request, written off the hot path; as JSON, and as words |
//! | [`log`] | the door's own sentences |
//!
//! Nothing here can stop a request: counting is a few relaxed additions, and a line that cannot be taken at once is
//! dropped and counted.

pub mod access;
pub mod environments;
pub mod history;
pub mod latency;
pub mod levels;
mod line;
pub mod log;
pub mod meter;
pub mod metrics;
pub mod passed;
pub mod recent;
pub mod record;
pub mod request_id;
pub mod scrape;
mod text;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stagedoor_config::admin::enrollment::Enrollment;
use stagedoor_config::admin::overview::{Compile, Event};
use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;
use stagedoor_config::proxy as config;
use stagedoor_config::roster::Roster;

use self::access::{AccessLog, NoAccessLog};
use self::history::History;
use self::levels::Levels;
use self::metrics::{Ejected, MasterMetrics, Metrics};
use self::passed::Passed;
use self::recent::Recent;
use self::record::{Outcome, Record, TlsVersion};
use self::request_id::{RequestId, RequestIds};

/// One door's eyes. Handed around as `Arc<Observe>`.
#[derive(Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    recent: Mutex<Recent>,
    history: Mutex<History>,
    started: u64,
    ids: RequestIds,
    access: Option<AccessLog>,
}

impl Observe {
    /// Nothing counted yet and no access log; `place` is chance, from which request ids go on.
    #[must_use]
    pub fn new(place: u64) -> Arc<Self> {
        Self::with(place, Arc::new(Metrics::new()), None)
    }

    /// The same with an access log in that file; `-` is the standard output.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread that writes it not started.
    pub fn start(place: u64, access_log: Option<&config::AccessLog>) -> Result<Arc<Self>, NoAccessLog> {
        let metrics = Arc::new(Metrics::new());
        let access = access_log.map(|log| AccessLog::start(log, Arc::clone(&metrics))).transpose()?;
        Ok(Self::with(place, metrics, access))
    }

    fn with(place: u64, metrics: Arc<Metrics>, access: Option<AccessLog>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            recent: Mutex::new(Recent::new(Instant::now())),
            history: Mutex::default(),
            started: seconds(),
            ids: RequestIds::from(place),
            access,
        })
    }

    /// What may be counted on the way.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// An id for a request that has begun.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.ids.next()
    }

    /// A request is over, however it ended.
    pub fn request(&self, record: Record) {
        self.metrics.request(&record);
        if record.is_compiled() {
            lock(&self.recent).compiled(record.phases.total, Instant::now());
        }
        if let (Outcome::Refused | Outcome::Failed, Some(reason)) = (record.outcome, record.reason) {
            let class = record.class.map_or("none", Class::name);
            lock(&self.history).refused(seconds(), class, reason);
        }
        if let Some(access) = &self.access
            && !access.line(record)
        {
            self.metrics.access_lines_behind.inc();
        }
    }

    /// A passed connection is over, however it ended.
    pub fn passed(&self, passed: Passed) {
        self.metrics.passed(&passed);
        if let Some(access) = &self.access
            && !access.passed(passed)
        {
            self.metrics.access_lines_behind.inc();
        }
    }

    /// A handshake failed, with the version if one was agreed, for a reason that is a word of the program.
    pub fn handshake_failed(&self, version: TlsVersion, reason: &'static str) {
        self.metrics.handshake_failed(version, reason);
        lock(&self.history).refused(seconds(), "handshake", reason);
    }

    /// A master that was asked for a catalog of this environment could not make it.
    pub fn catalog_failed(&self, master: &MasterMetrics, environment: Option<&str>) {
        master.catalogs_failed.inc();
        self.metrics.catalog_failed(environment);
        lock(&self.recent).failed(Instant::now());
    }

    /// A master that is admitted gets nothing from now on.
    pub fn ejected(&self, master: &MasterMetrics, what: Ejected, why: &str) {
        master.ejected(what);
        self.happened(master, false, why);
    }

    /// What put a master out is over: it gets requests again, unless something else keeps it out.
    pub fn is_back(&self, master: &MasterMetrics, why: &str) {
        if master.fit.get() > 0 && master.unsealed.get() == 0 {
            self.happened(master, true, why);
        }
    }

    fn happened(&self, master: &MasterMetrics, back: bool, why: &str) {
        let (at, master, why) = (seconds(), master.certname().clone(), why.to_owned());
        lock(&self.history).happened(Event { at, master, back, why });
    }

    /// The roster is another one from now on.
    pub fn roster_changed(&self, before: &Roster, after: &Roster) {
        lock(&self.history).roster_changed(seconds(), before, after);
    }

    /// An enroller told how far it is; answers with what is remembered of it.
    pub fn enrolls(&self, enrollment: Enrollment) -> Enrollment {
        let enrollment = Enrollment { at: seconds(), ..enrollment };
        lock(&self.history).enrolls(enrollment.clone());
        enrollment
    }

    /// When the door was started, in seconds since 1970.
    #[must_use]
    pub const fn started(&self) -> u64 {
        self.started
    }

    /// How catalogs went within the last ten minutes.
    #[must_use]
    pub fn compile(&self) -> Compile {
        lock(&self.recent).read(Instant::now())
    }

    /// Looks at what happened of late.
    pub fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&lock(&self.history))
    }

    /// Opens the access log's file anew, as after a rotation.
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }

    /// Writes the access lines that wait and ends the log; false when that took longer than `within`. Blocks.
    #[must_use]
    pub fn close(&self, within: Duration) -> bool {
        self.access.as_ref().is_none_or(|access| access.close(within))
    }

    /// The numbers of a master that is on the roster: the same ones for as long as it stays there.
    ///
    /// Takes a lock: ask once, when the master joins, and keep the answer.
    pub fn master(&self, certname: &Certname) -> Arc<MasterMetrics> {
        let mut masters = self.metrics.masters();
        let entry = masters.entry(certname.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(MasterMetrics::new(certname.clone()))))
    }

    /// A master has left the roster: its series end. Requests that it still has go on counting where nobody looks.
    pub fn retire(&self, certname: &Certname) {
        self.metrics.masters().remove(certname);
    }

    /// Every number as OpenMetrics text, to be sent with [`scrape::TEXT`].
    #[must_use]
    pub fn text(&self, levels: Levels) -> String {
        scrape::text(Arc::clone(&self.metrics), levels)
    }

    /// Every number as Prometheus's protobuf messages, to be sent with [`scrape::PROTOBUF`].
    #[must_use]
    pub fn protobuf(&self, levels: Levels) -> Vec<u8> {
        scrape::protobuf(Arc::clone(&self.metrics), levels)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time, in seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
