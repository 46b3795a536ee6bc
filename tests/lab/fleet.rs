//! Many agents for the price of one: what one real agent said in a run, said again in others' names, over TLS with real
//! certificates of theirs, each run on a connection of its own. Door, masters, MoM and PuppetDB are the real ones and
//! cannot tell. Each real `puppet agent` costs seconds of processor time before it says anything, and two cores have to
//! carry the servers too.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;

use crate::agent::new_name;
use crate::conversation::{Answer, Conversation, client};
use crate::lab::Lab;
use crate::machine::DOOR;
use crate::patience::{until, when};
use crate::recording::{Recording, new_transaction};

/// Agents by their certificates, and what one of them once said.
pub(crate) struct Fleet {
    recording: Recording,
    agents: Vec<Caller>,
    /// Whether they come back when they are told to, as real agents do.
    come_back: bool,
}

struct Caller {
    certname: String,
    client: Arc<ClientConfig>,
    /// The address it has; none where any will do.
    source: Option<Ipv4Addr>,
}

/// One request and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) failure: Option<String>,
    /// How often it was told to come back later and did.
    pub(crate) told_to_come_back: usize,
}

/// Between two runs of one agent that keeps running, times the agents there are: however many they are, they leave most of
/// the processor to servers that start meanwhile.
const BETWEEN_RUNS: Duration = Duration::from_millis(400);
/// As often as a request is told to come back: a real agent is more patient.
const COMES_BACK: usize = 3;

impl Fleet {
    /// This many agents, which take any refusal for a failure.
    pub(crate) fn of(lab: &Lab, recording: Recording, agents: usize) -> Result<Self> {
        Self::issue(lab, recording, &vec![None; agents], false)
    }

    /// One agent at each of these addresses, which come back when they are told to.
    pub(crate) fn at(lab: &Lab, recording: Recording, sources: &[Ipv4Addr]) -> Result<Self> {
        let sources: Vec<_> = sources.iter().copied().map(Some).collect();
        Self::issue(lab, recording, &sources, true)
    }

    fn issue(lab: &Lab, recording: Recording, sources: &[Option<Ipv4Addr>], come_back: bool) -> Result<Self> {
        let names = sources.iter().map(|_| new_name(&lab.root)).collect::<Result<Vec<_>>>()?;
        let ca = lab.mom().ca_file();
        let mut agents = Vec::new();
        for (own, source) in lab.mom().issue_for_agents(&names)?.iter().zip(sources) {
            let client = client(&ca, Some(own))?;
            agents.push(Caller { certname: own.certname.clone(), client, source: *source });
        }
        Ok(Self { recording, agents, come_back })
    }

    pub(crate) fn certnames(&self) -> impl Iterator<Item = &str> {
        self.agents.iter().map(|agent| agent.certname.as_str())
    }

    /// Until both masters have compiled something: a JRuby's first catalog takes seconds, and no share of them.
    pub(crate) fn warm_up(&self, lab: &Lab) -> Result<()> {
        let masters = lab.masters();
        let marks = [masters[0].access_log().mark()?, masters[1].access_log().mark()?];
        until("both masters compile", Duration::from_secs(120), || {
            let outcomes = self.run(self.agents.len(), &AtomicUsize::new(0));
            if let Some(failed) = outcomes.iter().find(|outcome| outcome.failure.is_some()) {
                bail!("a request failed before anything happened: {failed:?}");
            }
            let mut both = true;
            for (master, mark) in masters.iter().zip(marks) {
                both &= master.access_log().since(mark)?.iter().any(|entry| entry.method == "POST");
            }
            Ok(when(both))
        })?;
        Ok(())
    }

    /// Plays this many runs, all agents abreast, and counts in `ended` how many are over.
    pub(crate) fn run(&self, runs: usize, ended: &AtomicUsize) -> Vec<Outcome> {
        let next = AtomicUsize::new(0);
        self.abreast(|agent, outcomes| {
            while next.fetch_add(1, Ordering::Relaxed) < runs {
                let run = self.one_run(agent);
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(run);
                ended.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Every agent runs again and again until it is over.
    pub(crate) fn keep_running(&self, over: &AtomicBool) -> Vec<Outcome> {
        let between = BETWEEN_RUNS * u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        self.abreast(|agent, outcomes| {
            while !over.load(Ordering::Relaxed) {
                let run = self.one_run(agent);
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(run);
                thread::sleep(between);
            }
        })
    }

    /// The first agent asks for its catalog over a connection of its own, and hangs up when this has come to pass.
    pub(crate) fn hang_up(&self, when: impl FnOnce() -> Result<()>) -> Result<()> {
        let agent = self.agents.first().context("a fleet of nobody")?;
        let request = self.recording.requests.iter().find(|one| one.is_catalog()).context("no catalog")?;
        let bytes = self.recording.said_by(request, &agent.certname, &new_transaction());
        let mut open = Conversation::open_from(agent.source, &DOOR, &agent.client)?;
        open.send(&bytes)?;
        when()
    }

    fn abreast(&self, play: impl Fn(&Caller, &Mutex<Vec<Outcome>>) + Sync) -> Vec<Outcome> {
        let outcomes = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for agent in &self.agents {
                scope.spawn(|| play(agent, &outcomes));
            }
        });
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an agent does: every request on one connection, a new one only after a failure.
    fn one_run(&self, agent: &Caller) -> Vec<Outcome> {
        let transaction = new_transaction();
        let mut connection = None;
        let mut outcomes = Vec::new();
        for request in &self.recording.requests {
            let bytes = self.recording.said_by(request, &agent.certname, &transaction);
            let begun = Instant::now();
            let mut told_to_come_back = 0;
            let said = loop {
                let said = say(&mut connection, agent, &bytes);
                if said.is_err() {
                    connection = None;
                }
                match said {
                    Ok(Said::ComeBack(after)) if self.come_back && told_to_come_back < COMES_BACK => {
                        told_to_come_back += 1;
                        connection = None;
                        thread::sleep(after);
                    }
                    Ok(Said::ComeBack(after)) => {
                        break Err(anyhow::anyhow!("503, come back after {after:?}"));
                    }
                    Ok(Said::Done) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            outcomes.push(Outcome {
                name: request.name.clone(),
                source: agent.source,
                begun,
                ended: Instant::now(),
                failure: said.err().map(|error| format!("{error:#}")),
                told_to_come_back,
            });
        }
        outcomes
    }
}

enum Said {
    Done,
    ComeBack(Duration),
}

fn say(connection: &mut Option<Conversation>, agent: &Caller, bytes: &[u8]) -> Result<Said> {
    let open = match connection.take() {
        Some(open) => open,
        None => Conversation::open_from(agent.source, &DOOR, &agent.client)?,
    };
    let open = connection.insert(open);
    let answer = open.ask(bytes)?;
    if let Some(after) = asked_back(&answer) {
        return Ok(Said::ComeBack(after));
    }
    ensure!(
        (200..300).contains(&answer.status),
        "{}: {:.200}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = None;
    }
    Ok(Said::Done)
}

fn asked_back(answer: &Answer) -> Option<Duration> {
    let after = answer.header("retry-after").filter(|_| answer.status == 503)?;
    after.parse().ok().map(Duration::from_secs)
}

/// The first failure, in words, or nothing to say.
pub(crate) fn none_failed(outcomes: &[Outcome]) -> Result<()> {
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    match outcomes.iter().find(|outcome| outcome.failure.is_some()) {
        None => Ok(()),
        Some(first) => bail!("{failures} of {} requests failed, first {first:?}", outcomes.len()),
    }
}
