//! How families and their series are written, whatever the format.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::observe::latency::{Format, Latency};
use crate::observe::meter::{Counter, Gauge, Histogram, Tally};

/// Of a family that has one series.
pub(super) const NO_LABELS: [(&str, &str); 0] = [];

/// Where families are written one after the other.
pub(super) struct Page<'a> {
    pub(super) to: DescriptorEncoder<'a>,
    pub(super) format: Format,
}

/// One family being written.
pub(super) struct Family<'a>(MetricEncoder<'a>, Format);

impl Page<'_> {
    pub(super) fn counter<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
    ) -> Result<Family<'s>, fmt::Error> {
        self.family(name, help, unit, MetricType::Counter)
    }

    pub(super) fn gauge<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
    ) -> Result<Family<'s>, fmt::Error> {
        self.family(name, help, unit, MetricType::Gauge)
    }

    pub(super) fn histogram<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram)
    }

    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<Family<'s>, fmt::Error> {
        let format = self.format;
        self.to.encode_descriptor(name, help, unit, kind).map(|to| Family(to, format))
    }

    pub(super) fn one(&mut self, name: &str, help: &str, counter: &Counter) -> fmt::Result {
        self.counter(name, help, None)?.count(NO_LABELS, counter.get())
    }

    pub(super) fn level(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        gauge: &Gauge,
    ) -> fmt::Result {
        self.gauge(name, help, unit)?.level(NO_LABELS, gauge.get())
    }

    pub(super) fn tally(&mut self, name: &str, help: &str, tally: &Tally) -> fmt::Result {
        let mut family = self.counter(name, help, None)?;
        tally.read().try_for_each(|(reason, count)| family.count([("reason", reason)], count))
    }

    pub(super) fn build(&mut self) -> fmt::Result {
        let mut encoder =
            self.to.encode_descriptor("build", "The program that answers", None, MetricType::Info)?;
        encoder.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

impl Family<'_> {
    pub(super) fn count<const N: usize>(&mut self, labels: [(&str, &str); N], count: u64) -> fmt::Result {
        if N == 0 {
            return self.0.encode_counter::<NoLabelSet, u64, u64>(&count, None);
        }
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
    }

    pub(super) fn level<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        level: impl EncodeGaugeValue,
    ) -> fmt::Result {
        if N == 0 {
            return self.0.encode_gauge(&level);
        }
        self.0.encode_family(&labels)?.encode_gauge(&level)
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds is read to a few digits")]
    pub(super) fn seconds<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        nanoseconds: u64,
    ) -> fmt::Result {
        let seconds = nanoseconds as f64 / 1e9;
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, u64>(&seconds, None)
    }

    pub(super) fn latency<const N: usize>(&mut self, labels: [(&str, &str); N], of: &Latency) -> fmt::Result {
        of.encode(self.0.encode_family(&labels)?, self.1)
    }

    /// Absent while 0, which stands for unknown.
    pub(super) fn known<const N: usize>(&mut self, labels: [(&str, &str); N], gauge: &Gauge) -> fmt::Result {
        match gauge.get() {
            0 => Ok(()),
            known => self.level(labels, known),
        }
    }

    pub(super) fn histogram<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        of: &Histogram,
    ) -> fmt::Result {
        let read = of.read();
        self.0.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            read.sum,
            read.count,
            &read.buckets,
            None,
        )
    }
}
