//! `stagedoor-enroller enroll`, `adopt`, `retire`, `resume`: an enrollment carried on to its end or to where it stops,
//! each thing that happens told as it is recorded.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Settings;
use stagedoor_config::master::is_host_and_port;
use stagedoor_config::read;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, SETTINGS, say, settings, warn};
use crate::carry::{Carrier, plan};
use crate::drive::{End, Told, What};
use crate::journal::{Folder, Journal};
use crate::pipeline::{Entry, Plan, Procedure, Stop, StopKind};
use crate::request::fingerprint;
use crate::steps::Permits;
use crate::words::chain;

/// The most masters of a list that is adopted: as many as a roster holds.
const MOST_ADOPTED: usize = 1_000;

/// What every command that goes on takes.
#[derive(Debug, Args)]
pub(super) struct Way {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
    /// Tell each thing as a line of JSON.
    #[arg(long)]
    json: bool,
    /// A door that may be missing; repeat for several. The master is to be admitted there by hand.
    #[arg(long, value_name = "CERTNAME", value_parser = certname)]
    missing_door: Vec<Certname>,
    /// Fetch the install script without knowing from whom (curl -k).
    #[arg(long)]
    insecure_install: bool,
    /// SHA-256 of the new machine's public key, where this program cannot read it there.
    #[arg(long, value_name = "SHA256", value_parser = key)]
    key_fingerprint: Option<String>,
    /// Overwrite what the console's classifier has otherwise than it should be.
    #[arg(long)]
    overwrite: bool,
    /// The machine of a master that is retired is gone: ask nothing of it.
    #[arg(long)]
    machine_gone: bool,
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// The new master.
    #[arg(value_name = "CERTNAME", value_parser = certname)]
    master: Certname,
    /// Where its Puppet Server will listen, where that is not its certname on port 8140.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Adopt {
    /// The master.
    #[arg(value_name = "CERTNAME", value_parser = certname, required_unless_present = "all")]
    master: Option<Certname>,
    /// A file with a certname on each line, and after it HOST:PORT where that is not its name on port 8140.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["master", "address"])]
    all: Option<PathBuf>,
    /// Where its Puppet Server listens, where that is not its certname on port 8140.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: Option<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Retire {
    /// The master.
    #[arg(value_name = "CERTNAME", value_parser = certname)]
    master: Certname,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// The master.
    #[arg(value_name = "CERTNAME", value_parser = certname)]
    master: Certname,
    /// Give it up instead, for this reason, so that another can begin. What it has done stays as it is.
    #[arg(long, value_name = "REASON")]
    give_up: Option<String>,
    #[command(flatten)]
    way: Way,
}

impl Enroll {
    pub(super) fn run(self) -> Result<(), Failure> {
        let installation = self.way.open()?;
        let plan = plan(&installation.settings, Procedure::Enroll, &self.master, self.address.as_deref())?;
        installation.begin(plan, &self.way)
    }
}

impl Adopt {
    pub(super) fn run(self) -> Result<(), Failure> {
        let installation = self.way.open()?;
        let of = |master: &Certname, address: Option<&str>| {
            plan(&installation.settings, Procedure::Adopt, master, address).map_err(Failure::from)
        };
        if let Some(master) = &self.master {
            return installation.begin(of(master, self.address.as_deref())?, &self.way);
        }
        let mut stopped = Vec::new();
        for (master, address) in masters(self.all.as_deref().unwrap_or_else(|| Path::new("")))? {
            // One that stops keeps no other from its turn.
            let carried =
                of(&master, address.as_deref()).and_then(|plan| installation.begin(plan, &self.way));
            if let Err(failure) = carried {
                if let Failure::Error(words) = &failure {
                    warn(&format!("stagedoor-enroller: {words}"));
                }
                stopped.push(master.to_string());
            }
        }
        if stopped.is_empty() {
            return Ok(());
        }
        Err(Failure::Error(format!(
            "not adopted: {}; `resume` each once that is put right",
            stopped.join(", ")
        )))
    }
}

impl Retire {
    pub(super) fn run(self) -> Result<(), Failure> {
        let installation = self.way.open()?;
        let plan = plan(&installation.settings, Procedure::Retire, &self.master, None)?;
        installation.begin(plan, &self.way)
    }
}

impl Resume {
    pub(super) fn run(self) -> Result<(), Failure> {
        let installation = self.way.open()?;
        if let Some(reason) = &self.give_up {
            installation.folder.abandon(&self.master, reason)?;
            return say(&format!("{}: given up: {reason}", self.master));
        }
        let carrier = Carrier::ready(&installation.settings)?;
        let resumed = installation.folder.resume(&self.master)?;
        if resumed.cut > 0 {
            warn(&format!("{}: a last line of {} bytes was cut off by a crash", self.master, resumed.cut));
        }
        carry(&carrier, resumed.journal, &self.way)
    }
}

impl Way {
    fn open(&self) -> Result<Installation, Failure> {
        let settings = settings(&self.config).map_err(|bad| Failure::Settings(Some(bad.words())))?;
        Ok(Installation { folder: Folder::at(&settings.journal), settings })
    }

    fn permits(&self) -> Permits {
        Permits {
            insecure_install: self.insecure_install,
            missing_doors: self.missing_door.clone(),
            key: self.key_fingerprint.clone(),
            overwrite: self.overwrite,
            gone: self.machine_gone,
        }
    }
}

struct Installation {
    settings: Settings,
    folder: Folder,
}

impl Installation {
    fn begin(&self, plan: Plan, way: &Way) -> Result<(), Failure> {
        let carrier = Carrier::ready(&self.settings)?;
        carry(&carrier, self.folder.begin(plan)?, way)
    }
}

/// On to the end, or to where it stops, with everything told.
fn carry(carrier: &Carrier, journal: Journal, way: &Way) -> Result<(), Failure> {
    let master = journal.progress().plan().master().clone();
    tell_where(&journal, way)?;
    let mut unsaid = None;
    let mut tell = |told: &Told| {
        let words = if way.json { json_of(told) } else { told.to_string() };
        // An enrollment goes on when nobody listens any more: the journal has it all.
        if let Err(failure) = say(&words) {
            unsaid.get_or_insert(failure);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let end = runtime.block_on(async {
        let interrupted = interrupted()?;
        Ok::<_, Failure>(carrier.carry(journal, way.permits(), interrupted, &mut tell).await?)
    })?;
    match end {
        End::Finished => unsaid.map_or(Ok(()), Err),
        End::Stopped(step, Stop { kind, reason, way_out }) => {
            let kind = kind.name();
            Err(Failure::Error(format!("{master}: {step}: {kind}: {reason}; {way_out}")))
        }
        End::Abandoned(reason) => Err(Failure::Error(format!("{master}: given up: {reason}"))),
    }
}

/// The stop that a person makes at the terminal. It is recorded, so that nobody takes the enrollment up but who says so.
fn interrupted() -> std::io::Result<impl Future<Output = Stop> + Send> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        let by = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        let reason = format!("{by} stopped it; what it began on other machines goes on there");
        Stop::new(StopKind::Paused, reason, "resume, which looks at what it left, or give it up")
    })
}

fn tell_where(journal: &Journal, way: &Way) -> Result<(), Failure> {
    let path = journal.path().display();
    if way.json {
        say(&json!({ "journal": path.to_string() }).to_string())
    } else {
        say(&format!("journal: {path}"))
    }
}

/// A certname on each line, and after it an address where that is not its name on Puppet's port.
fn masters(file: &Path) -> Result<Vec<(Certname, Option<String>)>, Failure> {
    let text = read::text(file)?;
    let mut all: Vec<(Certname, Option<String>)> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let wrong = |why: String| Failure::Error(format!("{}:{}: {why}", file.display(), place + 1));
        let (master, address) = match words.as_slice() {
            [] => continue,
            [master] => (certname(master).map_err(wrong)?, None),
            [master, at] => (certname(master).map_err(wrong)?, Some(address(at).map_err(wrong)?)),
            _ => return Err(wrong("expected a certname, and an address where it has another".to_owned())),
        };
        if all.iter().any(|(there, _)| *there == master) {
            return Err(wrong(format!("{master} stands there twice")));
        }
        all.push((master, address));
    }
    if all.is_empty() || all.len() > MOST_ADOPTED {
        let found = all.len();
        return Err(Failure::Error(format!(
            "{}: expected 1 to {MOST_ADOPTED} certnames, and found {found}",
            file.display()
        )));
    }
    Ok(all)
}

pub(super) fn certname(text: &str) -> Result<Certname, String> {
    Certname::parse_host(text).map_err(|error| chain(&error))
}

pub(super) fn address(text: &str) -> Result<String, String> {
    if is_host_and_port(text) { Ok(text.to_owned()) } else { Err("expected a host and a port".to_owned()) }
}

fn key(text: &str) -> Result<String, String> {
    fingerprint(text).ok_or_else(|| "expected SHA-256 as 64 hexadecimal digits".to_owned())
}

/// One thing that happened, for programs.
fn json_of(told: &Told) -> String {
    let step = told.step.as_ref().map(ToString::to_string);
    let of = |what: &str| json!({ "number": told.number, "of": told.of, "step": step, "what": what });
    let mut line = match &told.what {
        What::Looking => of("looking"),
        What::Waiting { so_far, at_most } => {
            let mut line = of("waiting");
            if let Some(fields) = line.as_object_mut() {
                fields.insert("seconds".to_owned(), so_far.as_secs().into());
                fields.insert("at_most".to_owned(), at_most.as_secs().into());
            }
            line
        }
        What::Recorded(entry) => match entry {
            Entry::Intended { .. } => of("intended"),
            Entry::Acted { .. } => of("acted"),
            Entry::Done { .. } => of("done"),
            Entry::Stopped { stop, .. } => of(stop.kind.name()),
            Entry::Resumed => of("resumed"),
            Entry::Abandoned { .. } => of("abandoned"),
        },
    };
    let (facts, reason) = match &told.what {
        What::Recorded(Entry::Acted { facts, .. } | Entry::Done { facts, .. }) => (Some(facts), None),
        What::Recorded(Entry::Stopped { stop, .. }) => (None, Some((&stop.reason, Some(&stop.way_out)))),
        What::Recorded(Entry::Abandoned { reason }) => (None, Some((reason, None))),
        _ => (None, None),
    };
    if let Some(fields) = line.as_object_mut() {
        if let Some(facts) = facts {
            fields.insert("facts".to_owned(), json!(facts));
        }
        if let Some((reason, way_out)) = reason {
            fields.insert("reason".to_owned(), json!(reason));
            fields.extend(way_out.map(|way_out| ("way_out".to_owned(), json!(way_out))));
        }
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::pipeline::{Facts, Step};

    #[test]
    fn a_list_of_masters_is_a_certname_on_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("masters");
        let with = |text: &str| {
            fs::write(&file, text).unwrap();
            masters(&file)
        };
        let found = with("# ours\na.example.com\n\nb.example.com 10.0.0.2:8140 # east\n").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].1.as_deref(), Some("10.0.0.2:8140"));
        for (bad, words) in [
            ("", "found 0"),
            ("A.example.com\n", "masters:1: "),
            ("a\nb\na\n", "masters:3: a stands there twice"),
            ("a b\n", "masters:1: expected a host"),
            ("a b:1 c\n", "masters:1: expected a certname"),
        ] {
            let Err(Failure::Error(told)) = with(bad) else { panic!("{bad:?}") };
            assert!(told.contains(words), "{bad:?}: {told}");
        }
    }

    #[test]
    fn what_happens_is_told_to_programs_one_line_each() {
        let told = |what| Told { number: 3, of: 9, step: Some(Step::Sign), what };
        let waiting =
            told(What::Waiting { so_far: Duration::from_secs(15), at_most: Duration::from_secs(300) });
        assert_eq!(
            json_of(&waiting),
            r#"{"at_most":300,"number":3,"of":9,"seconds":15,"step":"sign","what":"waiting"}"#
        );
        let facts = Facts::none().and("serial", "0a");
        let done = told(What::Recorded(Entry::Done { step: Step::Sign, facts }));
        assert_eq!(
            json_of(&done),
            r#"{"facts":{"serial":"0a"},"number":3,"of":9,"step":"sign","what":"done"}"#
        );
    }
}
