use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use http::Method;
use stagedoor_config::admin::seats::{Known, Seats};
use stagedoor_config::class::Class;

use super::latency::Format;
use super::levels::MasterLevels;
use super::metrics::{Ejected, Expiry};
use super::passed::PassOutcome;
use super::record::{Asked, Outcome, Phases, TlsVersion};
use super::*;
use crate::answer::Refusal;
use crate::way::Why;
use prometheus_client::encoding::prometheus_protobuf;

/// Every label that a series of the door may carry.
const LABELS: [&str; 11] = [
    "master",
    "class",
    "environment",
    "outcome",
    "reason",
    "tls_version",
    "phase",
    "kind",
    "what",
    "le",
    "version",
];

pub(super) fn certname(text: &str) -> Certname {
    Certname::parse(text).unwrap()
}

pub(super) fn record(observe: &Observe, path: &str) -> Record {
    let peer = "192.0.2.7:50123".parse().unwrap();
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(1_766_274_259_123);
    Record::begin(began, observe.request_id(), peer, TlsVersion::Tls13, &Method::POST, path)
}

/// A catalog of 512 kB of facts that was compiled, and where its time went.
pub(super) fn compiled(observe: &Observe, phases: Phases) -> Record {
    Record {
        bytes_in: 512_000,
        bytes_out: 90_000,
        phases,
        ..catalog(observe, &observe.master(&certname("compile1.example.com")))
    }
}

/// A connection that was passed to the second master tried.
pub(super) fn passed(observe: &Observe) -> Passed {
    Passed {
        began: SystemTime::UNIX_EPOCH + Duration::from_millis(1_766_274_259_123),
        peer: "192.0.2.7:50123".parse().unwrap(),
        why: Why::OldTls,
        offered: Some(0x0301),
        master: Some(observe.master(&certname("compile1.example.com"))),
        attempts: 2,
        bytes_in: 1_234,
        bytes_out: 56_789,
        connect: Some(Duration::from_micros(1_500)),
        total: Duration::from_secs(7),
        outcome: PassOutcome::Done,
    }
}

fn catalog(observe: &Observe, master: &Arc<MasterMetrics>) -> Record {
    let second = Duration::from_secs;
    Record {
        certname: Some(certname("web01.example.com")),
        class: Some(Class::Catalog),
        environment: Some("production".into()),
        asked: Asked::Master(Arc::clone(master)),
        status: 200,
        outcome: Outcome::Answered,
        attempts: 1,
        bytes_in: 500_000,
        bytes_out: 2_000,
        phases: Phases {
            queue: None,
            body: Some(second(1)),
            connect: None,
            first_byte: Some(second(7)),
            transfer: Some(Duration::from_millis(3)),
            total: second(9),
        },
        ..record(observe, "/puppet/v3/catalog/web01.example.com")
    }
}

/// Series → value, after holding the text against the rules of OpenMetrics that a scraper enforces.
fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with("# EOF\n") && page.matches("# EOF").count() == 1);
    let (mut family, mut unit, mut kind) = (String::new(), String::new(), String::new());
    let (mut seen, mut series) = (BTreeSet::new(), BTreeMap::new());
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            match words[0] {
                "HELP" => {
                    family = words[1].to_owned();
                    unit.clear();
                    assert!(words[2].len() > 10, "{line}");
                    assert!(seen.insert(family.clone()), "family {family} stands twice");
                }
                "TYPE" => words[2].clone_into(&mut kind),
                "UNIT" => words[2].clone_into(&mut unit),
                _ => panic!("{line}"),
            }
            assert_eq!(words[1], family);
            assert!(family.ends_with(&unit));
            continue;
        }
        let (line, exemplar) = line.split_once(" # ").map_or((line, None), |(line, of)| (line, Some(of)));
        assert!(exemplar.is_none_or(|of| of.starts_with("{request_id=\"") && of.len() < 128), "{exemplar:?}");
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (metric, labels) = name.strip_suffix('}').map_or((name, ""), |n| n.split_once('{').unwrap());
        let suffix = metric.strip_prefix(&family).unwrap_or_else(|| panic!("{line} outside of {family}"));
        let expected: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_sum", "_count", "_bucket"],
            "info" => &["_info"],
            _ => &[""],
        };
        assert!(expected.contains(&suffix) && family.starts_with("stagedoor_"), "{line}");
        for label in labels.split("\",").filter(|l| !l.is_empty()) {
            let key = label.split('=').next().unwrap();
            assert!(LABELS.contains(&key), "unbounded label {key} in {line}");
        }
        assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} stands twice");
    }
    series
}

#[test]
fn the_scrape_is_openmetrics_with_bounded_labels_and_one_home_for_each_family() {
    let observe = Observe::new(1);
    let master = observe.master(&certname("compile1.example.com"));
    observe.request(catalog(&observe, &master));
    let mut failed = record(&observe, "/x");
    failed.refused(Refusal::NoMasterFit);
    observe.request(failed);
    let m = observe.metrics();
    m.handshake(TlsVersion::Tls12, Duration::from_millis(4));
    observe.handshake_failed(TlsVersion::Unknown, "revoked");
    m.expires(Expiry::Crl, Some(1_800_000_000));
    m.expires(Expiry::DoorCaCrl, Some(1_900_000_000));
    m.reloads_refused.count("crl");
    observe.catalog_failed(&master, Some("broken"));
    m.seated(Class::Catalog, Duration::from_millis(2500));
    master.ejected(Ejected::Probes);
    master.fit.set(1);
    let seats = Seats { jrubies: 5, known: Known::Gauges, ours: 4, taken: 3, others: 1, locked: true };
    let has = MasterLevels { admitted: true, out: true, seats: Some(seats) };
    let levels = Levels {
        ready: true,
        masters: [(certname("compile1.example.com"), has)].into(),
        small: 2,
        catalogs: 5,
        oldest: Duration::from_millis(1500),
        expected: Duration::from_secs(12),
        held: Duration::ZERO,
    };
    let page = observe.text(levels);
    let series = parse(&page);
    for (name, value) in [
        ("stagedoor_requests_total{class=\"catalog\",outcome=\"answered\"}", 1.0),
        ("stagedoor_requests_total{class=\"none\",outcome=\"failed\"}", 1.0),
        ("stagedoor_requests_total{class=\"ca\",outcome=\"refused\"}", 0.0),
        ("stagedoor_request_failures_total{class=\"none\",reason=\"no_master_fit\"}", 1.0),
        ("stagedoor_request_seconds_count{class=\"catalog\"}", 1.0),
        ("stagedoor_request_seconds_sum{class=\"catalog\"}", 9.0),
        ("stagedoor_request_bytes_total{class=\"catalog\"}", 500_000.0),
        (
            "stagedoor_compile_phase_seconds_bucket{le=\"5.0\",master=\"compile1.example.com\",phase=\"first_byte\"}",
            0.0,
        ),
        (
            "stagedoor_compile_phase_seconds_bucket{le=\"10.0\",master=\"compile1.example.com\",phase=\"first_byte\"}",
            1.0,
        ),
        (
            "stagedoor_compile_phase_seconds_bucket{le=\"+Inf\",master=\"compile1.example.com\",phase=\"connect\"}",
            0.0,
        ),
        ("stagedoor_handshakes_total{outcome=\"completed\",reason=\"\",tls_version=\"1.2\"}", 1.0),
        ("stagedoor_handshakes_total{outcome=\"failed\",reason=\"revoked\",tls_version=\"unknown\"}", 1.0),
        ("stagedoor_reloads_total{what=\"crl\",outcome=\"refused\"}", 1.0),
        ("stagedoor_crl_next_update_timestamp_seconds{what=\"puppet_ca\"}", 1_800_000_000.0),
        ("stagedoor_crl_next_update_timestamp_seconds{what=\"door_ca\"}", 1_900_000_000.0),
        ("stagedoor_bodies_held_bytes", 0.0),
        ("stagedoor_master_fit{master=\"compile1.example.com\"}", 0.0),
        ("stagedoor_ready", 1.0),
        ("stagedoor_master_admitted{master=\"compile1.example.com\"}", 1.0),
        ("stagedoor_master_seats{master=\"compile1.example.com\"}", 4.0),
        ("stagedoor_master_seats_taken{master=\"compile1.example.com\"}", 3.0),
        ("stagedoor_master_seats_others{master=\"compile1.example.com\"}", 1.0),
        ("stagedoor_master_pool_locked{master=\"compile1.example.com\"}", 1.0),
        ("stagedoor_seat_seconds_total{class=\"catalog\"}", 2.5),
        ("stagedoor_queue_length{kind=\"catalog\"}", 5.0),
        ("stagedoor_queue_length{kind=\"small\"}", 2.0),
        ("stagedoor_queue_oldest_seconds", 1.5),
        ("stagedoor_queue_expected_seconds", 12.0),
        ("stagedoor_catalogs_held_seconds", 0.0),
        ("stagedoor_ejections_total{master=\"compile1.example.com\",reason=\"probes\"}", 1.0),
        ("stagedoor_compile_seconds_count{environment=\"production\"}", 1.0),
        ("stagedoor_compile_seconds_count{environment=\"other\"}", 0.0),
        ("stagedoor_catalog_failures_total{environment=\"broken\"}", 1.0),
        ("stagedoor_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}\n{page}");
    }
    assert!(!page.contains("certificate_expiry_timestamp_seconds{"), "an unknown date is absent, not 1970");
    assert!(!page.contains("web01") && !page.contains("/puppet"), "no agent and no path in a metric");
}

#[test]
fn no_histogram_has_more_than_twelve_buckets_and_a_hundred_masters_stay_under_ten_thousand_series() {
    let observe = Observe::new(1);
    for i in 0..100 {
        observe.master(&certname(&format!("compile{i}.example.com")));
    }
    for i in 0..200 {
        observe.metrics().catalog_failed(Some(&format!("environment_{i}")));
    }
    let seats = Seats { jrubies: 5, known: Known::Gauges, ours: 4, taken: 3, others: 1, locked: true };
    let has = MasterLevels { admitted: true, out: false, seats: Some(seats) };
    let of = |i| (certname(&format!("compile{i}.example.com")), has);
    let levels = Levels { masters: (0..100).map(of).collect(), ..Levels::default() };
    let series = parse(&observe.text(levels));
    assert!(series.len() < 10_000, "{}", series.len());
    let mut buckets: BTreeMap<String, u32> = BTreeMap::new();
    for name in series.keys().filter(|name| name.contains("_bucket{")) {
        let start = name.find("le=\"").unwrap();
        let end = start + 4 + name[start + 4..].find('"').unwrap();
        *buckets.entry(format!("{}{}", &name[..start], &name[end..])).or_default() += 1;
    }
    assert!(!buckets.is_empty() && buckets.values().all(|n| *n <= 12));
}

#[test]
fn the_slowest_catalogs_can_be_found_by_their_request_id() {
    let observe = Observe::new(1);
    let master = observe.master(&certname("compile1.example.com"));
    let slow = catalog(&observe, &master);
    let id = slow.id;
    observe.request(slow);
    let page = observe.text(Levels::default());
    for series in [
        "stagedoor_compile_phase_seconds_bucket{le=\"10.0\",master=\"compile1.example.com\",phase=\"first_byte\"}",
        "stagedoor_compile_seconds_bucket{le=\"10.0\",environment=\"production\"}",
    ] {
        let line =
            page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}\n{page}"));
        assert!(line.contains(&format!("# {{request_id=\"{id}\"}}")), "{line}");
        assert!(line.ends_with(" 1766274268.123"), "{line}");
    }
}

#[test]
fn a_scrape_as_protobuf_has_the_same_families_and_native_histograms_of_catalogs() {
    let observe = Observe::new(1);
    let master = observe.master(&certname("compile1.example.com"));
    observe.request(catalog(&observe, &master));
    let registry = scrape::registry(Arc::clone(&observe.metrics), Levels::default(), Format::Protobuf);
    let families = prometheus_protobuf::encode(&registry).unwrap();
    let names: BTreeSet<String> = families.iter().map(|family| family.name.clone()).collect();
    let text = observe.text(Levels::default());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let compile = families.iter().find(|family| family.name == "stagedoor_compile_seconds").unwrap();
    let of = |metric: &&prometheus_protobuf::prometheus_data_model::Metric| {
        metric.label.iter().any(|label| label.value == "production")
    };
    let histogram = compile.metric.iter().find(of).unwrap().histogram.as_ref().unwrap();
    assert_eq!((histogram.sample_count, histogram.bucket.len()), (1, 12));
    // 9 s lies in one native bucket, no more than a tenth wide.
    assert_eq!((histogram.positive_delta.as_slice(), histogram.schema), (&[1][..], 3));
    assert!(!observe.protobuf(Levels::default()).is_empty());
}

#[test]
fn a_retired_master_leaves_no_series_and_one_that_stays_keeps_its_own() {
    let observe = Observe::new(1);
    let (one, two) = (certname("compile1.example.com"), certname("compile2.example.com"));
    let kept = observe.master(&one);
    let held = meter::Held::one(&kept, |m| &m.in_flight);
    assert!(Arc::ptr_eq(&kept, &observe.master(&one)));
    observe.master(&two).fit.set(1);
    observe.retire(&one);
    observe.request(catalog(&observe, &kept));
    let page = observe.text(Levels::default());
    assert!(!page.contains("compile1") && page.contains("compile2"), "{page}");
    drop(held);
    assert_eq!(kept.in_flight.get(), 0);
    assert_eq!(
        observe.master(&one).requests[Outcome::Answered.index()].get(),
        0,
        "admitted again, counted anew"
    );
}

/// A line of the table of metrics for each family of a page: its name, kind, labels, and words.
fn table(page: &str) -> String {
    let mut rows: Vec<(String, String, BTreeSet<String>, String)> = Vec::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            rows.push((
                name.to_owned(),
                String::new(),
                BTreeSet::new(),
                words.trim_end_matches('.').to_owned(),
            ));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            rows.last_mut().unwrap().1 = kind.split(' ').nth(1).unwrap().to_owned();
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.split('}').next().unwrap().split("\",");
            let keys = labels.map(|label| label.split('=').next().unwrap().to_owned());
            rows.last_mut().unwrap().2.extend(keys.filter(|key| key != "le"));
        }
    }
    let row = |(name, kind, labels, words): &(String, String, BTreeSet<String>, String)| {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        format!("| `{name}{suffix}` | {kind} | {} | {words} |\n", labels.join(", "))
    };
    rows.iter().map(row).collect()
}

#[test]
fn the_table_of_metrics_says_what_there_is() {
    let observe = Observe::new(1);
    let name = certname("compile1.example.com");
    let master = observe.master(&name);
    observe.request(catalog(&observe, &master));
    let mut refused = record(&observe, "/x");
    refused.refused(Refusal::NoMasterFit);
    observe.request(refused);
    // What has no series before it happens.
    let m = observe.metrics();
    observe.handshake_failed(TlsVersion::Unknown, "revoked");
    for tally in [&m.hello_refused, &m.retries, &m.reloads_taken, &m.reloads_refused] {
        tally.count("x");
    }
    for what in Expiry::ALL {
        m.expires(what, Some(1_800_000_000));
    }
    master.seal_verdict.set(1);
    let seats = Seats { jrubies: 4, known: Known::Gauges, ours: 4, taken: 0, others: 0, locked: false };
    let has = MasterLevels { admitted: true, out: false, seats: Some(seats) };
    let table = table(&observe.text(Levels { masters: [(name, has)].into(), ..Levels::default() }));
    let written = include_str!("../../../dashboards/metrics.md");
    assert!(
        written.contains(&table),
        "dashboards/metrics.md is to have this table of the door's metrics:\n{table}"
    );
}
