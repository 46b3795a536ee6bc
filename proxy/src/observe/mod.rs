//! Where every outcome passes through: counters, one access line per request, the door's own log.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | what is known about one request when it is over |
//! | [`metrics`] | everything the door counts, as handles |
//! | [`meter`] | what is counted with |
//! | [`scrape`] | the one home of names, units and labels |
//! | [`request_id`] | what joins the agent's trouble, the access line and the master's log |
//!
//! Nothing here can stop a request: counting is a few relaxed additions, and a line that cannot be taken at once is
//! dropped and counted.

pub mod meter;
pub mod metrics;
pub mod record;
pub mod request_id;
pub mod scrape;

use std::sync::Arc;

use stagedoor_config::certname::Certname;

use self::metrics::{MasterMetrics, Metrics};
use self::record::Record;
use self::request_id::{RequestId, RequestIds};
use self::scrape::Scrape;

/// One door's eyes. Handed around as `Arc<Observe>`.
#[derive(Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    scrape: Scrape,
    ids: RequestIds,
}

impl Observe {
    /// Nothing counted yet; `place` is chance, from which request ids go on.
    #[must_use]
    pub fn new(place: u64) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        let scrape = Scrape::of(Arc::clone(&metrics));
        Arc::new(Self { metrics, scrape, ids: RequestIds::from(place) })
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
