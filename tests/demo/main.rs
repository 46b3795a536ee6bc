//! The door at its main job, on embedded parts: a CA, a Master of Masters and two compile masters on real TLS
//! sockets, the door in front of them, and a few hundred agents that run from nothing to their report.
//!
//! ```text
//! cargo run --release --bin demo -- [--once] [--agents N]
//! ```
//!
//! One master is on the roster from the start, the second is admitted while traffic runs. Some agents lie about who
//! they are. In the end everything that the stand-ins have seen is looked through: a catalog for the wrong node, a
//! CA request at a compile master, an identity told to the Master of Masters make it fail. It needs no root, no
//! other service and no file outside a temporary folder. `main` is the story; `traffic` are the agents, `verdict`
//! looks through what was seen, `screen` is what is printed.

mod screen;
mod traffic;
mod verdict;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use harness::door::Papers;
use harness::fleet::Site;
use harness::master::{Master, Plan, Work};
use stagedoor::run::{Running, start};
use stagedoor_config::admin::{Fit, MastersView};
use stagedoor_config::proxy::Settings;
use tokio::runtime::Runtime;

use crate::screen::Screen;
use crate::traffic::Traffic;

/// Runs the door in front of a small Puppet installation made of stand-ins, and shows what it does.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// End when all agents have run, instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// How many agents run.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=5000))]
    agents: u32,
}

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went where it should, under the name it should.
fn play(arguments: &Arguments) -> anyhow::Result<bool> {
    let screen = Screen::new();
    let fleet_runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (site, second) = fleet_runtime.block_on(async { stage() });
    let mut site = site;
    place(&mut site.papers, &screen)?;
    let door = open(&site.papers)?;
    let site = Arc::new(site);
    screen.opening(&site, &second);

    let good = fleet_runtime.block_on(act(arguments, &screen, &site, &second))?;
    close(door, fleet_runtime);
    Ok(good)
}

/// The installation: two masters, of which the roster knows the first.
fn stage() -> (Site, Master) {
    let plan = |name: &str| Plan {
        jrubies: 6,
        compile: Work { median: Duration::from_millis(60), spread: 0.5 },
        other: Work { median: Duration::from_millis(2), spread: 0.3 },
        catalog_bytes: 60_000,
        ..Plan::named(name)
    };
    let site = Site::with([plan("compile1.example.com")]);
    let second = Master::start(plan("compile2.example.com"), &site.ca, &site.door_ca);
    (site, second)
}

/// Puppet's port and the admin door's, or the next that are free.
fn place(papers: &mut Papers, screen: &Screen) -> anyhow::Result<()> {
    papers.listen = free_from(8140, screen)?;
    papers.admin_http = free_from(9140, screen)?;
    Ok(())
}

fn free_from(first: u16, screen: &Screen) -> anyhow::Result<SocketAddr> {
    for port in first..first.saturating_add(100) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // A port that somebody holds on every address is taken here too; asking for it tells.
        if TcpListener::bind(address).is_ok() {
            if port != first {
                screen.say(&format!("port {first} is taken; using {port}"));
            }
            return Ok(address);
        }
    }
    bail!("no free port from {first} on: expected one among the next hundred of 127.0.0.1");
}

fn open(papers: &Papers) -> anyhow::Result<Running> {
    let file = papers.settle();
    let settings = Settings::parse(&file, &papers.settings()).map_err(|mistakes| {
        let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", words.join("\n"))
    })?;
    start(settings).context("the door does not start")
}

/// Traffic, the second master in the middle of it, the verdict.
async fn act(
    arguments: &Arguments,
    screen: &Screen,
    site: &Arc<Site>,
    second: &Master,
) -> anyhow::Result<bool> {
    let traffic = Traffic::start(site, arguments.agents);
    let admitted_at = arguments.agents / 3;
    let (mut admitted, mut fit) = (false, false);
    while !traffic.is_done() {
        if !admitted && traffic.finished() >= admitted_at {
            site.papers.admit_now(second).await.context("admitting the second master")?;
            admitted = true;
            screen.say(&format!("admitted {} after {} runs", second.name(), traffic.finished()));
        }
        if admitted && !fit && is_fit(&site.papers, second.name()).await? {
            fit = true;
            traffic.release_the_rest();
        }
        screen.progress(&traffic, &site.masters, second);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcome = traffic.end().await;
    let verdict = verdict::of(site, second, &outcome);
    screen.table(site, second, &outcome, &verdict);

    if !arguments.once {
        screen.stays(&site.papers);
        // A few agents keep running, so that there is something to see.
        let more = traffic::trickle(site.clone());
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
        more.abort();
    }
    Ok(verdict.is_good())
}

/// Whether the door's health checks say so.
async fn is_fit(papers: &Papers, certname: &str) -> anyhow::Result<bool> {
    let view =
        papers.admin_http("GET", "/v1/masters", "").await.context("asking the door for its masters")?;
    let masters: MastersView =
        serde_json::from_str(&view.body).context("what the door says of its masters")?;
    Ok(masters.masters.iter().any(|master| master.certname.as_str() == certname && master.fit == Fit::Fit))
}

/// The door first: it must not find its masters gone.
fn close(door: Running, fleet: Runtime) {
    door.stop();
    fleet.shutdown_background();
}
