//! The door itself, as an operator runs it: a settings file, `stagedoor run`, and `stagedoor roster admit` for each
//! compile master. The binary is the one this workspace builds, or the one STAGEDOOR_BIN names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::door_ca::DoorCa;
use crate::machine::{DOOR, Host, MASTERS, MOM, PORT, copy, make_folder, read, write};
use crate::master::{HEADER_LIMIT, JRUBIES};
use crate::mom::Mom;
use crate::outside::Outside;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{built, run, succeed};

pub(crate) const ADMIN_PORT: u16 = 9140;
/// Where the door passes everything on, in [`Entrance::AlsoPasses`].
pub(crate) const PASS_PORT: u16 = 8141;

/// How the door lets agents in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It ends every connection, as most doors do for ever.
    Ends,
    /// It ends or passes each by its source address while both kinds of master are admitted.
    Splits,
    /// It passes connections of old agents, and everything on a port of its own.
    AlsoPasses,
}

impl Entrance {
    fn settings(self) -> String {
        let further = match self {
            Self::Ends => String::new(),
            Self::Splits => "split = \"by-capacity\"\n".to_owned(),
            Self::AlsoPasses => format!(
                "pass_old_tls = true\n\n[[listen]]\naddress = \"{}:{PASS_PORT}\"\nmode = \"pass\"\n",
                DOOR.address
            ),
        };
        format!("[[listen]]\naddress = \"{}:{PORT}\"\nmode = \"end-tls\"\n{further}", DOOR.address)
    }
}

/// For the door to come up, or to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// For a run that is under way to end, on a machine that is busy.
const LONGEST_RUN: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(crate) struct Door {
    root: PathBuf,
}

impl Door {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Starts the door and admits the first master, as an operator does.
    pub(crate) fn start(&self, mom: &Mom) -> Result<()> {
        self.start_as(Entrance::Ends, mom)?;
        self.admit(&MASTERS[0], &[])?;
        self.until_ready()
    }

    /// Starts it with whom it has on its roster.
    pub(crate) fn start_as(&self, entrance: Entrance, mom: &Mom) -> Result<()> {
        self.start_with(&self.settings_text(entrance, mom), mom)
    }

    /// Ends it and starts it so that it does not look at what JRubies have compiled.
    pub(crate) fn restart_without_affinity(&self, mom: &Mom) -> Result<()> {
        self.end()?;
        let usual = self.settings_text(Entrance::Ends, mom);
        self.start_with(&format!("{usual}\n[seats]\naffinity = false\n"), mom)
    }

    fn start_with(&self, settings: &str, mom: &Mom) -> Result<()> {
        let program = program()?;
        let folder = self.folder();
        make_folder(&folder)?;
        let own = mom.issued(DOOR.name);
        copy(&own.certificate, &folder.join("door.pem"))?;
        copy(&own.key, &folder.join("door.key"))?;
        fs::set_permissions(folder.join("door.key"), fs::Permissions::from_mode(0o600))?;
        write(&self.settings(), settings)?;
        succeed(Command::new(&program).args(["check", "--config"]).arg(self.settings()))
            .context("the door refuses its settings")?;
        let mut door = Command::new(&program);
        door.args(["run", "--config"]).arg(self.settings()).current_dir(&folder);
        self.process().start(&mut door, None)?;
        until("the door lives", LIMIT, || self.answers("/live")).map(drop)
    }

    /// Ends it and starts it as another.
    pub(crate) fn restart_as(&self, entrance: Entrance, mom: &Mom) -> Result<()> {
        self.end()?;
        self.start_as(entrance, mom)
    }

    /// Whether it is up as a scenario finds it.
    pub(crate) fn is_as(&self, entrance: Entrance, mom: &Mom) -> Result<bool> {
        Ok(self.process().is_running() && read(&self.settings())? == self.settings_text(entrance, mom))
    }

    pub(crate) fn until_ready(&self) -> Result<()> {
        until("the door is ready", LIMIT, || self.answers("/ready")).map(drop)
    }

    /// `stagedoor roster admit`, of a sealed master unless the further arguments say otherwise.
    pub(crate) fn admit(&self, master: &Host, further: &[&str]) -> Result<()> {
        let (header_limit, jrubies) = (HEADER_LIMIT.to_string(), JRUBIES.to_string());
        let known = ["--header-limit", &header_limit, "--jrubies", &jrubies];
        self.roster("admit", master, &[&known, further].concat())
    }

    pub(crate) fn drain(&self, master: &Host) -> Result<()> {
        self.roster("drain", master, &[])
    }

    /// Drains a master, waits until it has nothing of the door's any more, and takes it off the roster.
    pub(crate) fn take_off(&self, master: &Host) -> Result<()> {
        self.drain(master)?;
        self.retire(master)
    }

    /// Drains the last sealed master, and waits until every agent whose run began there is done.
    pub(crate) fn take_last_sealed_off(&self, master: &Host) -> Result<()> {
        self.drain(master)?;
        until("nobody's connection is ended any more", LONGEST_RUN, || {
            let page = self.says("/metrics")?;
            let (open, passed) = (
                metric(&page, "stagedoor_connections_open", "")?,
                metric(&page, "stagedoor_passed_open", "")?,
            );
            Ok(when(open - passed < 0.5))
        })?;
        self.retire(master)
    }

    fn retire(&self, master: &Host) -> Result<()> {
        until(&format!("{} has nothing in hand", master.name), LONGEST_RUN, || {
            Ok(when(self.in_flight(master)? == 0))
        })?;
        self.roster("retire", master, &[])
    }

    /// Takes a master off the roster whatever it does.
    pub(crate) fn cut_off(&self, master: &Host) -> Result<()> {
        self.roster("retire", master, &["--force"])
    }

    /// Whether this master is admitted as one that is sealed by the door CA, as a scenario finds it.
    pub(crate) fn has_sealed(&self, master: &Host) -> Result<bool> {
        let Ok(view) = self.view_of(master) else { return Ok(false) };
        let expected = [("kind", "sealed"), ("isolation", "door-ca"), ("standing", "admitted")];
        Ok(expected.iter().all(|(key, word)| view.get(key).and_then(Value::as_str) == Some(*word)))
    }

    /// Waits until it sends this master requests: fit, and sealed if it is to be.
    pub(crate) fn until_used(&self, master: &Host) -> Result<Duration> {
        let used = || {
            let says = |key| self.says_of(master, key);
            let sealed =
                says("kind")?.as_deref() == Some("open") || says("seal")?.as_deref() == Some("sealed");
            Ok(when(says("fit")?.as_deref() == Some("fit") && sealed))
        };
        let (_, waited) = until(&format!("the door uses {}", master.name), Duration::from_secs(90), used)?;
        Ok(waited)
    }

    fn roster(&self, what: &str, master: &Host, further: &[&str]) -> Result<()> {
        let mut roster = Command::new(program()?);
        roster.args(["roster", what, master.name]).args(further).arg("--config");
        succeed(roster.arg(self.settings())).map(drop)
    }

    /// The values of the metric's series that have this text in their labels, together; of all for an empty text.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        metric(&self.says("/metrics")?, name, labels)
    }

    /// What the door answers to a question at its admin address, whatever its status.
    pub(crate) fn says(&self, path: &str) -> Result<String> {
        succeed(Command::new("curl").args(["--silent", &admin(path)]))
    }

    /// Ends it as an operator would, and waits until it has.
    pub(crate) fn end(&self) -> Result<()> {
        self.process().ask_to_end()?;
        self.process().gone()
    }

    /// An error when the door has ended.
    pub(crate) fn must_be_alive(&self) -> Result<()> {
        if self.process().is_running() {
            return Ok(());
        }
        bail!("the door has ended: see {}", self.process().output().display())
    }

    /// How many requests this compile master has from the door just now.
    pub(crate) fn in_flight(&self, master: &Host) -> Result<u64> {
        let view = self.view_of(master)?;
        let count = view.get("in_flight").and_then(Value::as_u64);
        count.with_context(|| format!("the door does not say what {} has: {view}", master.name))
    }

    /// A word that the door has for this compile master, such as its standing or whether it is fit.
    pub(crate) fn says_of(&self, master: &Host, key: &str) -> Result<Option<String>> {
        Ok(self.view_of(master)?.get(key).and_then(Value::as_str).map(str::to_owned))
    }

    /// All that the door says of this compile master.
    pub(crate) fn view_of(&self, master: &Host) -> Result<Value> {
        let view = self.asked("/v1/masters")?;
        let masters =
            view.get("masters").and_then(Value::as_array).context("no masters in the door's answer")?;
        masters
            .iter()
            .find(|one| one.get("certname").and_then(Value::as_str) == Some(master.name))
            .cloned()
            .with_context(|| format!("the door does not know {}: {masters:.400?}", master.name))
    }

    /// Who waits in it for a JRuby.
    pub(crate) fn queue(&self) -> Result<Value> {
        self.asked("/v1/queue")
    }

    fn asked(&self, path: &str) -> Result<Value> {
        let answer = succeed(Command::new("curl").args(["--silent", "--fail", &admin(path)]))?;
        serde_json::from_str(&answer).with_context(|| format!("the door answered {answer:.400}"))
    }

    /// `stagedoor masters`, for people.
    pub(crate) fn masters(&self) -> Result<String> {
        succeed(Command::new(program()?).args(["masters", "--config"]).arg(self.settings()))
    }

    /// What the door logged of each request so far.
    pub(crate) fn access_lines(&self) -> Result<Vec<Value>> {
        let text = read(&self.folder().join("access.log"))?;
        // A line that is still being written is no JSON yet.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// `stagedoor flush`, as r10k runs it: what it said of each master.
    pub(crate) fn flush(&self, environment: &str) -> Result<String> {
        let mut flush = Command::new(program()?);
        succeed(flush.args(["flush", "--environment", environment, "--config"]).arg(self.settings()))
    }

    /// The same of every environment.
    pub(crate) fn flush_all(&self) -> Result<String> {
        succeed(Command::new(program()?).args(["flush", "--config"]).arg(self.settings()))
    }

    /// A master's own status as the door relays it: the code and the body.
    pub(crate) fn status_of(&self, master: &Host, level: &str) -> Result<(String, String)> {
        let path = format!("/v1/masters/{}/status?level={level}", master.name);
        let mut curl = Command::new("curl");
        let answer = succeed(curl.args(["--silent", "--write-out", "\n%{http_code}", &admin(&path)]))?;
        let (body, code) = answer.rsplit_once('\n').context("curl says the code on a line of its own")?;
        Ok((code.to_owned(), body.to_owned()))
    }

    /// `stagedoor check --signed`: which of the certificates in this folder the door would turn away.
    pub(crate) fn check_signed(&self, folder: &Path) -> Result<String> {
        succeed(
            Command::new(program()?)
                .args(["check", "--config"])
                .arg(self.settings())
                .arg("--signed")
                .arg(folder),
        )
    }

    /// The end of what it wrote, for a scenario that failed.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for file in [self.process().output(), self.folder().join("access.log")] {
            let text = read(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(12)) {
                words.push_str(&format!("    {line:.600}\n"));
            }
        }
        words
    }

    fn process(&self) -> Process {
        Process::named(&self.root, "door")
    }

    fn answers(&self, path: &str) -> Result<Option<()>> {
        self.must_be_alive()?;
        Ok(when(run(Command::new("curl").args(["--silent", "--fail", &admin(path)]))?.code == 0))
    }

    fn folder(&self) -> PathBuf {
        self.root.join("door")
    }

    fn settings(&self) -> PathBuf {
        self.folder().join("proxy.toml")
    }

    /// The CA's own files, watched where the CA writes them; everything else as an operator would set it.
    fn settings_text(&self, entrance: Entrance, mom: &Mom) -> String {
        let door_ca = DoorCa::at(&self.root);
        let client = door_ca.door();
        let at = self.folder();
        let at = at.display();
        format!(
            r#"{entrance}
[[certificate]]
certificate = "{at}/door.pem"
key = "{at}/door.key"

[puppet_ca]
bundle = "{bundle}"
crl = "{crl}"

[mom]
certname = "{mom}"

[masters]
certificate = "{client_certificate}"
key = "{client_key}"
ca = "{client_ca}"
crl = "{client_crl}"

[outside]
command = ["/usr/bin/ssh", "-F", "{outside}", "outside"]

[roster]
file = "{at}/roster.toml"

[admin]
http = "{address}:{ADMIN_PORT}"
unix = "{at}/admin.sock"

[access_log]
file = "{at}/access.log"

# As many as fit under the limit of 1024 open files that a login shell has.
[bounds]
connections = 256
"#,
            entrance = entrance.settings(),
            outside = Outside::at(&self.root).directions().display(),
            address = DOOR.address,
            bundle = mom.ca_file().display(),
            crl = mom.crl_file().display(),
            mom = MOM.name,
            client_certificate = client.certificate.display(),
            client_key = client.key.display(),
            client_ca = door_ca.certificate().display(),
            client_crl = door_ca.crl().display(),
        )
    }
}

fn metric(page: &str, name: &str, labels: &str) -> Result<f64> {
    let is = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
    };
    let value = |line: &str| {
        let value = line.rsplit(' ').next().unwrap_or_default();
        value.parse::<f64>().with_context(|| format!("{line:?} ends with no number"))
    };
    let values = page.lines().filter(is).map(value).collect::<Result<Vec<f64>>>()?;
    ensure!(!values.is_empty(), "no metric {name} with {labels:?}");
    Ok(values.iter().sum())
}

fn admin(path: &str) -> String {
    format!("http://{}:{ADMIN_PORT}{path}", DOOR.address)
}

/// The door's binary: built as it is shipped, unless STAGEDOOR_BIN names one.
pub(crate) fn program() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    built(&BUILT, "stagedoor", "STAGEDOOR_BIN")
}
