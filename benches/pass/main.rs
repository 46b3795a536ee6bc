//! What a passed connection costs the door, beside HAProxy (`mode tcp`, with and without splicing) and nginx (`stream`).
//!
//! As in `request`: each program on one thread of one core, clients and backend here on the other; each round gives
//! every program the same load in turn and reads the CPU time it used per unit. README.md says how to read it.

mod load;
#[path = "../request/process.rs"]
mod process;
mod proxy;

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use load::Unit;
use proxy::{Program, Proxy};

/// Measures CPU time per passed connection and per byte, program beside program. Build everything first:
/// cargo build --release -p stagedoor -p benches
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; ratios are worth something from 7.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Which units, all unless said.
    #[arg(long, value_delimiter = ',')]
    units: Vec<Unit>,
    /// Which programs, all unless said; ratios are the first one's against the others'.
    #[arg(long, value_delimiter = ',')]
    programs: Vec<Program>,
    /// Another build of the door, to be measured beside it as `other`.
    #[arg(long)]
    other: Option<std::path::PathBuf>,
    /// Idle connections whose memory is weighed; 0 weighs none.
    #[arg(long, default_value_t = 1500)]
    idle: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let wanted = if args.programs.is_empty() { Program::value_variants() } else { &args.programs };
    let there = |program: &&Program| {
        let there = program.path(args.other.as_deref()).is_some();
        if !there && **program != Program::Other {
            println!("{} is left out: not installed or not built", program.title());
        }
        there
    };
    let programs: Vec<Program> = wanted.iter().filter(there).copied().collect();
    if programs.is_empty() {
        bail!("nothing to measure: cargo build --release -p stagedoor -p benches");
    }
    let own = std::process::id().to_string();
    drop(Command::new("taskset").args(["--all-tasks", "--pid", "--cpu-list", "1", &own]).output());
    println!("{}\n", process::machine());
    let backend = load::backend().await?;
    let mut running = Vec::new();
    for program in &programs {
        running.push(Proxy::start(*program, args.other.as_deref(), backend).await?);
    }
    let titles: Vec<&str> = programs.iter().map(|program| program.title()).collect();
    println!("| unit | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    if args.idle > 0 {
        let mut weighed = Vec::new();
        for proxy in &running {
            weighed.push(vec![load::idle(proxy, args.idle).await?]);
        }
        println!("{}", row("idle connection, KiB", &weighed));
    }
    let units = if args.units.is_empty() { Unit::value_variants() } else { &args.units };
    for unit in units {
        let mut costs = vec![Vec::new(); running.len()];
        for _ in 0..args.rounds {
            for (proxy, costs) in running.iter().zip(&mut costs) {
                costs.push(load::sample(*unit, proxy).await?);
            }
        }
        println!("{}", row(unit.title(), &costs));
    }
    Ok(())
}

/// Each program's median, and the first one's ratio to it: the median of the rounds' ratios, with the least and most.
fn row(title: &str, costs: &[Vec<f64>]) -> String {
    let mut row = format!("| {title} ");
    let Some((first, _)) = costs.split_first() else { return row };
    for (number, program) in costs.iter().enumerate() {
        let mut ratios: Vec<f64> = first.iter().zip(program).map(|(own, other)| own / other).collect();
        ratios.sort_by(f64::total_cmp);
        let mut sorted = program.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = |of: &[f64]| of.get(of.len() / 2).copied().unwrap_or(f64::NAN);
        let end = |of: Option<&f64>| of.copied().unwrap_or(f64::NAN);
        row += &format!("| {:.1}", middle(&sorted));
        if number > 0 {
            let (least, most) = (end(ratios.first()), end(ratios.last()));
            row += &format!(", {:.2} [{least:.2}..{most:.2}]", middle(&ratios));
        }
        row.push(' ');
    }
    row + "|"
}
