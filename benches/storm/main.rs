//! Whole agent runs against the door's pool and the balancers it replaces: the same arrivals and sizes for each.
//!
//! With `--simulate` time is a number, so that a day of a site takes seconds and nothing but the policy differs: no
//! sockets, no TLS, no machine. Without it the programs themselves are measured, over sockets. README.md says how to read
//! both.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "nothing here comes from outside: every place in its lists is its own, and what was not foreseen ends it"
)]

mod balancer;
mod door;
mod figures;
mod machine;
mod plot;
mod simulate;
mod site;
mod sockets;
mod work;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use balancer::{Balancer, HttpLeastConn, RoundRobin, TcpLeastConn};
use door::Door;
use figures::{Figures, show};
use simulate::simulate;
use site::{JRUBIES, MASTERS, SITES, Site};
use work::runs;

/// Compares balancers by sites that are simulated, or played over sockets. Build everything first:
/// cargo build --release -p stagedoor -p benches
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    sockets: sockets::Args,
    /// By simulated time.
    #[arg(long)]
    simulate: bool,
    /// How many seeds, one after the other from `--seed`.
    #[arg(long, default_value_t = 30)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs of each seed.
    #[arg(long, default_value_t = 8000)]
    runs: usize,
    /// These sites alone, by their short names.
    #[arg(long, value_delimiter = ',')]
    sites: Vec<String>,
    /// Writes plots, as runs.svg and catalogs.svg, into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
}

/// The balancers, the door first.
const NAMES: [&str; 6] = [
    "the door",
    "the door without affinity",
    "TCP leastconn",
    "HTTP leastconn",
    "HTTP leastconn, tuned",
    "round robin",
];

fn balancers(seed: u64) -> [Box<dyn Balancer>; 6] {
    [
        Box::new(Door::new(MASTERS, JRUBIES, seed)),
        Box::new(Door::without_affinity(MASTERS, JRUBIES, seed)),
        Box::new(TcpLeastConn::new(MASTERS)),
        Box::new(HttpLeastConn::plain(MASTERS)),
        Box::new(HttpLeastConn::tuned(MASTERS, u32::from(JRUBIES))),
        Box::new(RoundRobin::new(MASTERS)),
    ]
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.simulate {
        return sockets::measure(&args.sockets, args.seed);
    }
    if args.seeds == 0 || args.runs < 100 {
        bail!("expected at least one seed and a hundred runs");
    }
    let keys: Vec<&str> = SITES.iter().map(|site| site.key).collect();
    if let Some(unknown) = args.sites.iter().find(|site| !keys.contains(&site.as_str())) {
        bail!("no site is called {unknown}: expected some of {}", keys.join(", "));
    }
    println!(
        "{MASTERS} masters of {JRUBIES} JRubies, {} runs, seeds {} to {}",
        args.runs,
        args.seed,
        args.seed + args.seeds - 1
    );
    let wanted = |site: &&Site| args.sites.is_empty() || args.sites.iter().any(|key| key == site.key);
    let mut all = Vec::new();
    for site in SITES.iter().filter(wanted) {
        let simulated = storm(site, &args);
        show(site, &simulated);
        all.push((site, simulated));
    }
    if let Some(folder) = &args.plots {
        plot::write(folder, &all)?;
    }
    Ok(())
}

/// What each balancer made of a site, by seed.
fn storm(site: &Site, args: &Args) -> Vec<[Figures; 6]> {
    let one = |seed| {
        let runs = runs(site.load(args.runs), seed);
        balancers(seed).map(|mut balancer| Figures::of(&mut simulate(&runs, (site, seed), &mut *balancer)))
    };
    (args.seed..args.seed + args.seeds).map(one).collect()
}
