//! The same runs over sockets: real TLS on loopback, real programs, stand-in masters whose work is waiting.
//!
//! A site's clock is divided by the scale: pauses, work, the checks of masters. What TLS and HTTP cost is not, so that they
//! weigh more than on a site, and everybody's keys are P-256 lest they weigh more than the policy. The programs take turns:
//! each round gives every one the same arrivals and sizes, and is compared within itself. README.md says how to read it.

mod agent;
mod balancer;
mod cell;
mod figures;
mod machine;
mod master;
#[expect(dead_code, reason = "memory is weighed elsewhere")]
#[path = "../../request/process.rs"]
mod process;
mod site;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::work::Run;
use agent::{Agent, Failure, Told};
use balancer::{Balancer, Program};
use cell::Cell;
use figures::{Cpus, Figures};
use machine::Machine;
use master::Master;
use process::Cpu;
use site::Site;

/// Runs that have not come to their end so long after the last one began, by the site's clock, never will.
const ENDS: Duration = Duration::from_secs(30 * 60);

/// A turn in which the machine was busier than this for some seconds is void, whatever it was otherwise: whoever gets no
/// processor takes masters for dead.
const FULL: f64 = 0.95;

/// How it is measured.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Over sockets")]
pub(crate) struct Args {
    /// How many times faster than the site's the clock goes; at most 8.
    #[arg(long, default_value_t = 8.0)]
    scale: f64,
    /// Rounds of each cell.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// For how many seconds of real time runs begin, for each balancer in each cell and round.
    #[arg(long, default_value_t = 45.0)]
    seconds: f64,
    /// A look, some six minutes: one round of 15 seconds.
    #[arg(long)]
    quick: bool,
    /// Which sites, all unless said.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<Cell>,
    /// Which balancers, all unless said; the others are held against the first.
    #[arg(long, value_delimiter = ',')]
    programs: Vec<Program>,
    /// A turn is void, and repeated once, where the machine was busy for more than this part of the time; with 1 none is.
    #[arg(long, default_value_t = 0.7)]
    void_above: f64,
}

/// How much faster than the site's clock the one on the wall goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale(f64);

impl Scale {
    /// How long something lasts here that lasts so long on the site.
    pub(crate) fn wall(self, site: Duration) -> Duration {
        site.div_f64(self.0)
    }

    /// How long something lasts on the site that lasted so long here.
    pub(crate) fn site(self, wall: Duration) -> Duration {
        wall.mul_f64(self.0)
    }
}

/// Measures every cell, and prints what was seen.
pub(crate) fn measure(args: &Args, seed: u64) -> Result<()> {
    ensure!(args.scale > 0.0 && args.scale <= 8.0, "--scale: more than 0 and at most 8 expected");
    ensure!(args.seconds > 0.0 && args.rounds > 0, "--seconds and --rounds: more than 0 expected");
    let asked = if args.programs.is_empty() { Program::value_variants() } else { &args.programs };
    let (programs, missing): (Vec<Program>, Vec<Program>) =
        asked.iter().partition(|program| program.path().is_some());
    for program in missing {
        println!(
            "{} is left out: not installed (apt-get install haproxy) or not built (cargo build --release -p stagedoor)",
            program.title()
        );
    }
    ensure!(!programs.is_empty(), "nothing to measure");
    let (rounds, seconds) = if args.quick { (1, 15.0) } else { (args.rounds, args.seconds) };
    let cells = if args.cells.is_empty() { Cell::value_variants() } else { &args.cells };
    let mut bench = Bench {
        scale: Scale(args.scale),
        time: Duration::from_secs_f64(seconds),
        void_above: args.void_above,
        site: Site::new(),
    };
    println!("{}", process::machine());
    println!("scale 1:{}, runs begin for {seconds} s in each turn, seeds from {seed} on\n", args.scale);
    let began = Instant::now();
    // Agents and masters share the machine with the balancer, as much of it as there is.
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for cell in cells {
        let mut seen = Vec::new();
        for round in 0..rounds {
            seen.push(threads.block_on(bench.round(*cell, &programs, round, seed))?);
        }
        println!("\n{}", figures::table(cell.title(), &programs, &seen));
    }
    println!("{:.0} s; {}", began.elapsed().as_secs_f64(), process::machine());
    Ok(())
}

struct Bench {
    scale: Scale,
    /// For how long runs begin, by the clock on the wall.
    time: Duration,
    void_above: f64,
    site: Site,
}

impl Bench {
    /// Each program's turn with the same arrivals; none of those whose turn was void.
    async fn round(
        &mut self,
        cell: Cell,
        programs: &[Program],
        round: u64,
        seed: u64,
    ) -> Result<Vec<Option<Figures>>> {
        let runs = cell.arrivals(self.scale.site(self.time), seed.wrapping_add(round));
        let mut seen = vec![None; programs.len()];
        for turn in 0..programs.len() {
            // Another one is first in each round.
            let at = (turn + round as usize) % programs.len();
            for _repeated in 0..2 {
                print!("{}, round {}, {}: ", cell.title(), round + 1, programs[at].title());
                seen[at] = self.turn(cell, programs[at], &runs).await?;
                if seen[at].is_some() {
                    break;
                }
            }
        }
        Ok(seen)
    }

    async fn turn(&mut self, cell: Cell, program: Program, runs: &[Run]) -> Result<Option<Figures>> {
        let agents = self.site.agents(runs.len());
        let masters: Vec<Master> = (0..crate::MASTERS)
            .map(|number| Master::start(&self.site, number, cell.slower(number)))
            .collect();
        let first = agents.first().ok_or_else(|| anyhow::anyhow!("no run begins: give it more --seconds"))?;
        let balancer = Balancer::start(program, &self.site, &masters, first, self.scale).await?;
        let own = std::process::id();
        let before = (Machine::now()?, Cpu::of(balancer.pid())?, Cpu::of(own)?);
        let began = Instant::now();
        let mut lanes = JoinSet::new();
        for (number, (run, tls)) in runs.iter().cloned().zip(agents).enumerate() {
            let begins = began + self.scale.wall(run.at);
            let certname = Site::certname(number);
            let agent = Agent { to: balancer.address, tls, certname, scale: self.scale, connection: None };
            lanes.spawn(async move { (number, agent.run(&run, begins).await) });
        }
        let mut busiest = 0.0;
        let told = tokio::select! {
            (told, ()) = async {
                tokio::join!(self.all_ended(lanes, runs.len(), began), self.kill(cell, &masters, began))
            } => told,
            never = Machine::watch(&mut busiest) => match never? {},
        };
        let balancers = Cpu::of(balancer.pid())?.since(&before.1) / 1e6;
        // The balancer is a child of this process, and counted with it.
        let load = Cpu::of(own)?.since(&before.2) / 1e6 - balancers;
        let machine = Machine::now()?.since(before.0);
        let dead = balancer.taken_for_dead()?;
        let void = if machine.part > self.void_above || busiest > self.void_above.max(FULL) {
            "; VOID, the machine was busy"
        } else if dead > usize::from(cell.killed().is_some()) && self.void_above < 1.0 {
            "; VOID, masters that lived were taken for dead"
        } else {
            ""
        };
        println!(
            "{:.0} s, machine {:.0} % busy, {:.0} % at most; CPU {balancers:.1} s of it, {load:.1} s of agents and \
             masters, {:.1} s of the machine; {} runs, {}; masters taken for dead: {dead}{void}",
            began.elapsed().as_secs_f64(),
            machine.part * 100.0,
            busiest * 100.0,
            machine.seconds,
            runs.len(),
            figures::failures(&told),
        );
        let cpu = Cpus { balancer: balancers, load, machine: machine.seconds };
        Ok(void.is_empty().then(|| Figures::new(&told, self.scale, cpu)))
    }

    /// What each agent saw, in the order in which they began.
    async fn all_ended(&self, mut lanes: JoinSet<(usize, Told)>, count: usize, began: Instant) -> Vec<Told> {
        let unended = || Told { failure: Some(Failure::Unended), ..Told::default() };
        let mut all: Vec<Told> = std::iter::repeat_with(unended).take(count).collect();
        let ends = began + self.time + self.scale.wall(ENDS);
        while let Ok(Some(ended)) = timeout_at(ends, lanes.join_next()).await {
            if let Ok((number, told)) = ended {
                all[number] = told;
            }
        }
        all
    }

    /// Kills the master that is to die, and lets it come back.
    async fn kill(&self, cell: Cell, masters: &[Master], began: Instant) {
        let Some((number, dies, is_back)) = cell.killed() else { return };
        sleep_until(began + self.time.mul_f64(dies)).await;
        masters[number].kill().await;
        sleep_until(began + self.time.mul_f64(is_back)).await;
        masters[number].come_back();
    }
}
