//! The one home of every metric's name, unit, words and labels, and how they become OpenMetrics text.
//!
//! Labels are `master`, `class`, `outcome`, `reason`, `tls_version`, `phase`, `kind` and `what`: all of them words of the
//! program or names on the roster; and `environment`, of which there are no more than [`super::environments`] has places.
//! Never a certname of an agent, an address or a path: whoever reaches the door could make as many as they like.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_protobuf, text};
use prometheus_client::registry::{Registry, Unit};
use stagedoor_config::admin::seats::Seats;
use stagedoor_config::class::Class;

use self::page::{NO_LABELS, Page};
use super::latency::Format;
use super::levels::Levels;
use super::meter::Counter;
use super::metrics::{CLASSES, Ejected, Expiry, MasterMetrics, Metrics};
use super::passed::PassOutcome;
use super::record::{Outcome, TlsVersion};
use crate::way::Why;

mod page;

/// The Content-Type of [`text`].
pub const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The Content-Type of [`protobuf`].
pub const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// OpenMetrics text of one door's numbers, `# EOF` included.
pub(super) fn text(metrics: Arc<Metrics>, levels: Levels) -> String {
    // A door with ten masters makes about 60 KiB.
    let mut page = String::with_capacity(64 * 1024);
    // Writing to a string cannot fail; an empty page would be the honest answer to the impossible.
    if text::encode(&mut page, &registry(metrics, levels, Format::Text)).is_err() {
        page.clear();
    }
    page
}

/// The same as Prometheus's protobuf messages, which alone can hold native histograms.
pub(super) fn protobuf(metrics: Arc<Metrics>, levels: Levels) -> Vec<u8> {
    prometheus_protobuf::encode_to_vec(&registry(metrics, levels, Format::Protobuf)).unwrap_or_default()
}

pub(super) fn registry(metrics: Arc<Metrics>, levels: Levels, format: Format) -> Registry {
    let mut registry = Registry::with_prefix("stagedoor");
    registry.register_collector(Box::new(Families { metrics, levels, format }));
    registry
}

#[derive(Debug)]
struct Families {
    metrics: Arc<Metrics>,
    levels: Levels,
    format: Format,
}

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { metrics: m, levels, format } = self;
        let masters: Vec<Arc<MasterMetrics>> = m.masters().values().cloned().collect();
        // Nothing is passed to a sealed master, and nothing read of what an open one is passed.
        let has = |m: &MasterMetrics| levels.masters.get(m.certname());
        let of = |unless: bool| {
            let shown = masters.iter().filter(|m| has(m).is_none_or(|has| has.seats.is_some() != unless));
            shown.cloned().collect::<Vec<_>>()
        };
        let (passed_to, read_of) = (of(true), of(false));
        let mut page = Page { to: encoder, format: *format };
        page.build()?;
        requests(&mut page, m)?;
        seats(&mut page, levels, m)?;
        connections(&mut page, m)?;
        passed(&mut page, m, &passed_to)?;
        per_master(&mut page, &masters, levels)?;
        seals(&mut page, &read_of)?;
        compile(&mut page, m, &read_of)?;
        kept(&mut page, m, levels)
    }
}

fn requests(page: &mut Page<'_>, m: &Metrics) -> fmt::Result {
    let mut family = page.counter("requests", "Requests by class and how they ended", None)?;
    for (class, row) in classes().zip(&m.requests) {
        for (outcome, counter) in Outcome::ALL.iter().zip(row) {
            family.count([("class", class), ("outcome", outcome.name())], counter.get())?;
        }
    }
    let mut family = page.counter("request_failures", "Requests that did not end well, by why", None)?;
    for (class, tally) in classes().zip(&m.failures) {
        for (reason, count) in tally.read() {
            family.count([("class", class), ("reason", reason)], count)?;
        }
    }
    let mut family =
        page.histogram("request", "From the head of a request to the last byte of its answer")?;
    for (class, histogram) in classes().zip(&m.request_seconds) {
        family.histogram([("class", class)], histogram)?;
    }
    for (name, help, row) in [
        ("request", "Body bytes from agents", &m.request_bytes),
        ("response", "Body bytes to agents", &m.response_bytes),
    ] {
        let mut family = page.counter(name, help, Some(&Unit::Bytes))?;
        for (class, counter) in classes().zip(row) {
            family.count([("class", class)], counter.get())?;
        }
    }
    page.one(
        "forged_headers",
        "Requests that carried X-Client headers, which were removed",
        &m.forged_headers,
    )?;
    page.one(
        "both_lengths",
        "Requests that carried Content-Length and Transfer-Encoding at once",
        &m.both_lengths,
    )?;
    page.level("bodies_held", "Request bodies kept in memory", Some(&Unit::Bytes), &m.bodies_held)?;
    page.tally("retries", "Requests asked once more, by why the attempt before failed", &m.retries)?;
    let help = "Requests that were not asked of another master, since a fifth of all had been of late";
    page.counter("retries_denied", help, None)?.count([], m.retries_denied.get())?;
    let mom = [
        (Class::Ca.name(), &m.mom_ca),
        (Class::Packages.name(), &m.mom_packages),
        (Class::Renewal.name(), &m.mom_renewal),
    ];
    let mut family = page.gauge("mom_in_flight", "Requests at the Master of Masters", None)?;
    for (class, numbers) in mom {
        family.level([("class", class)], numbers.in_flight.get())?;
    }
    let mut family =
        page.counter("mom_refused", "Requests beyond what the Master of Masters may have", None)?;
    for (class, numbers) in mom {
        family.count([("class", class)], numbers.refused.get())?;
    }
    Ok(())
}

fn seats(page: &mut Page<'_>, levels: &Levels, m: &Metrics) -> fmt::Result {
    type Level = fn(&Seats) -> u32;
    let of_masters: [(&str, &str, Level); 4] = [
        ("master_seats", "JRubies of a master that are this door's to give", |seats| seats.ours),
        ("master_seats_taken", "JRubies of a master that have a request of this door's", |seats| seats.taken),
        ("master_seats_others", "JRubies of a master that somebody else has borrowed", |seats| seats.others),
        (
            "master_pool_locked",
            "1 while a master's JRubies are locked, as for a deploy or a flush",
            |seats| u32::from(seats.locked),
        ),
    ];
    for (name, help, level) in of_masters {
        let mut family = page.gauge(name, help, None)?;
        for (master, has) in &levels.masters {
            if let Some(seats) = &has.seats {
                family.level([("master", master.as_str())], i64::from(level(seats)))?;
            }
        }
    }
    let help = "How long JRubies had a request of this door's";
    let mut family = page.counter("seat", help, Some(&Unit::Seconds))?;
    for class in Class::ALL.iter().filter(|class| class.needs_seat()) {
        let nanoseconds = m.seat_nanoseconds.get(class.index()).map_or(0, Counter::get);
        family.seconds([("class", class.name())], nanoseconds)?;
    }
    let mut family = page.gauge("queue_length", "Requests that wait for a JRuby", None)?;
    for (kind, many) in [("catalog", levels.catalogs), ("small", levels.small)] {
        family.level([("kind", kind)], i64::try_from(many).unwrap_or(i64::MAX))?;
    }
    for (name, help, time) in [
        ("queue_oldest", "How long the request has waited that has waited longest", levels.oldest),
        ("queue_expected", "How long a catalog that came now would wait", levels.expected),
        ("catalogs_held", "How much longer catalogs are kept while PuppetDB restarts", levels.held),
    ] {
        page.gauge(name, help, Some(&Unit::Seconds))?.level(NO_LABELS, time.as_secs_f64())?;
    }
    Ok(())
}

fn connections(page: &mut Page<'_>, m: &Metrics) -> fmt::Result {
    page.level("connections_open", "Agent connections open", None, &m.connections_open)?;
    page.one("connections", "Agent connections accepted", &m.connections)?;
    page.one("accepts_paused", "Times accepting paused at the bound of connections", &m.accepts_paused)?;
    let help = "Connections open without a verified certificate";
    page.level("unauthenticated_connections", help, None, &m.unauthenticated)?;
    let help = "Connections closed because their source had too many without a verified certificate";
    page.one("unauthenticated_refused", help, &m.unauthenticated_refused)?;
    page.tally(
        "hello_refused",
        "Connections refused before a handshake, by what they said",
        &m.hello_refused,
    )?;
    let mut family = page.counter("handshakes", "Handshakes with agents", None)?;
    for (version, counter) in TlsVersion::ALL.iter().zip(&m.handshakes) {
        let labels = [("outcome", "completed"), ("reason", ""), ("tls_version", version.name())];
        family.count(labels, counter.get())?;
    }
    for (version, tally) in TlsVersion::ALL.iter().zip(&m.handshakes_failed) {
        for (reason, count) in tally.read() {
            family
                .count([("outcome", "failed"), ("reason", reason), ("tls_version", version.name())], count)?;
        }
    }
    let mut family = page.histogram("handshake", "From the accept to the end of a completed handshake")?;
    family.histogram(NO_LABELS, &m.handshake_seconds)?;
    let help = "What agents' certificates have left before their end, at each handshake with one";
    let mut family = page.histogram("agent_certificate_remaining", help)?;
    family.histogram(NO_LABELS, &m.agent_certificate_remaining)
}

fn passed(page: &mut Page<'_>, m: &Metrics, masters: &[Arc<MasterMetrics>]) -> fmt::Result {
    page.level("passed_open", "Passed connections open", None, &m.passed_open)?;
    let mut family = page.counter("passed", "Passed connections by why and how they ended", None)?;
    for (why, row) in Why::ALL.iter().zip(&m.passed) {
        for (outcome, counter) in PassOutcome::ALL.iter().zip(row) {
            family.count([("reason", why.name()), ("outcome", outcome.name())], counter.get())?;
        }
    }
    for (name, help, counter) in [
        ("passed_in", "Bytes from clients on passed connections", &m.passed_bytes.from_clients),
        ("passed_out", "Bytes to clients on passed connections", &m.passed_bytes.to_clients),
    ] {
        page.counter(name, help, Some(&Unit::Bytes))?.count(NO_LABELS, counter.get())?;
    }
    let name = |m: &MasterMetrics| m.certname().clone();
    let mut family =
        page.counter("master_passed", "Connections passed to a master and how they ended", None)?;
    for m in masters {
        for (outcome, counter) in PassOutcome::ALL.iter().zip(&m.passed) {
            family.count([("master", name(m).as_str()), ("outcome", outcome.name())], counter.get())?;
        }
    }
    let mut family = page.counter("master_passed_in", "Bytes passed to a master", Some(&Unit::Bytes))?;
    for m in masters {
        family.count([("master", name(m).as_str())], m.passed_bytes.from_clients.get())?;
    }
    let mut family = page.counter("master_passed_out", "Bytes passed from a master", Some(&Unit::Bytes))?;
    for m in masters {
        family.count([("master", name(m).as_str())], m.passed_bytes.to_clients.get())?;
    }
    Ok(())
}

fn per_master(page: &mut Page<'_>, masters: &[Arc<MasterMetrics>], levels: &Levels) -> fmt::Result {
    let name = |m: &MasterMetrics| m.certname().clone();
    let mut family =
        page.gauge("master_in_flight", "Requests, or passed connections, that a master has", None)?;
    for m in masters {
        family.level([("master", name(m).as_str())], m.in_flight.get())?;
    }
    let help = "Requests that a master still works at although their agents have left";
    let mut family = page.gauge("master_orphaned", help, None)?;
    for m in masters {
        family.level([("master", name(m).as_str())], m.orphaned.get())?;
    }
    let mut family = page.gauge("master_fit", "1 while a master is fit to take requests", None)?;
    for m in masters {
        // Health checks alone do not know of a master that fails catalogs.
        let out = levels.masters.get(m.certname()).is_some_and(|has| has.out);
        family.level([("master", name(m).as_str())], if out { 0 } else { m.fit.get() })?;
    }
    let mut family =
        page.counter("master_requests", "Requests by the master asked last and how they ended", None)?;
    for m in masters {
        for (outcome, counter) in Outcome::ALL.iter().zip(&m.requests) {
            family.count([("master", name(m).as_str()), ("outcome", outcome.name())], counter.get())?;
        }
    }
    let mut family = page.counter("probes", "Health checks", None)?;
    for m in masters {
        for (outcome, counter) in [("passed", &m.probes_passed), ("failed", &m.probes_failed)] {
            family.count([("master", name(m).as_str()), ("outcome", outcome)], counter.get())?;
        }
    }
    let help = "Times that a master that is admitted got nothing more, by why";
    let mut family = page.counter("ejections", help, None)?;
    for m in masters {
        for (why, counter) in Ejected::ALL.iter().zip(&m.ejected) {
            family.count([("master", name(m).as_str()), ("reason", why.name())], counter.get())?;
        }
    }
    let help = "Catalogs that a master was asked for and could not make";
    let mut family = page.counter("master_catalog_failures", help, None)?;
    for m in masters {
        family.count([("master", name(m).as_str())], m.catalogs_failed.get())?;
    }
    let help = "Times that a master was seen to have been started anew, by its own uptime";
    let mut family = page.counter("master_restarts", help, None)?;
    for m in masters {
        family.count([("master", name(m).as_str())], m.restarted.get())?;
    }
    let help = "Times that a master was told to forget its environments";
    let mut family = page.counter("flushes", help, None)?;
    for m in masters {
        for (outcome, counter) in [("flushed", &m.flushed), ("failed", &m.flush_failed)] {
            family.count([("master", name(m).as_str()), ("outcome", outcome)], counter.get())?;
        }
    }
    Ok(())
}

fn compile(page: &mut Page<'_>, m: &Metrics, masters: &[Arc<MasterMetrics>]) -> fmt::Result {
    // Each phase has a scale of its own, so sums over phases mean nothing.
    let help = "Where the time of catalogs goes: queue (waiting for a JRuby), connect, first_byte (the compile), transfer";
    let mut family = page.histogram("compile_phase", help)?;
    for m in masters {
        for (phase, latency) in [
            ("queue", &m.queue),
            ("connect", &m.connect),
            ("first_byte", &m.first_byte),
            ("transfer", &m.transfer),
        ] {
            family.latency([("master", m.certname().as_str()), ("phase", phase)], latency)?;
        }
    }
    let environments = m.environments();
    let help = "Catalogs that were compiled, from their request's head to the last byte";
    let mut family = page.histogram("compile", help)?;
    for (name, has) in &environments {
        family.latency([("environment", name.as_str())], &has.compile)?;
    }
    let help = "Catalogs that a master was asked for and could not make, by environment";
    let mut family = page.counter("catalog_failures", help, None)?;
    for (name, has) in &environments {
        family.count([("environment", name.as_str())], has.failed.get())?;
    }
    Ok(())
}

fn seals(page: &mut Page<'_>, masters: &[Arc<MasterMetrics>]) -> fmt::Result {
    let help = "1 while a master answers strangers although it is to be sealed";
    let mut family = page.gauge("master_unsealed", help, None)?;
    for m in masters {
        family.level([("master", m.certname().as_str())], m.unsealed.get())?;
    }
    let help = "1 while nobody knows whether a master that is to be sealed answers strangers";
    let mut family = page.gauge("master_untested", help, None)?;
    for m in masters {
        family.level([("master", m.certname().as_str())], m.untested.get())?;
    }
    let help = "Tests whether masters answer strangers, by how it went for the stranger";
    let mut family = page.counter("seal_tests", help, None)?;
    for m in masters {
        for (outcome, counter) in
            [("answered", &m.seal_answered), ("refused", &m.seal_refused), ("unclear", &m.seal_unclear)]
        {
            family.count([("master", m.certname().as_str()), ("outcome", outcome)], counter.get())?;
        }
    }
    let help = "When the last test with a verdict ended, in seconds since 1970";
    let mut family = page.gauge("seal_verdict_timestamp", help, Some(&Unit::Seconds))?;
    for m in masters {
        family.known([("master", m.certname().as_str())], &m.seal_verdict)?;
    }
    Ok(())
}

fn kept(page: &mut Page<'_>, m: &Metrics, levels: &Levels) -> fmt::Result {
    let ready = page.gauge("ready", "1 while agents should be sent to this door", None);
    ready?.level(NO_LABELS, i64::from(levels.ready))?;
    let help = "1 for a master that the roster lets take new requests, 0 for one that is warm or drains";
    let mut family = page.gauge("master_admitted", help, None)?;
    for (master, has) in &levels.masters {
        family.level([("master", master.as_str())], i64::from(has.admitted))?;
    }
    let help = "Settings, certificates, CA files, lists and rosters that changed";
    let mut family = page.counter("reloads", help, None)?;
    for (outcome, tally) in [("taken", &m.reloads_taken), ("refused", &m.reloads_refused)] {
        for (what, count) in tally.read() {
            family.count([("what", what), ("outcome", outcome)], count)?;
        }
    }
    let help = "When a certificate ends, in seconds since 1970";
    let mut family = page.gauge("certificate_expiry_timestamp", help, Some(&Unit::Seconds))?;
    for (what, gauge) in Expiry::ALL.iter().zip(&m.expiry).filter(|(what, _)| !what.is_list()) {
        family.known([("what", what.name())], gauge)?;
    }
    let help = "When the next list of revoked certificates is due, in seconds since 1970";
    let mut family = page.gauge("crl_next_update_timestamp", help, Some(&Unit::Seconds))?;
    for (what, gauge) in Expiry::ALL.iter().zip(&m.expiry).filter(|(what, _)| what.is_list()) {
        family.known([("what", what.name())], gauge)?;
    }
    page.level("roster_generation", "The generation of the roster in force", None, &m.roster_generation)?;
    let mut family = page.counter("access_lines_dropped", "Access lines lost, by why", None)?;
    for (reason, counter) in [("behind", &m.access_lines_behind), ("unwritten", &m.access_lines_unwritten)] {
        family.count([("reason", reason)], counter.get())?;
    }
    Ok(())
}

fn classes() -> impl Iterator<Item = &'static str> {
    let names = Class::ALL.iter().map(|class| class.name()).chain(std::iter::once("none"));
    debug_assert_eq!(names.clone().count(), CLASSES);
    names
}
