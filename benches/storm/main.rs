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
mod simulate;
mod sockets;
mod work;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;

use balancer::{Balancer, Door, HttpLeastConn, RoundRobin, TcpLeastConn};
use simulate::{Master, Seen, simulate};
use work::{Load, runs};

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
    #[arg(long, default_value_t = 4000)]
    runs: usize,
}

const MASTERS: usize = 10;
const JRUBIES: u16 = 4;

/// A kind of site.
struct Cell {
    name: &'static str,
    utilisation: f64,
    /// How many of the masters take twice as long.
    slow: usize,
}

const CELLS: [Cell; 4] = [
    Cell { name: "80 %, equal masters", utilisation: 0.80, slow: 0 },
    Cell { name: "95 %, equal masters", utilisation: 0.95, slow: 0 },
    Cell { name: "80 %, two at half speed", utilisation: 0.80, slow: 2 },
    Cell { name: "95 %, two at half speed", utilisation: 0.95, slow: 2 },
];

const NAMES: [&str; 5] =
    ["the door", "TCP leastconn", "HTTP leastconn", "HTTP leastconn, tuned", "round robin"];

fn balancers(seed: u64) -> [Box<dyn Balancer>; 5] {
    [
        Box::new(Door::new(MASTERS, JRUBIES, seed)),
        Box::new(TcpLeastConn::new(MASTERS)),
        Box::new(HttpLeastConn::plain(MASTERS)),
        Box::new(HttpLeastConn::tuned(MASTERS, u32::from(JRUBIES))),
        Box::new(RoundRobin::new(MASTERS)),
    ]
}

/// What is shown of one simulation.
const FIGURES: [&str; 6] = ["run mean", "run p95", "run p99", "catalog mean", "catalog p95", "small p99"];

fn figures(seen: &mut Seen) -> [f64; 6] {
    [
        mean(&seen.runs),
        quantile(&mut seen.runs, 0.95),
        quantile(&mut seen.runs, 0.99),
        mean(&seen.catalogs),
        quantile(&mut seen.catalogs, 0.95),
        quantile(&mut seen.small, 0.99),
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
    println!(
        "{MASTERS} masters of {JRUBIES} JRubies, {} runs, seeds {} to {}",
        args.runs,
        args.seed,
        args.seed + args.seeds - 1
    );
    for cell in &CELLS {
        show(cell, &args);
    }
    Ok(())
}

fn show(cell: &Cell, args: &Args) {
    let masters: Vec<Master> = (0..MASTERS)
        .map(|at| Master { jrubies: usize::from(JRUBIES), slower: if at < cell.slow { 2.0 } else { 1.0 } })
        .collect();
    let jrubies = masters.iter().map(|master| master.jrubies as f64 / master.slower).sum();
    let load = Load { runs: args.runs, utilisation: cell.utilisation, jrubies };
    let mut all: Vec<[[f64; 6]; 5]> = Vec::new();
    for seed in args.seed..args.seed + args.seeds {
        let runs = runs(load, seed);
        all.push(balancers(seed).map(|mut balancer| figures(&mut simulate(&runs, &masters, &mut *balancer))));
    }
    println!(
        "\n{}: seconds of the door (median), and the others' as a multiple of it (median, range over seeds)",
        cell.name
    );
    print!("{:<24}", "");
    FIGURES.iter().for_each(|figure| print!("{figure:>22}"));
    println!();
    for (at, name) in NAMES.iter().enumerate() {
        print!("{name:<24}");
        for figure in 0..FIGURES.len() {
            let mut of: Vec<f64> = all
                .iter()
                .map(|one| if at == 0 { one[0][figure] } else { one[at][figure] / one[0][figure] })
                .collect();
            of.sort_unstable_by(f64::total_cmp);
            let (least, middle, most) = (of[0], of[of.len() / 2], of[of.len() - 1]);
            print!("{:>22}", format!("{middle:.2} ({least:.2}-{most:.2})"));
        }
        println!();
    }
}

fn mean(all: &[Duration]) -> f64 {
    all.iter().map(Duration::as_secs_f64).sum::<f64>() / all.len().max(1) as f64
}

fn quantile(all: &mut [Duration], part: f64) -> f64 {
    all.sort_unstable();
    let at = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
    all.get(at).map_or(0.0, Duration::as_secs_f64)
}
