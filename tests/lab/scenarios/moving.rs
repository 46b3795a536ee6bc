//! A site goes back from sealed masters to open ones, takes the door away, and moves over again, step by step, with
//! agents running all the while: two real ones in turn, and others who say what a real one said, each at an address of its own.
//!
//! The agents' `server` is a name, and the name moves: here in /etc/hosts, at a site in DNS or by a virtual address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::saw;
use crate::agent::Agent;
use crate::door::Entrance;
use crate::fleet::{Fleet, Outcome, none_failed};
use crate::lab::Lab;
use crate::machine::{DOOR, lead_agents_to};
use crate::master::Master;
use crate::patience::{until, when};
use crate::program::succeed;
use crate::recording::Recording;

/// Some of these are on either side of an even split: the door's hash of an address is the same in every release.
const SOURCES: [Ipv4Addr; 6] = [
    Ipv4Addr::new(127, 0, 21, 1),
    Ipv4Addr::new(127, 0, 21, 2),
    Ipv4Addr::new(127, 0, 21, 3),
    Ipv4Addr::new(127, 0, 21, 4),
    Ipv4Addr::new(127, 0, 21, 5),
    Ipv4Addr::new(127, 0, 21, 6),
];
/// Of the real agents.
const REAL: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 22, 1), Ipv4Addr::new(127, 0, 22, 2)];
/// For every agent to run once: the real ones share two cores with Puppet Servers that start.
const A_RUN_OF_EACH: Duration = Duration::from_secs(180);

/// Between two real runs while a master changes, and looks whether they are waited for.
const REST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn a_site_moves_back_and_over_again_while_agents_run(lab: &Lab) -> Result<()> {
    let recording = Recording::of_a_webserver(lab)?;
    let fleet = Fleet::at(lab, recording, &SOURCES)?;
    let real = [Agent::enrolled(lab, "webserver")?, Agent::enrolled(lab, "webserver")?];
    let door = lab.door();
    door.restart_as(Entrance::Splits, &lab.mom())?;
    for master in &lab.masters() {
        door.until_used(master.host)?;
    }
    fleet.warm_up(lab)?;
    let others: Vec<String> = fleet.certnames().map(str::to_owned).collect();
    let names = real.iter().map(|agent| agent.certname.clone());
    let site = Site {
        lab,
        everybody: others.iter().cloned().chain(names).collect(),
        others,
        waits: AtomicBool::new(false),
    };

    let over = AtomicBool::new(false);
    let (outcomes, runs, moved) = thread::scope(|scope| {
        let over = &over;
        let outcomes = scope.spawn(|| fleet.keep_running(over));
        let runs = scope.spawn(|| keep_running(&real, &site.waits, over));
        let moved = there_and_back(&site);
        over.store(true, Ordering::Relaxed);
        let outcomes = outcomes.join().map_err(|_| anyhow!("the fleet panicked"))?;
        let runs = runs.join().map_err(|_| anyhow!("the real agents' thread panicked"))??;
        Ok::<_, anyhow::Error>((outcomes, runs, moved))
    })?;
    judge(&outcomes, &runs)?;
    moved?;
    door.restart_as(Entrance::Ends, &lab.mom())?;
    door.until_ready()
}

fn there_and_back(site: &Site<'_>) -> Result<()> {
    let [first, second] = site.lab.masters();
    let (door, mom) = (site.lab.door(), site.lab.mom());
    site.stays("both masters sealed", &["end"])?;

    site.opened(&second)?;
    site.stays("one sealed, one open", &["end", "pass"])?;
    site.last_opened(&first)?;
    site.stays("both open: everything is passed", &["pass"])?;

    lead_agents_to(first.host)?;
    site.stays_without_door(&first)?;
    // Nobody's connection is at the door any more.
    until("the door has nobody left", A_RUN_OF_EACH, || {
        Ok(when(door.metric("stagedoor_passed_open", "")? < 0.5))
    })?;
    door.restart_as(Entrance::Splits, &mom)?;
    door.until_used(first.host)?;
    door.until_used(second.host)?;
    saw(
        "the name leads to a master itself; the door is taken away and set up in front of the masters as they are",
    );

    lead_agents_to(&DOOR)?;
    site.stays("the name leads to the door, which passes everything", &["pass"])?;
    site.sealed(&second)?;
    site.stays("one sealed, one open", &["end", "pass"])?;
    site.sealed(&first)?;
    let before = passed_by_split(site.lab)?;
    site.stays("both sealed: no open master is left", &["end"])?;
    let after = passed_by_split(site.lab)?;
    ensure!(before > 0.5 && (before - after).abs() < 0.5, "passed by the split: {before}, and then {after}");
    saw("pass-through has closed by itself: stagedoor_passed_total no longer counts");
    Ok(())
}

struct Site<'a> {
    lab: &'a Lab,
    everybody: Vec<String>,
    /// All but the real ones, whose runs take seconds.
    others: Vec<String>,
    /// Whether all of them are waited for, so that the real ones do not rest.
    waits: AtomicBool,
}

impl Site<'_> {
    /// Drained, off the roster, opened by a run of its own agent, admitted.
    fn opened(&self, master: &Master) -> Result<()> {
        self.lab.door().take_off(master.host)?;
        self.open(master)
    }

    /// The same with the last sealed one, on which runs go on that began there.
    fn last_opened(&self, master: &Master) -> Result<()> {
        self.lab.door().take_last_sealed_off(master.host)?;
        self.open(master)
    }

    fn open(&self, master: &Master) -> Result<()> {
        let door = self.lab.door();
        master.unseal_by_puppet()?;
        door.admit(master.host, &["--open"])?;
        door.until_used(master.host).map(drop)
    }

    fn sealed(&self, master: &Master) -> Result<()> {
        let door = self.lab.door();
        door.take_off(master.host)?;
        master.seal_by_puppet()?;
        door.admit(master.host, &[])?;
        door.until_used(master.host).map(drop)
    }

    /// Every agent runs, and each address is on one side alone; all of them together on these.
    fn stays(&self, what: &str, ways: &[&str]) -> Result<()> {
        self.waits.store(true, Ordering::Relaxed);
        // Whoever was being let in while it changed is in by now.
        self.compile(&self.others, &self.lab.masters())?;
        let since = now()?;
        self.compile(&self.everybody, &self.lab.masters())?;
        // The door writes a passed connection's line when it is over.
        let (sides, _) = until("each address has had a connection", A_RUN_OF_EACH, || {
            Ok(Some(self.sides(&since)?).filter(|sides| sides.len() == self.everybody.len()))
        })?;
        for (source, side) in &sides {
            ensure!(side.len() == 1, "{what}: {source} was on both sides");
        }
        self.waits.store(false, Ordering::Relaxed);
        let used: BTreeSet<&str> = sides.values().flatten().copied().collect();
        ensure!(used.iter().eq(ways.iter()), "{what}: expected the ways {ways:?}, saw {used:?} in {sides:?}");
        let count = |way| sides.values().filter(|side| side.contains(way)).count();
        saw(&format!(
            "{what}: {} addresses ended, {} passed, none on both sides",
            count("end"),
            count("pass")
        ));
        Ok(())
    }

    /// The same with the name at a master.
    fn stays_without_door(&self, master: &Master) -> Result<()> {
        self.waits.store(true, Ordering::Relaxed);
        self.compile(&self.others, std::slice::from_ref(master))?;
        let since = now()?;
        self.compile(&self.everybody, std::slice::from_ref(master))?;
        self.waits.store(false, Ordering::Relaxed);
        let sides = self.sides(&since)?;
        ensure!(sides.is_empty(), "agents came to the door although the name does not lead there: {sides:?}");
        Ok(())
    }

    /// Waits until each of these agents has had a catalog since now, as the masters themselves logged it.
    fn compile(&self, agents: &[String], masters: &[Master]) -> Result<()> {
        let marks = masters.iter().map(|master| master.access_log().mark()).collect::<Result<Vec<_>>>()?;
        until("every agent has had a catalog", A_RUN_OF_EACH, || {
            let mut targets = Vec::new();
            for (master, mark) in masters.iter().zip(&marks) {
                targets.extend(master.access_log().since(*mark)?.into_iter().map(|entry| entry.target));
            }
            let compiled = |name: &String| {
                targets.iter().any(|target| {
                    target.starts_with(&format!("/puppet/v3/catalog/{name}?"))
                        || target.ends_with(&format!("/puppet/v3/catalog/{name}"))
                })
            };
            Ok(when(agents.iter().all(compiled)))
        })?;
        Ok(())
    }

    /// By address, what the door did with the connections that it let in since.
    fn sides(&self, since: &str) -> Result<BTreeMap<IpAddr, BTreeSet<&'static str>>> {
        let mut connections: BTreeMap<SocketAddr, (String, &'static str)> = BTreeMap::new();
        for line in self.lab.door().access_lines()? {
            let word = |key| line.get(key).and_then(Value::as_str);
            let (Some(peer), Some(time)) = (word("peer"), word("time")) else { continue };
            let way = if word("way") == Some("pass") { "pass" } else { "end" };
            let begun = (time.to_owned(), way);
            let known = connections.entry(peer.parse()?).or_insert_with(|| begun.clone());
            *known = known.clone().min(begun);
        }
        let mut sides: BTreeMap<IpAddr, BTreeSet<&'static str>> = BTreeMap::new();
        for (peer, (_, way)) in connections.iter().filter(|(_, (time, _))| time.as_str() >= since) {
            sides.entry(peer.ip()).or_default().insert(way);
        }
        Ok(sides)
    }
}

/// As the door's access log writes it.
fn now() -> Result<String> {
    Ok(succeed(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"]))?.trim().to_owned())
}

/// Connections passed for their address, however they ended.
fn passed_by_split(lab: &Lab) -> Result<f64> {
    let page = lab.door().says("/metrics")?;
    let series = page.lines().filter(|line| line.starts_with("stagedoor_passed_total{reason=\"split\""));
    let mut sum = 0.0;
    for line in series {
        let value: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
        sum += value;
    }
    Ok(sum)
}

/// One run of a real agent.
struct RealRun {
    failure: Option<String>,
    told_to_come_back: usize,
}

/// One after the other, and while a master changes with a rest in between: two at once would take both cores from the server
/// that starts. Several runs still meet each change.
fn keep_running(agents: &[Agent], waits: &AtomicBool, over: &AtomicBool) -> Result<Vec<RealRun>> {
    let mut runs = Vec::new();
    for (agent, source) in agents.iter().zip(REAL).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let ended = agent.run(&["--sourceaddress", &source.to_string()], &[])?;
        let said = ended.said();
        let failed = ended.code != 0 && ended.code != 2;
        runs.push(RealRun {
            failure: failed.then(|| format!("{} ended with {}:\n{said}", agent.certname, ended.code)),
            told_to_come_back: said.matches("before retrying the request").count(),
        });
        let ended = Instant::now();
        while ended.elapsed() < REST && !waits.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
    }
    Ok(runs)
}

/// Not one request failed, and not one real run.
fn judge(outcomes: &[Outcome], runs: &[RealRun]) -> Result<()> {
    let real = runs.iter().filter(|run| run.failure.is_some()).count();
    if let Some(first) = runs.iter().find_map(|run| run.failure.as_ref()) {
        saw(&format!("{real} of {} real runs failed; the first: {first}", runs.len()));
    }
    none_failed(outcomes)?;
    ensure!(real == 0, "{real} of {} real runs failed", runs.len());
    ensure!(runs.len() > REAL.len(), "only {} real runs", runs.len());
    let by_source = |source: &Ipv4Addr| outcomes.iter().filter(|one| one.source == Some(*source)).count();
    let least = SOURCES.iter().map(by_source).min().context("nobody")?;
    ensure!(least > 0, "an address from which nobody asked anything");
    saw(&format!(
        "{} real runs and {} requests of others, at least {least} from each address, none failed; told to come back later: \
         {} of the former, {} of the latter",
        runs.len(),
        outcomes.len(),
        runs.iter().map(|run| run.told_to_come_back).sum::<usize>(),
        outcomes.iter().map(|one| one.told_to_come_back).sum::<usize>()
    ));
    Ok(())
}
