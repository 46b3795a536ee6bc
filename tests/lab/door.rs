//! The door itself, as an operator runs it: a settings file, `stagedoor run`, and `stagedoor roster admit` for each
//! compile master. The binary is the one this workspace builds, or the one STAGEDOOR_BIN names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::door_ca::DoorCa;
use crate::machine::{DOOR, Host, MASTERS, MOM, PORT, copy, make_folder, read, write};
use crate::master::HEADER_LIMIT;
use crate::mom::Mom;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};

pub(crate) const ADMIN_PORT: u16 = 9140;

#[derive(Debug)]
pub(crate) struct Door {
    root: PathBuf,
}

impl Door {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Starts the door and admits both masters, as an operator does.
    pub(crate) fn start(&self, mom: &Mom) -> Result<()> {
        let program = program()?;
        let folder = self.folder();
        make_folder(&folder)?;
        let own = mom.issued(DOOR.name);
        copy(&own.certificate, &folder.join("door.pem"))?;
        copy(&own.key, &folder.join("door.key"))?;
        fs::set_permissions(folder.join("door.key"), fs::Permissions::from_mode(0o600))?;
        write(&self.settings(), &self.settings_text(mom))?;
        succeed(Command::new(&program).args(["check", "--config"]).arg(self.settings()))
            .context("the door refuses its settings")?;
        let mut door = Command::new(&program);
        door.args(["run", "--config"]).arg(self.settings()).current_dir(&folder);
        self.process().start(&mut door, None)?;
        let limit = Duration::from_secs(20);
        until("the door lives", limit, || self.answers("/live"))?;
        for master in &MASTERS {
            let header_limit = HEADER_LIMIT.to_string();
            let mut admit = Command::new(&program);
            admit.args(["roster", "admit", master.name, "--header-limit", &header_limit, "--config"]);
            succeed(admit.arg(self.settings()))?;
        }
        until("the door is ready", limit, || self.answers("/ready"))?;
        Ok(())
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

    fn view_of(&self, master: &Host) -> Result<Value> {
        let answer = succeed(Command::new("curl").args(["--silent", "--fail", &admin("/v1/masters")]))?;
        let view: Value =
            serde_json::from_str(&answer).with_context(|| format!("the door answered {answer:.400}"))?;
        let masters =
            view.get("masters").and_then(Value::as_array).context("no masters in the door's answer")?;
        masters
            .iter()
            .find(|one| one.get("certname").and_then(Value::as_str) == Some(master.name))
            .cloned()
            .with_context(|| format!("the door does not know {}: {answer:.400}", master.name))
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
    fn settings_text(&self, mom: &Mom) -> String {
        let door_ca = DoorCa::at(&self.root);
        let client = door_ca.door();
        let at = self.folder();
        let at = at.display();
        format!(
            r#"[[listen]]
address = "{address}:{PORT}"
mode = "end-tls"

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

fn admin(path: &str) -> String {
    format!("http://{}:{ADMIN_PORT}{path}", DOOR.address)
}

/// The door's binary: built as it is shipped, unless STAGEDOOR_BIN names one.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("STAGEDOOR_BIN") {
        return Ok(PathBuf::from(given));
    }
    let messages = succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--package", "stagedoor", "--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
    .context("the door does not build")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message.get("executable").and_then(|path| path.as_str()).map(PathBuf::from))
        .find(|path| path.ends_with("stagedoor"))
        .context("cargo built stagedoor and named no binary")
}
