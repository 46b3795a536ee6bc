//! Where every outcome passes through: counters, one access line per request or passed connection, the door's own log.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | what is known about one request when it is over |
//! | [`passed`] | what is known about one passed connection when it is over |
//! | [`metrics`] | everything the door counts, as handles |
//! | [`meter`] | what is counted with |
//! | [`scrape`] | the one home of names, units and labels |
//! | [`request_id`] | what joins the agent's trouble, the access line and the master's log |
//! | [`access`], `line` | one JSON line per request, written off the hot path |
//! | [`log`] | the door's own sentences |
//!
//! Nothing here can stop a request: counting is a few relaxed additions, and a line that cannot be taken at once is
//! dropped and counted.

pub mod access;
mod line;
pub mod log;
pub mod meter;
pub mod metrics;
pub mod passed;
pub mod record;
pub mod request_id;
pub mod scrape;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stagedoor_config::certname::Certname;

use self::access::{AccessLog, NoAccessLog};
use self::metrics::{MasterMetrics, Metrics};
use self::passed::Passed;
use self::record::Record;
use self::request_id::{RequestId, RequestIds};
use self::scrape::Scrape;

/// One door's eyes. Handed around as `Arc<Observe>`.
#[derive(Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    scrape: Scrape,
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
    pub fn start(place: u64, access_log: Option<&Path>) -> Result<Arc<Self>, NoAccessLog> {
        let metrics = Arc::new(Metrics::new());
        let access = access_log.map(|file| AccessLog::start(file, Arc::clone(&metrics))).transpose()?;
        Ok(Self::with(place, metrics, access))
    }

    fn with(place: u64, metrics: Arc<Metrics>, access: Option<AccessLog>) -> Arc<Self> {
        let scrape = Scrape::of(Arc::clone(&metrics));
        Arc::new(Self { metrics, scrape, ids: RequestIds::from(place), access })
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

    /// Every number as OpenMetrics text, to be sent with [`scrape::CONTENT_TYPE`].
    #[must_use]
    pub fn scrape(&self) -> String {
        self.scrape.text()
    }
}

#[cfg(test)]
mod tests;
