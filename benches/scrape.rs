//! What one scrape of a large site's door takes: a hundred masters, twenty environments, every series in use.
//!
//! Prints the median and the worst of many, how many series there are and how large the page is, for text and for protobuf.

use std::time::{Duration, Instant, SystemTime};

use hyper::Method;
use stagedoor::observe::Observe;
use stagedoor::observe::levels::{Levels, MasterLevels};
use stagedoor::observe::metrics::Ejected;
use stagedoor::observe::record::{Asked, Outcome, Phases, Record, TlsVersion};
use stagedoor_config::admin::seats::{Known, Seats};
use stagedoor_config::certname::Certname;
use stagedoor_config::class::Class;

const MASTERS: usize = 100;
const ENVIRONMENTS: usize = 40;
/// Catalogs of each master.
const CATALOGS: usize = 500;
const SCRAPES: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let observe = Observe::new(1);
    let mut levels = Levels { ready: true, ..Levels::default() };
    for number in 0..MASTERS {
        let certname = Certname::parse(&format!("compile{number:03}.example.com"))?;
        let master = observe.master(&certname);
        for catalog in 0..CATALOGS {
            let peer = "192.0.2.7:1".parse()?;
            let began = SystemTime::now();
            let id = observe.request_id();
            let mut record =
                Record::begin(began, id, peer, TlsVersion::Tls13, &Method::POST, "/puppet/v3/catalog/x");
            let other = Class::ALL.get(catalog % Class::ALL.len()).copied();
            record.class = if catalog % 2 == 0 { Some(Class::Catalog) } else { other };
            record.environment = Some(format!("environment_{}", (catalog + number) % ENVIRONMENTS).into());
            record.asked = Asked::Master(master.clone());
            (record.status, record.outcome) = (200, Outcome::Answered);
            let took = Duration::from_millis(fastrand::u64(1..60_000));
            let part = Some(took / 4);
            record.phases = Phases {
                body: part,
                queue: part,
                connect: part,
                first_byte: part,
                transfer: part,
                total: took,
            };
            observe.request(record);
        }
        observe.ejected(&master, Ejected::Probes, "no answer in time");
        observe.catalog_failed(&master, Some("production"));
        let seats = Seats { jrubies: 8, known: Known::Gauges, ours: 8, taken: 5, others: 1, locked: false };
        levels.masters.insert(certname, MasterLevels { admitted: true, out: false, seats: Some(seats) });
    }
    let text = observe.text(levels.clone());
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{MASTERS} masters, {ENVIRONMENTS} environments, {series} series");
    measure("text", || observe.text(levels.clone()).len());
    measure("protobuf", || observe.protobuf(levels.clone()).len());
    Ok(())
}

fn measure(name: &str, mut scrape: impl FnMut() -> usize) {
    let mut size = 0;
    let mut times: Vec<Duration> = (0..SCRAPES)
        .map(|_| {
            let began = Instant::now();
            size = scrape();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name}: median {:.2} ms, worst of {SCRAPES} {:.2} ms, {size} bytes",
        times.get(SCRAPES / 2).copied().map(millis).unwrap_or_default(),
        times.last().copied().map(millis).unwrap_or_default()
    );
}
