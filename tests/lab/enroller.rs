//! `stagedoor-enroller`, as an operator runs it: a settings file, a certificate of the Puppet CA with a rule of its own at
//! the CA, a place on PuppetDB's list, and a key to the machines.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::machine::{CONSOLE, DOOR, ENROLLER, Host, MOM, PUPPETDB, copy, make_folder, read, write};
use crate::master::{HEADER_LIMIT, JRUBIES};
use crate::node::programs;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{Ended, built, run};
use crate::{code, ssh};

/// Where the sidecar is asked.
pub(crate) const SERVE_PORT: u16 = 9142;

#[derive(Debug)]
pub(crate) struct Enroller<'l> {
    lab: &'l Lab,
}

/// One entry of a journal.
pub(crate) struct Entry(Value);

impl Entry {
    pub(crate) fn what(&self) -> &str {
        self.word("what")
    }

    pub(crate) fn step(&self) -> &str {
        self.word("step")
    }

    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.0.get("facts")?.get(name)?.as_str()
    }

    fn word(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

impl<'l> Enroller<'l> {
    /// With its files as an operator lays them out, and no journal.
    pub(crate) fn lay_out(lab: &'l Lab) -> Result<Self> {
        let this = Self { lab };
        let folder = this.folder();
        make_folder(&this.journals())?;
        // Canaries stay: the CA knows them.
        for file in crate::machine::files_in(&this.journals())? {
            if file.extension().is_some_and(|end| end == "jsonl") {
                fs::remove_file(&file).with_context(|| format!("{}: cannot remove it", file.display()))?;
            }
        }
        let own = lab.mom().issued(ENROLLER);
        copy(&own.certificate, &folder.join("enroller.pem"))?;
        copy(&own.key, &folder.join("enroller.key"))?;
        fs::set_permissions(folder.join("enroller.key"), fs::Permissions::from_mode(0o600))?;
        // A program that says which code a machine has, for a scenario in which one has another.
        let program = this.code_version();
        write(&program, &format!("#!/bin/sh\ncat {}/code.$1 2>/dev/null || echo v1\n", folder.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        this.compare_by("r10k")?;
        let ended = this.run(&["check"])?;
        ensure!(ended.code == 0, "the enroller refuses its settings:\n{}", ended.said());
        Ok(this)
    }

    /// Has it compare code so from now on: `r10k`, or `command`.
    pub(crate) fn compare_by(&self, how: &str) -> Result<()> {
        write(&self.settings(), &self.settings_text(how))
    }

    /// What `command` says of this machine's code from now on.
    pub(crate) fn say_code_of(&self, host: &Host, version: &str) -> Result<()> {
        write(&self.folder().join(format!("code.{}", host.name)), version)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Ended> {
        run(&mut self.command(words)?)
    }

    /// A run that must end well.
    pub(crate) fn succeed(&self, words: &[&str]) -> Result<Ended> {
        let ended = self.run(words)?;
        if ended.code != 0 {
            bail!("stagedoor-enroller {} ended with {}:\n{}", words.join(" "), ended.code, ended.said());
        }
        Ok(ended)
    }

    /// A run that must stop at this step; what it said of that.
    pub(crate) fn stops_at(&self, words: &[&str], step: &str) -> Result<String> {
        let ended = self.run(words)?;
        let said = ended.errors.trim().to_owned();
        ensure!(
            ended.code == 1 && said.contains(&format!(": {step}: ")),
            "stagedoor-enroller {} was to stop at {step}, and ended with {}:\n{}",
            words.join(" "),
            ended.code,
            ended.said()
        );
        Ok(said)
    }

    /// Starts it, and kills it without a word once its journal says this of that step.
    pub(crate) fn kill_at(&self, words: &[&str], host: &Host, what: &str, step: &str) -> Result<()> {
        let mut child = self.start(words)?;
        let there = until(&format!("{step} is {what}"), Duration::from_secs(600), || {
            if let Some(ended) = child.try_wait()? {
                bail!("it ended by itself ({ended}): {:.2000}", read(&self.output())?);
            }
            let journal = self.journal(host)?;
            Ok(when(journal.iter().any(|entry| entry.what() == what && entry.step() == step)))
        });
        child.kill().context("cannot kill it")?;
        child.wait()?;
        there.map(drop)
    }

    fn start(&self, words: &[&str]) -> Result<Child> {
        let output = File::create(self.output())?;
        let mut command = self.command(words)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().context("cannot start the enroller")
    }

    /// The latest journal of a master; empty where there is none.
    pub(crate) fn journal(&self, host: &Host) -> Result<Vec<Entry>> {
        let latest = crate::machine::files_in(&self.journals())?.into_iter().filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{}.0", host.name)) && name.ends_with(".jsonl")
        });
        let Some(file) = latest.max() else { return Ok(Vec::new()) };
        // A line that is being written is no JSON yet.
        Ok(read(&file)?.lines().filter_map(|line| serde_json::from_str(line).ok()).map(Entry).collect())
    }

    /// Begins a journal by hand: with these stages, and these steps done.
    pub(crate) fn begin_by_hand(&self, host: &Host, stages: &str, done: &[&str]) -> Result<()> {
        let mut text = format!(
            "{{\"n\":1,\"at\":\"2026-01-01T00:00:00Z\",\"what\":\"begun\",\"version\":1,\"procedure\":\"enroll\",\
             \"master\":\"{}\",\"stages\":{stages}}}\n",
            host.name
        );
        for (place, step) in done.iter().enumerate() {
            text.push_str(&format!(
                "{{\"n\":{},\"at\":\"2026-01-01T00:00:00Z\",\"what\":\"done\",\"step\":\"{step}\",\"facts\":{{}}}}\n",
                place + 2
            ));
        }
        let number = crate::machine::files_in(&self.journals())?.len() + 1;
        write(&self.journals().join(format!("{}.{number:04}.jsonl", host.name)), &text)
    }

    /// The sidecar, from now on until what is given back is ended.
    pub(crate) fn serve(&self) -> Result<Process> {
        let process = Process::named(&self.lab.root, "enroller-serve");
        process.start(&mut self.command(&["serve"])?, None)?;
        Ok(process)
    }

    /// What the sidecar may be asked with: certificate and key.
    pub(crate) fn papers(&self) -> (PathBuf, PathBuf) {
        (self.folder().join("enroller.pem"), self.folder().join("enroller.key"))
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let program = built(&BUILT, "stagedoor-enroller", "STAGEDOOR_ENROLLER_BIN")?;
        let mut command = Command::new(program);
        command.args(words).arg("--config").arg(self.settings()).current_dir(self.folder());
        Ok(command)
    }

    fn folder(&self) -> PathBuf {
        self.lab.root.join("enroller")
    }

    fn settings(&self) -> PathBuf {
        self.folder().join("enroller.toml")
    }

    fn journals(&self) -> PathBuf {
        self.folder().join("journal")
    }

    fn output(&self) -> PathBuf {
        self.folder().join("output")
    }

    fn code_version(&self) -> PathBuf {
        self.folder().join("code-version")
    }

    fn settings_text(&self, compare: &str) -> String {
        let (mom, ssh, folder) = (self.lab.mom(), self.lab.ssh(), self.folder());
        let command = match compare {
            "command" => format!("command = [\"{}\", \"{{host}}\"]\n", self.code_version().display()),
            _ => String::new(),
        };
        format!(
            r#"preset = "open-source"

[mom]
certname = "{mom_name}"

[puppetdb]
certname = "{puppetdb}"

[puppet_ca]
bundle = "{bundle}"
crl = "{crl}"

[identity]
certificate = "{at}/enroller.pem"
key = "{at}/enroller.key"

[[door]]
certname = "{door}"
socket = "{root}/door/admin.sock"

[master]
header_limit = {HEADER_LIMIT}
jrubies = {JRUBIES}

[install]
by = "script"
environmentpath = "{environments}"

[certificate]
dns_alt_names = ["puppet", "{door}"]

[runs]
stages = [["{{master}}"], ["{{puppetdb}}"], ["{console}"]]
puppet = "{programs}/puppet"

[code]
compare = "{compare}"
{command}
[canary]
compiles = {JRUBIES}

[watch]
lasts = "15s"
catalogs = 6

[ssh]
known_hosts = "{known_hosts}"
key = "{key}"
options = ["Port={port}"]

[serve]
unix = "off"
[serve.tls]
address = "{serve}:{SERVE_PORT}"
allow = ["{ENROLLER}"]

[journal]
folder = "{at}/journal"
"#,
            serve = DOOR.address,
            mom_name = MOM.name,
            puppetdb = PUPPETDB.name,
            console = CONSOLE.name,
            door = DOOR.name,
            bundle = mom.ca_file().display(),
            crl = mom.crl_file().display(),
            at = folder.display(),
            root = self.lab.root.display(),
            environments = environments(&self.lab.root).display(),
            programs = programs(&self.lab.root).display(),
            known_hosts = ssh.known_hosts().display(),
            key = ssh.key().display(),
            port = ssh::PORT,
        )
    }
}

fn environments(root: &Path) -> PathBuf {
    code::folder(root).join("environments")
}
