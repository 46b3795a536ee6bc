//! How long catalogs take: histograms that are shown twice. As text, each bucket has the id of its latest request beside
//! it; as protobuf, the same buckets have a native histogram beside them, whose own are as fine as Prometheus can draw. No
//! format of today can carry both.
//!
//! They are prometheus-client's, each behind locks of its own, unlike what counts every request ([`super::meter`]): a
//! door sees some tens of catalogs in a second.

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

use super::meter::Bounds;
use super::request_id::RequestId;

/// From one bucket of a native histogram to the next: each is at most a tenth wider than the one before.
const FACTOR: f64 = 1.1;
/// Buckets of one native histogram. 1 ms to 20 minutes are 160 of the finest; what has more is drawn half as fine.
const MOST: usize = 100;

/// How often catalogs took how long.
#[derive(Debug)]
pub struct Latency {
    text: HistogramWithExemplars<[(&'static str, String); 1]>,
    protobuf: Histogram,
}

/// How a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    Text,
    /// Prometheus's own messages, each after its length.
    Protobuf,
}

impl Latency {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static Bounds) -> Self {
        let bounds = || bounds.iter().map(Duration::as_secs_f64);
        let native = NativeHistogramConfig::new(FACTOR).max_buckets(MOST);
        Self {
            text: HistogramWithExemplars::new(bounds()),
            protobuf: Histogram::new_classic_and_native(bounds(), native),
        }
    }

    /// This request took so long, until this time.
    pub fn observe(&self, took: Duration, id: RequestId, until: SystemTime) {
        let seconds = took.as_secs_f64();
        self.text.observe(seconds, Some([("request_id", id.as_str().to_owned())]), Some(until));
        self.protobuf.observe(seconds);
    }

    /// Writes it.
    ///
    /// # Errors
    /// What it is written to takes no more.
    pub fn encode(&self, to: MetricEncoder<'_>, format: Format) -> fmt::Result {
        match format {
            Format::Text => self.text.encode(to),
            Format::Protobuf => self.protobuf.encode(to),
        }
    }
}
