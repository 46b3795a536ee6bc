//! The lab: a real Puppet installation on this machine, with real agents at one end, real Puppet Servers at the
//! other, and the door between them. README.md says how to use it by hand.
//!
//! ```text
//! agents ──► the door ──┬─ CA, packages ─► MoM (CA)
//!                       └─ all else ─────► two compile masters, sealed ──► PuppetDB ──► PostgreSQL
//! ```
//!
//! `lab` brings it up in the order written there; each part has a file of its name; `scenarios` are the promises.

mod access_log;
mod agent;
mod allowlist;
mod classification;
mod code;
mod console;
mod conversation;
mod door;
mod door_ca;
mod enroller;
mod fleet;
mod haproxy;
mod install;
mod lab;
mod machine;
mod master;
mod mom;
mod node;
mod outside;
mod patience;
mod process;
mod program;
mod puppet_server;
mod puppetdb;
mod recording;
mod replay;
mod scenarios;
mod sealing;
mod second;
mod service;
mod ssh;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use lab::{Clock, Found, Lab, Masters};
use scenarios::Scenario;

/// Real Puppet programs at both ends of the door. Without a command: bring the lab up, run every scenario, take it
/// down again if this run brought it up.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Arguments {
    /// The folder that holds the whole lab.
    #[arg(long, global = true, default_value = "/var/tmp/stagedoor-lab", value_name = "FOLDER")]
    folder: PathBuf,
    /// Leave the lab up when the scenarios have run.
    #[arg(long, global = true)]
    keep: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the lab up and leave it up.
    Up,
    /// End every process of the lab and remove what it made.
    Down,
    /// End the door of a lab that is up, and start the one that is built now.
    Door,
    /// See to it that there are so many compile masters, on a lab that is up: one, the other machine as new, or two.
    Masters { count: Masters },
    /// Name the scenarios and what each promises.
    List,
    /// Run these scenarios.
    Run { names: Vec<String> },
    /// Measure, on a lab that is up, what the door's affinity is worth beside HAProxy: a quarter of an hour.
    Replay {
        /// In each of them every balancer has its turn, two to four minutes.
        #[arg(long, default_value_t = 2)]
        rounds: usize,
        /// These alone.
        #[arg(long, value_delimiter = ',', default_values = ["door", "door-without-affinity", "ha-proxy"])]
        through: Vec<replay::Through>,
    },
    /// Name the Debian packages that are missing here, one a line.
    Missing,
}

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<ExitCode> {
    let lab = Lab::at(&arguments.folder);
    match &arguments.action {
        Some(Action::Up) => up(&lab).map(drop)?,
        Some(Action::Down) => lab.down()?,
        Some(Action::Door) => lab.restart_door()?,
        Some(Action::Masters { count }) => masters(&lab, *count)?,
        Some(Action::List) => list(),
        Some(Action::Replay { rounds, through }) => {
            lab.require_running()?;
            lab.heal(Masters::Two)?;
            replay::replay(&lab, *rounds, through)?;
        }
        Some(Action::Missing) => install::missing().iter().for_each(|package| println!("{package}")),
        Some(Action::Run { names }) => return play(&lab, &named(names)?, arguments.keep),
        None => return play(&lab, &scenarios::ALL.iter().collect::<Vec<_>>(), arguments.keep),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(lab: &Lab) -> Result<Found> {
    let clock = Clock::start();
    let found = lab.up()?;
    match found {
        Found::Running => println!("lab: already up in {}", lab.root.display()),
        Found::Nothing => println!("lab: up in {} after {} minutes", lab.root.display(), clock.minutes()),
    }
    Ok(found)
}

fn masters(lab: &Lab, count: Masters) -> Result<()> {
    let clock = Clock::start();
    lab.require_running()?;
    lab.heal(count)?;
    clock.say(&format!(
        "{}; PuppetDB has been restarted {} times by its runs, the console {} times by its own",
        match count {
            Masters::One => "one master, and the other machine is as new",
            Masters::Two => "two masters, sealed and admitted",
        },
        lab.puppetdb().service().restarts()?,
        lab.console().restarts()?
    ));
    Ok(())
}

fn list() {
    for scenario in &scenarios::ALL {
        println!("{}\n    {}", scenario.name, scenario.promise);
    }
}

fn named(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let mut wanted = Vec::new();
    for name in names {
        match scenarios::ALL.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => wanted.push(scenario),
            None => bail!("no scenario {name:?}; `list` names them"),
        }
    }
    Ok(wanted)
}

/// Scenarios between an `up` and, when the lab was not up before, a `down`. The last line is the verdict.
fn play(lab: &Lab, wanted: &[&Scenario], keep: bool) -> Result<ExitCode> {
    let clock = Clock::start();
    let found = up(lab)?;
    let (passed, failed) = scenarios::play(lab, wanted);
    if found == Found::Nothing && !keep {
        lab.down()?;
    }
    println!("\nlab: {} minutes in all\n{passed} passed, {failed} failed", clock.minutes());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
