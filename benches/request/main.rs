//! What one request costs the door, beside a bare forwarder, HAProxy and nginx.
//!
//! Each program runs on one thread of one core; agents and master run here, on the other. A round gives each program
//! the same load for the same time, one after the other, and reads the CPU time it used per unit of work. The ratio
//! is taken within a round, so that whatever slows the machine for some seconds slows both of its sides; the table
//! shows the median of the rounds and how far they lie apart. README.md says how to read it.

mod agent;
mod load;
mod master;
mod process;
mod proxy;
mod report;
mod site;
mod unit;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use harness::identity::KeyKind;

use proxy::{Program, Proxy};
use report::Rounds;
use site::Site;
use unit::Unit;

/// Measures CPU time per unit of work, program beside program. Build everything first:
/// cargo build --release -p stagedoor -p benches
#[derive(Debug, Parser)]
struct Args {
    /// A look, under a minute: 3 rounds of short samples.
    #[arg(long)]
    quick: bool,
    /// Rounds; ratios are worth something from 7.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Agents at once.
    #[arg(long, default_value_t = 16)]
    agents: usize,
    /// Which units, all unless said.
    #[arg(long, value_delimiter = ',')]
    units: Vec<Unit>,
    /// Which programs, all unless said; ratios are the first one's against the others'.
    #[arg(long, value_delimiter = ',')]
    programs: Vec<Program>,
    /// The key of the certificate that the programs show to agents.
    #[arg(long, value_enum, default_value_t = Shown::P256)]
    shown: Shown,
    /// How many certificates the CA has revoked.
    #[arg(long, default_value_t = 1000)]
    revoked: u64,
    /// Idle connections whose memory is weighed; 0 weighs none.
    #[arg(long, default_value_t = 1500)]
    idle: usize,
    /// HAProxy's `http-reuse`: safe, aggressive or always.
    #[arg(long, default_value = "safe")]
    haproxy_reuse: String,
}

/// Kinds of keys on the listener.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shown {
    /// What the door asks for.
    P256,
    /// What Puppet's CA makes unless told otherwise.
    Rsa4096,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let programs = programs(&args);
    if programs.is_empty() {
        bail!("nothing to measure: cargo build --release -p stagedoor -p benches");
    }
    stay_on_the_other_core();
    println!("{}", process::machine());
    for program in &programs {
        println!("{}: {}", program.title(), program.version());
    }
    let shown = match args.shown {
        Shown::P256 => KeyKind::P256,
        Shown::Rsa4096 => KeyKind::Rsa4096,
    };
    let began = Instant::now();
    let site = Site::new(shown, args.revoked, &args.haproxy_reuse).await?;
    println!(
        "{} agents at once, listener {shown:?}, CA RSA-4096, {} revoked, one thread each\n\n{}",
        args.agents,
        args.revoked,
        report::head(&programs)
    );
    let mut running = Vec::new();
    let mut weighed = Vec::new();
    for program in &programs {
        let proxy = Proxy::start(*program, &site).await?;
        let count = if args.quick { args.idle.min(320) } else { args.idle };
        if count > 0 {
            // Before anything else: a program that has been under load holds memory it may use again.
            weighed.push(load::idle(&proxy, &site, args.agents, count).await?);
        }
        running.push(proxy);
    }
    if !weighed.is_empty() {
        let mut memory = Rounds::new("idle connection, after a request", &programs);
        memory.push(weighed);
        println!("{}", memory.row("KiB", 1024.0));
    }
    let units = if args.units.is_empty() { Unit::value_variants() } else { &args.units };
    let rounds = if args.quick { 3 } else { args.rounds };
    for unit in units {
        let time = if args.quick { unit.sample() / 4 } else { unit.sample() };
        let mut table = Rounds::new(unit.title(), &programs);
        for _ in 0..rounds {
            let mut round = Vec::new();
            let newcomers = site.newcomers(unit.newcomers());
            for proxy in &running {
                round.push(load::sample(*unit, proxy, &site, (args.agents, time), &newcomers).await?);
            }
            table.push(round);
        }
        println!("{}", table.row("µs", 1.0));
    }
    println!("\n{rounds} rounds, {:.0} s; {}", began.elapsed().as_secs_f64(), process::machine());
    Ok(())
}

fn programs(args: &Args) -> Vec<Program> {
    let asked = if args.programs.is_empty() { Program::value_variants() } else { &args.programs };
    let (there, missing): (Vec<Program>, Vec<Program>) =
        asked.iter().partition(|program| program.path().is_some());
    for program in missing {
        println!(
            "{} is left out: not installed (apt-get install haproxy nginx-light) or not built",
            program.title()
        );
    }
    there
}

/// Programs that are measured run on the first core.
fn stay_on_the_other_core() {
    let own = std::process::id().to_string();
    let moved = Command::new("taskset").args(["--all-tasks", "--pid", "--cpu-list", "1", &own]).output();
    if !moved.is_ok_and(|moved| moved.status.success()) {
        println!("one core for everything: ratios hold, but caches are shared with the load");
    }
}
