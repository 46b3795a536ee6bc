//! `stagedoor-enroller check`: everything that an enrollment would stumble over, told before it.
//!
//! It reads the settings and every file they name, changes nothing and asks nobody: whether machines can be reached is
//! for an enrollment's own first step. What ends within a month is a warning, within a week an error.

#[cfg(test)]
mod tests;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::Access;
use rustls_pki_types::UnixTime;
use serde::Serialize;
use stagedoor_config::enroller::{By, Compared, DoorAdmin, Place, Runner, Settings};
use stagedoor_config::mistake::Mistake;
use stagedoor_config::proxy::KeyPair;
use stagedoor_config::read;
use stagedoor_config::trust::{Side, Source, Trust};

use super::{Bad, Failure, SETTINGS, say, settings, warn};
use crate::identity::{Identity, NotAnIdentity};
use crate::secret::{self, Token};
use crate::words::chain;

const DAY: u64 = 24 * 60 * 60;
/// Days before a certificate's end at which it is told, and at which it is an error.
const SOON: u64 = 30;
const NOW: u64 = 7;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What was found. Good when there are neither mistakes nor errors.
#[derive(Debug, Default, Serialize)]
struct Found {
    good: bool,
    /// In the text of the settings.
    mistakes: Vec<Mistake>,
    /// In the files that the settings name.
    errors: Vec<Finding>,
    /// What works and should not stay so.
    warnings: Vec<Finding>,
    /// What is good, in words.
    facts: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Finding {
    /// The key in the settings.
    key: String,
    /// What is wrong and what to do, with its causes.
    error: String,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let read = settings(&self.config);
        let unusable = read.is_err();
        let mut found = Found::default();
        let mut words = Vec::new();
        match read {
            Ok(settings) => {
                found.files(&settings, UnixTime::now());
                let told = |level: &str, finding: &Finding| match finding.key.as_str() {
                    "" => format!("{level}: {}", finding.error),
                    key => format!("{level}: `{key}`: {}", finding.error),
                };
                words.extend(found.errors.iter().map(|finding| told("error", finding)));
                words.extend(found.warnings.iter().map(|finding| told("warning", finding)));
            }
            Err(bad) => {
                words.push(bad.words());
                match bad {
                    Bad::File(error) => found.error("", chain(&error)),
                    Bad::Text { mistakes, .. } => found.mistakes = mistakes,
                }
            }
        }
        found.good = found.mistakes.is_empty() && found.errors.is_empty();
        if self.json {
            say(&serde_json::to_string_pretty(&found)?)?;
        } else {
            words.iter().for_each(|words| warn(words));
            if found.good {
                say(&format!("{}: good\n{}", self.config.display(), found.facts.join("\n")))?;
            }
        }
        match found.good {
            true => Ok(()),
            false if unusable => Err(Failure::Settings(None)),
            false => Err(Failure::Told),
        }
    }
}

impl Found {
    /// Every file that the settings name.
    fn files(&mut self, settings: &Settings, now: UnixTime) {
        let trust = self.trust(settings, now);
        if let Some(files) = &settings.identity {
            self.identity(files, trust.as_ref(), now);
        }
        if let Some(path) = &settings.token {
            self.token(path);
        }
        self.runs(settings);
        self.programs(settings);
        self.ssh(settings);
        for (place, door) in settings.doors.iter().enumerate() {
            if let DoorAdmin::Unix(path) = &door.admin
                && !path.exists()
            {
                let error =
                    format!("{}: no socket is there: is the door running on this machine?", path.display());
                self.warn(&format!("door[{place}].socket"), error);
            }
        }
        self.journal(&settings.journal);
    }

    fn trust(&mut self, settings: &Settings, now: UnixTime) -> Option<Trust> {
        let files = &settings.puppet_ca;
        let bundle = self.ok("puppet_ca.bundle", read::bytes(&files.bundle));
        let crl = self.ok("puppet_ca.crl", read::bytes(&files.crl));
        match Trust::from_pem(&bundle?, &crl?, now) {
            Ok(trust) => {
                let (authorities, revoked) = (trust.authorities().len(), trust.revoked_count());
                self.facts
                    .push(format!("Puppet CA: {authorities} authorities, {revoked} certificates taken back"));
                if trust.crl_next_update().is_some_and(|next| next < now) {
                    let error = "a list of revoked certificates is overdue: copy ca_crl.pem from the Master of Masters";
                    self.warn("puppet_ca.crl", error.to_owned());
                }
                Some(trust)
            }
            Err(error) => {
                let (key, path) = match error.source_file() {
                    Source::Bundle => ("puppet_ca.bundle", &files.bundle),
                    Source::Lists => ("puppet_ca.crl", &files.crl),
                };
                self.error(key, format!("{}: {}", path.display(), chain(&error)));
                None
            }
        }
    }

    fn identity(&mut self, files: &KeyPair, trust: Option<&Trust>, now: UnixTime) {
        const KEY: &str = "identity.certificate";
        self.kept("identity.key", &files.key);
        let identity = match Identity::read(files) {
            // Told just now.
            Err(NotAnIdentity::Exposed { .. }) => return,
            identity => self.ok(KEY, identity),
        };
        let Some(identity) = identity else { return };
        let (Some(trust), Some((leaf, intermediates))) = (trust, identity.chain().split_first()) else {
            return;
        };
        let path = files.certificate.display();
        match trust.judge(leaf, intermediates, now, Side::Agent) {
            Ok(judged) => {
                let name = judged.certname().map_or("a certificate without a name", |name| name.as_str());
                self.facts.push(format!("shown as: {name}"));
                let left = judged.not_after().as_secs().saturating_sub(now.as_secs()) / DAY;
                let error = format!("{path}: it ends in {left} days: renew it");
                match left {
                    0..NOW => self.error(KEY, error),
                    NOW..SOON => self.warn(KEY, error),
                    _ => {}
                }
            }
            Err(refused) => {
                let error =
                    format!("{path}: expected a certificate that others believe: {}", chain(&refused));
                self.error(KEY, error);
            }
        }
    }

    fn token(&mut self, path: &Path) {
        const KEY: &str = "token.file";
        if self.ok(KEY, Token::read(path)).is_some() && secret::is_shared(path) {
            self.warn(KEY, format!("{}: its group may read this token: chmod 600", path.display()));
        }
    }

    /// The order of the runs in words, and what starts them.
    fn runs(&mut self, settings: &Settings) {
        let name = |place: &Place| match place {
            Place::Master => "the new master".to_owned(),
            Place::Mom => settings.mom.certname.to_string(),
            Place::Puppetdb => {
                settings.puppetdb.as_ref().map(|at| at.certname.to_string()).unwrap_or_default()
            }
            Place::Console => settings.console.as_ref().map(|at| at.certname.to_string()).unwrap_or_default(),
            Place::Node(certname) => certname.to_string(),
        };
        let stage = |stage: &Vec<Place>| stage.iter().map(name).collect::<Vec<_>>().join(" and ");
        let order: Vec<String> = settings.runs.stages.iter().map(stage).collect();
        let by = match &settings.runs.runner {
            Runner::Orchestrator { address } => format!("by the orchestrator at {address}"),
            Runner::Mcollective => "by MCollective".to_owned(),
            Runner::Ssh => "by ssh".to_owned(),
            Runner::Command(command) => {
                let program = command.first().map(String::as_str).unwrap_or_default();
                self.program("runs.command", Path::new(program));
                format!("by {program}")
            }
            Runner::Observe => "by nobody: they are waited for".to_owned(),
        };
        self.facts.push(format!("runs: {}; started {by}", order.join(", then ")));
        if settings.puppetdb.is_none() {
            let error = "there is none, so no report of a run can be confirmed and no list of PuppetDB's is waited for: \
                         right only where this installation has no PuppetDB";
            self.warn("puppetdb", error.to_owned());
        }
    }

    /// Programs and facts that the steps use.
    fn programs(&mut self, settings: &Settings) {
        let install = match &settings.install.by {
            By::Command(command) => Some(command),
            By::Script | By::Settings => None,
        };
        let code = match &settings.code {
            Compared::Command(command) => Some(command),
            Compared::R10k | Compared::FileSync | Compared::Classes => None,
        };
        let all = [
            ("install.command", install),
            ("classify.command", settings.classify.as_ref()),
            ("seal.command", settings.seal.as_ref()),
            ("code.command", code),
        ];
        for (key, command) in all {
            if let Some(program) = command.and_then(|command| command.first()) {
                self.program(key, Path::new(program));
            }
        }
        if let Some(path) = &settings.canary.facts
            && let Some(text) = self.ok("canary.facts", read::text(path))
            && !serde_json::from_str(&text).is_ok_and(|facts: serde_json::Value| facts.is_object())
        {
            self.error("canary.facts", format!("{}: expected one JSON object of facts", path.display()));
        }
        if settings.ssh.is_none() {
            let error = "there is none: no machine is looked at, keys are to be given with --key-fingerprint, and a run \
                         that nobody can tell from others must be the second";
            self.warn("ssh", error.to_owned());
        }
    }

    fn ssh(&mut self, settings: &Settings) {
        let Some(ssh) = &settings.ssh else { return };
        self.program("ssh.program", &ssh.program);
        if let Some(text) = self.ok("ssh.known_hosts", read::text(&ssh.known_hosts)) {
            let path = ssh.known_hosts.display();
            match text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .count()
            {
                0 => {
                    let error = format!(
                        "{path}: expected a host key on each line, and there is none: no host is believed"
                    );
                    self.error("ssh.known_hosts", error);
                }
                count => self.facts.push(format!("ssh: {count} host keys in {path}")),
            }
        }
        if let Some(key) = &ssh.key {
            self.kept("ssh.key", key);
        }
    }

    fn journal(&mut self, folder: &Path) {
        const KEY: &str = "journal.folder";
        let path = folder.display();
        match std::fs::metadata(folder) {
            Err(error) => {
                self.error(
                    KEY,
                    format!("{path}: expected a folder: create it for the enroller's own user: {error}"),
                );
            }
            Ok(there) if !there.is_dir() => {
                self.error(KEY, format!("{path}: expected a folder, and it is none"))
            }
            Ok(there) => {
                if there.permissions().mode() & 0o002 != 0 {
                    let error = format!(
                        "{path}: everyone may write there, so nothing in it can be believed: chmod 750"
                    );
                    self.error(KEY, error);
                }
                if let Err(error) = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
                    let error = format!("{path}: expected a folder that this user may write to: {error}");
                    self.error(KEY, error);
                }
            }
        }
    }

    /// A private key's file: told when others may read it, an error when everyone may.
    fn kept(&mut self, key: &str, path: &Path) {
        match read::exposed(path) {
            Ok(Some(exposed)) if exposed.mode & 0o004 != 0 => self.error(key, exposed.to_string()),
            Ok(Some(exposed)) => self.warn(key, exposed.to_string()),
            Ok(None) => {}
            Err(error) => self.error(key, chain(&error)),
        }
    }

    fn program(&mut self, key: &str, path: &Path) {
        let good = std::fs::metadata(path)
            .is_ok_and(|there| there.is_file() && there.permissions().mode() & 0o111 != 0);
        if !good {
            self.error(key, format!("{}: expected a program that can be started", path.display()));
        }
    }

    fn ok<T, E: std::error::Error>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(key, chain(&error))).ok()
    }

    fn error(&mut self, key: &str, error: String) {
        self.errors.push(Finding { key: key.to_owned(), error });
    }

    fn warn(&mut self, key: &str, error: String) {
        self.warnings.push(Finding { key: key.to_owned(), error });
    }
}
