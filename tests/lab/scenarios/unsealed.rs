//! A master that a Puppet run has opened while header identity is on: the hole that the door looks for for ever.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::saw;
use crate::access_log::Entry;
use crate::agent::new_name;
use crate::conversation::{Conversation, client};
use crate::fleet::{Fleet, Outcome, none_failed};
use crate::lab::Lab;
use crate::machine::{DOOR, read};
use crate::master::Master;
use crate::mom::Credentials;
use crate::patience::{until, when};
use crate::program::Ended;
use crate::recording::Recording;

/// Within which the door has to have found it out.
const MINUTE: Duration = Duration::from_secs(60);
/// Enough that each master would have some.
const RUNS: usize = 12;
const SOURCES: [Ipv4Addr; 4] = [Ipv4Addr::LOCALHOST; 4];

pub(super) fn a_run_that_opens_a_master_takes_it_out_within_a_minute(lab: &Lab) -> Result<()> {
    let [first, second] = lab.masters();
    let recording = Recording::of_a_webserver(lab)?;
    let fleet = Fleet::at(lab, recording, &SOURCES)?;
    fleet.warm_up(lab)?;
    let thief = Thief::of(lab)?;
    for master in [&first, &second] {
        is_out(lab, master, false)?;
    }
    saw("both masters sealed, stagedoor_master_unsealed 0");

    let over = AtomicBool::new(false);
    let (outcomes, opening) = thread::scope(|scope| {
        let runs = scope.spawn(|| fleet.keep_running(&over));
        let opening =
            opened(lab, &thief, &second, None, "client-auth is want again", Master::lose_seal_by_puppet);
        over.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((runs.join().map_err(|_| anyhow!("the fleet panicked"))?, opening))
    })?;
    let opening = opening?;
    let failures: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    for failure in &failures {
        ensure!(failure.begun <= opening.gone, "a request failed that it did not have: {failure:?}");
    }
    let after = outcomes.iter().filter(|outcome| outcome.begun > opening.gone).count();
    ensure!(after > 0, "no request was begun after it was back, so that nothing was shown");
    saw(&format!(
        "{} requests through the door meanwhile, {} failed, all of them in its hands when it was restarted; {after} \
         begun later: answered by {}",
        outcomes.len(),
        failures.len(),
        first.host.name
    ));

    super::enrolling::strangers_keep_it_out(lab, second.host)?;

    let agent = Some(&thief.own);
    opened(lab, &thief, &first, agent, "ssl-ca-cert is Puppet's own again", Master::let_agents_in_by_puppet)?;
    let mark = second.access_log().mark()?;
    let answer = Conversation::open(&DOOR, &client(&lab.mom().ca_file(), agent)?)?.get(
        &DOOR,
        &thief.own_node(),
        "",
    )?;
    let words = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(
        answer.status == 503 && answer.header("retry-after").is_some(),
        "an agent with no master left got {} {words}",
        answer.status
    );
    let reached = second.access_log().settle(mark, |word| second.leave_mark(word))?;
    ensure!(reached.is_empty(), "the last open master was used after all: {reached:?}");
    ensure!(lab.door().says("/ready")?.contains("\"ready\":false"), "the door says it is ready");
    saw(&format!("the last one left too: an agent gets 503, to come back later ({})", words.trim()));

    sealed_again(lab, [&first, &second])?;
    none_failed(&fleet.run(RUNS, &AtomicUsize::new(0)))?;
    saw("nobody told the door: it tested them, and runs go through both again");
    Ok(())
}

/// When the server that was sealed had ended.
struct Opening {
    gone: Instant,
}

/// Opens a master by a run of its own agent, shows that it is open to somebody who says to be another, and that the
/// door has it out of rotation in time and has not sent it a thing since it answered.
fn opened(
    lab: &Lab,
    thief: &Thief,
    master: &Master,
    shown: Option<&Credentials>,
    how: &str,
    open: impl Fn(&Master) -> Result<Ended> + Sync,
) -> Result<Opening> {
    let name = master.host.name;
    let before = read(&master.process().record())?;
    let (gone, mark) = thread::scope(|scope| {
        let run = scope.spawn(|| open(master));
        // Another process: it takes many seconds before it answers anybody.
        until(&format!("{name} is restarted"), Duration::from_secs(120), || {
            let now = read(&master.process().record()).unwrap_or_default();
            Ok(when(run.is_finished() || (!now.is_empty() && now != before)))
        })?;
        let (gone, mark) = (Instant::now(), master.access_log().mark()?);
        run.join().map_err(|_| anyhow!("the run panicked"))??;
        Ok::<_, anyhow::Error>((gone, mark))
    })?;
    ensure!(read(&master.process().record())? != before, "the run that opened {name} did not restart it");
    // The run ends when it answers.
    let (_, waited) =
        until(&format!("the door takes {name} out"), MINUTE, || Ok(when(is_out(lab, master, true).is_ok())))?;
    let status = thief.ask(lab, master, shown)?;
    ensure!(status == 200, "{name} answered {status} to a forged name, so that nothing was shown");
    let entries = master.access_log().settle(mark, |word| master.leave_mark(word))?;
    let stray = entries.iter().find(|entry| !thief.asked(entry));
    ensure!(stray.is_none(), "{name} was sent a request since it is open: {stray:?}");
    saw(&format!(
        "a run of its agent has opened {name} ({how}), and a thief's forged name gets 200 there; out {:.1} s after the run",
        waited.as_secs_f64()
    ));
    let why = lab.door().says_of(master.host, "seal_why")?.unwrap_or_default();
    saw(&format!("stagedoor_master_unsealed 1, its access log has the thief's request alone; {why}"));
    Ok(Opening { gone })
}

/// What the door shows of a master that is out of rotation, or in it.
fn is_out(lab: &Lab, master: &Master, out: bool) -> Result<()> {
    let door = lab.door();
    let (seal, metric) =
        (door.says_of(master.host, "seal")?, door.metric("stagedoor_master_unsealed", master.host.name)?);
    let (word, expected) = if out { ("unsealed", 1.0) } else { ("sealed", 0.0) };
    let agrees = seal.as_deref() == Some(word) && (metric - expected).abs() < 0.5;
    ensure!(agrees, "{}: {seal:?}, stagedoor_master_unsealed {metric}", master.host.name);
    Ok(())
}

/// By a run of each master's own agent, both at once, and then by waiting alone.
fn sealed_again(lab: &Lab, masters: [&Master; 2]) -> Result<()> {
    thread::scope(|scope| {
        let runs = masters.map(|master| scope.spawn(|| master.seal_by_puppet()));
        for run in runs {
            run.join().map_err(|_| anyhow!("a run panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    for master in masters {
        lab.door().until_used(master.host)?;
        is_out(lab, master, false)?;
    }
    saw("both sealed by runs of their agents: sealed, stagedoor_master_unsealed 0");
    Ok(())
}

/// Somebody with an agent's certificate who says to be another agent.
struct Thief {
    own: Credentials,
    victim: String,
}

impl Thief {
    fn of(lab: &Lab) -> Result<Self> {
        let issued = lab.mom().issue_for_agents(&[new_name(&lab.root)?])?;
        let own = issued.into_iter().next().ok_or_else(|| anyhow!("no certificate for the thief"))?;
        Ok(Self { own, victim: new_name(&lab.root)? })
    }

    fn own_node(&self) -> String {
        format!("/puppet/v3/node/{}?environment=production", self.own.certname)
    }

    /// What the other's node is answered with.
    fn ask(&self, lab: &Lab, master: &Master, shown: Option<&Credentials>) -> Result<u16> {
        let headers = format!("X-Client-Verify: SUCCESS\r\nX-Client-DN: CN={}\r\n", self.victim);
        let target = format!("/puppet/v3/node/{}?environment=production", self.victim);
        let client = client(&lab.mom().ca_file(), shown)?;
        Ok(Conversation::open(master.host, &client)?.get(master.host, &target, &headers)?.status)
    }

    fn asked(&self, entry: &Entry) -> bool {
        entry.target.contains(&self.victim)
    }
}
