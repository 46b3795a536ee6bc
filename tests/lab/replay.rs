//! What it is worth that a catalog goes where its environment's code is: twelve environments of 28 modules, whose recorded
//! requests are said again through the door, through the door with its affinity turned off, and through a HAProxy tuned by hand,
//! one after the other, to the same two Puppet Servers. It takes a quarter of an hour, measures, and promises nothing: no part
//! of a test run.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::code;
use crate::door::Entrance;
use crate::fleet::{Fleet, Outcome};
use crate::haproxy::HaProxy;
use crate::lab::Lab;
use crate::machine::{Account, write};
use crate::patience::until;
use crate::recording::Recording;

/// Environments; names are as long as `production`.
const ENVIRONMENTS: usize = 12;
const MODULES: usize = 28;
const CLASSES: usize = 4;
const RESOURCES: usize = 4;

/// How often in a turn every cache is flushed, as a deploy does it.
const FLUSHES: usize = 2;
/// For a Puppet Server to start while another does.
const READY: Duration = Duration::from_secs(240);
/// How often before it is measured: the door has to see some twenty catalogs of warm and of cold caches to know what they are
/// worth, which sites have seen before noon.
const LEARNT: usize = 2;
/// Runs of each environment's agent between two flushes.
const RUNS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Through {
    Door,
    DoorWithoutAffinity,
    HaProxy,
}

/// What one turn came to.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    catalogs: usize,
    failed: usize,
    /// Of both masters' Java machines.
    cpu: Duration,
    took: Duration,
    /// All catalogs' together, from request to answer.
    waited: Duration,
}

pub(crate) fn replay(lab: &Lab, rounds: usize, through: &[Through]) -> Result<()> {
    let code = Code::deploy(lab)?;
    let recording = Recording::of_a_webserver(lab)?;
    let fleets = code.names.iter().map(|name| Fleet::of(lab, recording.in_environment(name)?, 1));
    let fleets = fleets.collect::<Result<Vec<_>>>()?;
    println!("replay: {ENVIRONMENTS} environments of {MODULES} modules, two masters of two JRubies");
    for round in 0..rounds {
        let mut order = through.to_vec();
        order.rotate_left(round % through.len().max(1));
        for through in order {
            let turn = turn(lab, through, &fleets);
            end(lab, through)?;
            show(round, through, turn?);
        }
    }
    Ok(())
}

fn turn(lab: &Lab, through: Through, fleets: &[Fleet]) -> Result<Turn> {
    begin(lab, through)?;
    // What a balancer learns, it learns from this; and Java compiles what is often run.
    for _ in 0..LEARNT {
        flush(lab, through)?;
        part(fleets, RUNS)?;
    }
    let mut all = Turn::default();
    for _ in 0..FLUSHES {
        flush(lab, through)?;
        let (cpu, began) = (cpu(lab)?, Instant::now());
        let outcomes = part(fleets, RUNS)?;
        all.took += began.elapsed();
        all.cpu += self::cpu(lab)?.saturating_sub(cpu);
        let catalogs = outcomes.iter().filter(|outcome| outcome.name.contains("/catalog/"));
        for outcome in catalogs {
            all.catalogs += 1;
            all.waited += outcome.ended - outcome.begun;
        }
        all.failed += outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    }
    Ok(all)
}

/// Every environment's agent runs so often, all of them abreast.
fn part(fleets: &[Fleet], runs: usize) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let abreast: Vec<_> =
            fleets.iter().map(|fleet| scope.spawn(move || fleet.run(runs, &AtomicUsize::new(0)))).collect();
        let ended = abreast.into_iter().map(|runs| runs.join().map_err(|_| anyhow!("a fleet panicked")));
        Ok(ended.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

/// Both masters begin anew: a Java machine that has read and flushed much is slower, whoever its balancer is.
fn renew(lab: &Lab) -> Result<()> {
    for master in lab.masters() {
        master.service().stop()?;
        master.start()?;
    }
    for master in lab.masters() {
        until(&format!("{} is ready", master.host.name), READY, || master.is_ready())?;
    }
    Ok(())
}

fn begin(lab: &Lab, through: Through) -> Result<()> {
    renew(lab)?;
    match through {
        // With nothing learned from the turn before.
        Through::Door => lab.door().restart_as(Entrance::Ends, &lab.mom())?,
        Through::DoorWithoutAffinity => lab.door().restart_without_affinity(&lab.mom())?,
        Through::HaProxy => {
            lab.door().end()?;
            return HaProxy::at(&lab.root).start(lab);
        }
    }
    lab.door().until_ready()?;
    lab.masters().iter().try_for_each(|master| lab.door().until_used(master.host).map(drop))
}

/// The door is there again as it was.
fn end(lab: &Lab, through: Through) -> Result<()> {
    match through {
        Through::Door => return Ok(()),
        Through::DoorWithoutAffinity => lab.door().end()?,
        Through::HaProxy => HaProxy::at(&lab.root).end()?,
    }
    lab.door().start_as(Entrance::Ends, &lab.mom())?;
    lab.door().until_ready()?;
    lab.masters().iter().try_for_each(|master| lab.door().until_used(master.host).map(drop))
}

/// As a site does it after a deployment: by `stagedoor flush` where the door stands, which is the only way to a sealed master
/// then, and by the masters' own addresses behind HAProxy.
fn flush(lab: &Lab, through: Through) -> Result<()> {
    if through != Through::HaProxy {
        return lab.door().flush_all().map(drop);
    }
    for master in lab.masters() {
        let flushed = master.flush_environments()?;
        ensure!(flushed.code == 0, "{} did not flush: {}", master.host.name, flushed.said());
    }
    Ok(())
}

fn cpu(lab: &Lab) -> Result<Duration> {
    lab.masters().iter().map(|master| master.process().cpu()).sum()
}

fn show(round: usize, through: Through, turn: Turn) {
    let Turn { catalogs, failed, cpu, took, waited } = turn;
    let many = catalogs as f64;
    println!(
        "replay: round {} {through:?}: {catalogs} catalogs, {failed} requests failed; {:.2} catalogs per CPU second of the \
         masters, {:.1} per minute, {:.2} s each from request to answer",
        round + 1,
        many / cpu.as_secs_f64(),
        many / took.as_secs_f64() * 60.0,
        waited.as_secs_f64() / many
    );
}

/// The environments. They go away when dropped.
struct Code<'l> {
    lab: &'l Lab,
    names: Vec<String>,
}

impl<'l> Code<'l> {
    fn deploy(lab: &'l Lab) -> Result<Self> {
        let names = (0..ENVIRONMENTS).map(|number| format!("replayed{number:02}")).collect();
        let this = Self { lab, names };
        for name in &this.names {
            this.lay_out(&this.folder(name))?;
            Account::named("puppet")?.own(&this.folder(name))?;
        }
        Ok(this)
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        code::folder(&self.lab.root).join("environments").join(name)
    }

    fn lay_out(&self, folder: &Path) -> Result<()> {
        let mut site = String::new();
        for module in 0..MODULES {
            for class in 0..CLASSES {
                site.push_str(&format!("include replay{module:02}::part{class}\n"));
                let file = folder.join(format!("modules/replay{module:02}/manifests/part{class}.pp"));
                write(&file, &text(module, class))?;
            }
        }
        write(&folder.join("manifests/site.pp"), &site)
    }
}

impl Drop for Code<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            fs::remove_dir_all(self.folder(name)).with_context(|| format!("{name} is left behind")).ok();
        }
    }
}

/// A class as people write them: parameters with types, a case, a selector, resources with relations.
fn text(module: usize, class: usize) -> String {
    let mut text = format!(
        r#"# What this part of module {module} is for.
class replay{module:02}::part{class} (
  Enum['present', 'absent'] $ensure = 'present',
  String[1] $owner = 'root',
  Array[String[1]] $names = ['one', 'two', 'three'],
  Hash[String[1], Integer] $ports = {{ 'http' => 80, 'https' => 443 }},
) {{
  $family = $facts['os'] ? {{
    Hash    => $facts['os']['family'],
    default => 'unknown',
  }}
  case $family {{
    'Debian': {{ $service = 'debian' }}
    'RedHat': {{ $service = 'redhat' }}
    default: {{ $service = 'other' }}
  }}
  $all = $names.map |$name| {{ "${{name}}-${{service}}" }}
"#
    );
    for resource in 0..RESOURCES {
        text.push_str(&format!(
            r#"  notify {{ "replay {module} {class} {resource}":
    message  => "${{owner}} ${{ensure}} ${{service}} ${{all.join(',')}} ${{ports['http']}}",
    loglevel => 'debug',
    tag      => ['replay', "part{class}"],
  }}
"#
        ));
    }
    text.push_str("}\n");
    text
}
