//! The load: a closed loop. So many agents, each asking again when it has been answered.
//!
//! A closed loop says nothing about latency under a given rate, and is not used for that: it keeps a proxy busy
//! while its CPU time is read, and cannot run away from a proxy that is slow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::process::{Cpu, memory};
use crate::proxy::Proxy;
use crate::site::{AGENT, Site};
use crate::unit::Unit;

/// For what a proxy does after the last byte: connections closed, lines logged.
const SETTLE: Duration = Duration::from_millis(60);

/// What one agent does.
#[derive(Clone)]
struct Work {
    to: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
    /// Agents that connect once each, if they are what is measured.
    newcomers: Option<Arc<Mutex<Vec<Arc<ClientConfig>>>>>,
    request: Bytes,
    answered: usize,
}

/// CPU time in microseconds per unit, over one sample of so many agents at once and so long.
pub(crate) async fn sample(
    unit: Unit,
    proxy: &Proxy,
    site: &Site,
    (agents, time): (usize, Duration),
    newcomers: &[Arc<ClientConfig>],
) -> Result<f64> {
    let mut work = work(unit, proxy, site)?;
    work.newcomers = (!newcomers.is_empty()).then(|| Arc::new(Mutex::new(newcomers.to_vec())));
    let mut connected = Vec::new();
    if !unit.connects() {
        for _ in 0..agents {
            connected.push(work.open().await?);
        }
    }
    tokio::time::sleep(SETTLE).await;
    let before = Cpu::of(proxy.pid())?;
    let ends = Instant::now() + time;
    let mut lanes = JoinSet::new();
    for _ in 0..agents {
        let (work, agent) = (work.clone(), connected.pop());
        lanes.spawn(async move {
            match agent {
                Some(agent) => work.ask_until(ends, agent).await,
                None => work.connect_until(ends).await,
            }
        });
    }
    let mut done = 0;
    let mut open = Vec::new();
    let patience = time * 4 + Duration::from_secs(10);
    let all = async {
        while let Some(lane) = lanes.join_next().await {
            let (units, agent) = lane??;
            done += units;
            open.extend(agent);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(patience, all).await.context("the load did not come to its end")??;
    tokio::time::sleep(SETTLE).await;
    let used = Cpu::of(proxy.pid())?.since(&before);
    for agent in open {
        agent.close().await?;
    }
    Ok(used / done as f64)
}

/// Bytes that a proxy holds more for each connection that has made a request and stays open.
pub(crate) async fn idle(proxy: &Proxy, site: &Site, agents: usize, count: usize) -> Result<f64> {
    let work = work(Unit::Metadata, proxy, site)?;
    // What the program sets up once must not be divided among the connections.
    work.connect_until(Instant::now() + Duration::from_millis(300)).await?;
    tokio::time::sleep(SETTLE).await;
    let before = memory(proxy.pid())?;
    let mut open = Vec::with_capacity(count);
    let mut lanes = JoinSet::new();
    let share = count / agents;
    for _ in 0..agents {
        let work = work.clone();
        lanes.spawn(async move {
            let mut open = Vec::with_capacity(share);
            for _ in 0..share {
                open.push(work.open().await?);
            }
            anyhow::Ok(open)
        });
    }
    while let Some(lane) = lanes.join_next().await {
        open.extend(lane??);
    }
    tokio::time::sleep(SETTLE).await;
    let after = memory(proxy.pid())?;
    // Every one must still be there, or the division is wrong.
    for agent in &mut open {
        agent.ask(&work.request, work.answered).await.context("an idle connection was closed")?;
    }
    Ok(after.saturating_sub(before) as f64 * 1024.0 / open.len() as f64)
}

fn work(unit: Unit, proxy: &Proxy, site: &Site) -> Result<Work> {
    let (request, answered) = unit.request(AGENT);
    Ok(Work {
        to: proxy.address,
        tls: Arc::clone(site.agent(unit.key())?),
        newcomers: None,
        request,
        answered,
    })
}

impl Work {
    /// A connection that has made one request.
    async fn open(&self) -> Result<Agent> {
        self.open_as(&self.tls).await
    }

    async fn open_as(&self, tls: &Arc<ClientConfig>) -> Result<Agent> {
        let mut agent = Agent::connect(self.to, tls).await?;
        agent.ask(&self.request, self.answered).await?;
        Ok(agent)
    }

    async fn ask_until(&self, ends: Instant, mut agent: Agent) -> Result<(u64, Option<Agent>)> {
        let mut done = 0;
        while Instant::now() < ends {
            agent.ask(&self.request, self.answered).await?;
            done += 1;
        }
        Ok((done, Some(agent)))
    }

    async fn connect_until(&self, ends: Instant) -> Result<(u64, Option<Agent>)> {
        let mut done = 0;
        while Instant::now() < ends
            && let Some(tls) = self.next()
        {
            self.open_as(&tls).await?.close().await?;
            done += 1;
        }
        Ok((done, None))
    }

    /// Who connects next: the one agent again, or the next newcomer while there is one.
    fn next(&self) -> Option<Arc<ClientConfig>> {
        match &self.newcomers {
            None => Some(Arc::clone(&self.tls)),
            Some(waiting) => waiting.lock().unwrap_or_else(PoisonError::into_inner).pop(),
        }
    }
}
