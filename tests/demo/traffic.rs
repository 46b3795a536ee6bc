//! The agents: each new, each from CSR to report, some of them lying about who they are.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::agent::{Agent, Run, Shape};
use harness::fleet::Site;
use harness::identity::Leaf;
use http::StatusCode;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

/// Agents that run at once.
const AT_ONCE: usize = 24;
/// One agent in so many forges identity headers in every request of its run.
const FORGES: u32 = 5;

/// What came of all runs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    /// Runs that came to their report: who, in which role, and what came of it.
    pub(crate) runs: Vec<Told>,
    /// Why others did not.
    pub(crate) failures: Vec<String>,
    /// Runs that carried forged headers.
    pub(crate) forged_runs: u32,
    /// Requests without a certificate that claimed a name and were refused.
    pub(crate) strangers_refused: u32,
    /// Those that were not.
    pub(crate) strangers_served: Vec<String>,
    /// How long it all took.
    pub(crate) took: Duration,
}

/// A run, beside what its agent knows about itself.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The agent's certname.
    pub(crate) certname: String,
    /// The role in its certificate.
    pub(crate) role: String,
    /// What came of it.
    pub(crate) run: Run,
}

/// Agents on their way.
pub(crate) struct Traffic {
    agents: u32,
    began: Instant,
    finished: Arc<AtomicU32>,
    outcome: Arc<Mutex<Outcome>>,
    rest: Arc<Notify>,
    all: JoinHandle<()>,
}

impl Traffic {
    /// Sends so many agents, a bounded number of them at once; the second half when
    /// [`Traffic::release_the_rest`] is called.
    pub(crate) fn start(site: &Arc<Site>, agents: u32) -> Self {
        let (finished, outcome) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Outcome::default())));
        let rest = Arc::new(Notify::new());
        let (site, count, results, gate) = (site.clone(), finished.clone(), outcome.clone(), rest.clone());
        let all = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let mut running = JoinSet::new();
            for number in 0..agents {
                if number == agents / 2 {
                    gate.notified().await;
                }
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let (site, count, results) = (site.clone(), count.clone(), results.clone());
                running.spawn(async move {
                    one(&site, number, &results).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            while running.join_next().await.is_some() {}
        });
        Self { agents, began: Instant::now(), finished, outcome, rest, all }
    }

    /// Lets the second half of the agents come.
    pub(crate) fn release_the_rest(&self) {
        self.rest.notify_one();
    }

    /// How many agents there are in all.
    pub(crate) fn agents(&self) -> u32 {
        self.agents
    }

    /// How many have ended, well or not.
    pub(crate) fn finished(&self) -> u32 {
        self.finished.load(Ordering::Relaxed)
    }

    /// How many have failed.
    pub(crate) fn failed(&self) -> usize {
        self.outcome.lock().map_or(0, |outcome| outcome.failures.len())
    }

    /// Whether all have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.all.is_finished()
    }

    /// What came of it.
    pub(crate) async fn end(self) -> Outcome {
        let took = self.began.elapsed();
        self.all.await.ok();
        let mut outcome = self.outcome.lock().map(|outcome| outcome.clone()).unwrap_or_default();
        outcome.took = took;
        outcome
    }
}

async fn one(site: &Site, number: u32, results: &Mutex<Outcome>) {
    let forges = number.is_multiple_of(FORGES);
    let certname = format!("node{number:04}.example.com");
    let role = format!("role{}", number % 7);
    let outcome = run(site, &certname, &role, forges).await;
    let stranger = if forges { Some(as_a_stranger(site, &certname).await) } else { None };

    let Ok(mut results) = results.lock() else { return };
    results.forged_runs += u32::from(forges);
    match outcome {
        Ok(run) => results.runs.push(Told { certname, role, run }),
        Err(error) => results.failures.push(format!("{certname}: {error:#}")),
    }
    match stranger {
        Some(Ok(())) => results.strangers_refused += 1,
        Some(Err(words)) => results.strangers_served.push(words),
        None => {}
    }
}

/// An agent's first day: install script, CA, CRL, certificate, run. A forger claims to be a database in each request.
async fn run(site: &Site, certname: &str, role: &str, forges: bool) -> anyhow::Result<Run> {
    let mut agent = Agent::new(certname, &site.ca, site.papers.listen);
    if forges {
        agent = forging(agent);
    }
    let script = agent.get("/packages/current/install.bash").await?;
    anyhow::ensure!(script.status() == StatusCode::OK, "the install script was answered {}", script.status());
    agent.bootstrap(&Leaf::node(certname).role(role)).await?;
    agent.run(Shape { files: 3, metadata: 4, ..Shape::default() }).await
}

fn forging(agent: Agent) -> Agent {
    agent
        .forging("X-Client-Verify", "SUCCESS")
        .forging("X-Client-DN", "CN=db01.example.com")
        .forging("X_Client_DN", "CN=db01.example.com")
}

/// The same lie by somebody who has no certificate at all: 403 is right.
async fn as_a_stranger(site: &Site, certname: &str) -> Result<(), String> {
    let stranger = forging(Agent::new(certname, &site.ca, site.papers.listen));
    match stranger.get("/puppet/v3/catalog/db01.example.com?environment=production").await {
        Ok(answer) if answer.status() == StatusCode::FORBIDDEN => Ok(()),
        Ok(answer) => Err(format!("a stranger who claimed to be db01 was answered {}", answer.status())),
        Err(error) => Err(format!("a stranger who claimed to be db01: {error:#}")),
    }
}

/// One run a second for ever.
pub(crate) fn trickle(site: Arc<Site>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0_u64.. {
            let certname = format!("later{number}.example.com");
            // How it went is in the door's metrics, which are there to be looked at.
            run(&site, &certname, "later", false).await.ok();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}
