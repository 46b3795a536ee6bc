use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use http::Method;
use stagedoor_config::class::Class;

use super::metrics::Expiry;
use super::record::{Asked, Outcome, Phases, TlsVersion};
use super::*;
use crate::answer::Refusal;

/// Every label that a series of the door may carry.
const LABELS: [&str; 9] =
    ["master", "class", "outcome", "reason", "tls_version", "phase", "what", "le", "version"];

pub(super) fn certname(text: &str) -> Certname {
    Certname::parse(text).unwrap()
}

pub(super) fn record(observe: &Observe, path: &str) -> Record {
    let peer = "192.0.2.7:50123".parse().unwrap();
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(1_766_274_259_123);
    Record::begin(began, observe.request_id(), peer, TlsVersion::Tls13, &Method::POST, path)
}

fn catalog(observe: &Observe, master: &Arc<MasterMetrics>) -> Record {
    let second = Duration::from_secs;
    Record {
        certname: Some(certname("web01.example.com")),
        class: Some(Class::Catalog),
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
    m.handshake_failed(TlsVersion::Unknown, "revoked");
    m.expires(Expiry::Crl, Some(1_800_000_000));
    m.expires(Expiry::DoorCaCrl, Some(1_900_000_000));
    m.reloads_refused.count("crl");
    let page = observe.scrape();
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
    let series = parse(&observe.scrape());
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
fn a_retired_master_leaves_no_series_and_one_that_stays_keeps_its_own() {
    let observe = Observe::new(1);
    let (one, two) = (certname("compile1.example.com"), certname("compile2.example.com"));
    let kept = observe.master(&one);
    let held = meter::Held::one(&kept, |m| &m.in_flight);
    assert!(Arc::ptr_eq(&kept, &observe.master(&one)));
    observe.master(&two).fit.set(1);
    observe.retire(&one);
    observe.request(catalog(&observe, &kept));
    let page = observe.scrape();
    assert!(!page.contains("compile1") && page.contains("compile2"), "{page}");
    drop(held);
    assert_eq!(kept.in_flight.get(), 0);
    assert_eq!(
        observe.master(&one).requests[Outcome::Answered.index()].get(),
        0,
        "admitted again, counted anew"
    );
}
