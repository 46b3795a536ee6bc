//! `stagedoor check`: everything that a start would stumble over, told before it.
//!
//! It reads the settings and every file they name, changes nothing and asks nobody. What only the daemon's own
//! surroundings can tell, such as its file limit under systemd, is a warning here and an error at its start. What ends
//! within a month is a warning, within a week an error: a check that runs daily is in time.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls_pki_types::UnixTime;
use serde::Serialize;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::Standing;
use stagedoor_config::mistake::{Mistake, report};
use stagedoor_config::proxy::{AdminTls, KeyPair, Settings};
use stagedoor_config::read::{self, NotRead};
use stagedoor_config::roster::Roster;
use stagedoor_config::trust::{Refused, Side, Source, Trust};

use super::settings::{self, Bad, chain};
use super::{Failure, SETTINGS, say, signed, warn};
use crate::renewal::fit;
use crate::run::load::{self, NotLoaded};
use crate::tls::{Agents, Pair};

mod behind;
mod ends;
mod outside;
mod papers;

use papers::Ending;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    /// Also judge every certificate in the CA's folder of signed ones, and list those that would be refused.
    #[arg(long, value_name = "DIR")]
    signed: Option<PathBuf>,
}

/// What was found. Good when there are neither mistakes nor errors.
#[derive(Debug, Default, Serialize)]
struct Found {
    good: bool,
    /// In the text of the settings or of the roster.
    mistakes: Vec<Mistake>,
    /// In the files that the settings name.
    errors: Vec<Finding>,
    /// What works and should not stay so.
    warnings: Vec<Finding>,
    /// Certificates that the CA signed and the door would refuse; only where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<signed::Signed>,
    /// What is good, in words.
    facts: Vec<String>,
    /// What the mistakes are in, to show them in it.
    #[serde(skip)]
    roster_text: String,
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
        let settings = settings::read(&self.config);
        let unusable = settings.is_err();
        let now = UnixTime::now();
        let (found, words) = match settings {
            Ok(settings) => {
                let mut found = Found::default();
                let trust = found.files(&settings, now);
                if let Some(folder) = &self.signed {
                    found.signed(folder, trust.as_ref(), now);
                }
                found.finish()
            }
            Err(bad) => Found::of_settings(bad),
        };
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
    /// What is wrong with the settings, and that alone: nothing else is known without them.
    fn of_settings(bad: Bad) -> (Self, Vec<String>) {
        let words = vec![bad.words()];
        let mut found = Self::default();
        match bad {
            Bad::File(error) => found.error("", &error),
            Bad::Text { mistakes, .. } => found.mistakes = mistakes,
        }
        (found, words)
    }

    /// Every file that the settings name; the trust, if there is one, for further checks.
    fn files(&mut self, settings: &Settings, now: UnixTime) -> Option<Trust> {
        let trust = self.trust(settings, now);
        self.shown_to_agents(settings, trust.as_ref(), now);
        if let Some(papers) = &settings.masters {
            self.papers(papers, trust.as_ref(), now);
        }
        self.renewal(settings, trust.as_ref(), now);
        self.roster(settings);
        if let Some(AdminTls { address, allow }) = &settings.admin.tls {
            let allow = allow.iter().map(Certname::as_str).collect::<Vec<_>>().join(", ");
            self.facts.push(format!("admin.tls: changes are taken at {address} from {allow}"));
        }
        self.file_limit(settings);
        trust
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
                self.puppet_ca_ends(&files.bundle, &trust, now);
                if trust.crl_next_update().is_some_and(|next| next < now) {
                    let error = "a list of revoked certificates is overdue: copy ca_crl.pem from the Master of Masters";
                    self.warn("puppet_ca.crl", error);
                }
                Some(trust)
            }
            Err(error) => {
                let (key, path) = match error.source_file() {
                    Source::Bundle => ("puppet_ca.bundle", &files.bundle),
                    Source::Lists => ("puppet_ca.crl", &files.crl),
                };
                self.errors.push(Finding::new(key, format!("{}: {}", path.display(), chain(&error))));
                None
            }
        }
    }

    fn shown_to_agents(&mut self, settings: &Settings, trust: Option<&Trust>, now: UnixTime) {
        let mut pairs = Vec::new();
        for (place, files) in settings.certificates.iter().enumerate() {
            let key = format!("certificate[{place}]");
            let Some(pair) = self.pair(&key, files, now) else { continue };
            if let (Some(trust), Some((leaf, intermediates))) = (trust, pair.chain().split_first())
                && let Err(refused) = trust.judge(leaf, intermediates, now, Side::Master)
            {
                let path = files.certificate.display();
                let why = format!("{path}: expected a certificate of the Puppet CA that agents believe");
                self.errors.push(Finding::new(&key, format!("{why}: {}", chain(&refused))));
            }
            self.facts.push(format!("to agents: {}", files.certificate.display()));
            pairs.push(pair);
        }
        // A pair that is missing was told above; whether the others go together is known without it.
        let (false, Some(trust)) = (pairs.is_empty(), trust) else { return };
        match Agents::new(&pairs, Arc::new(trust.clone())).map(|agents| agents.like_an_agents(now).err()) {
            Err(error) => self.error("certificate", &error),
            Ok(Some(Refused::NotForClients)) => {
                let why = "expected a certificate for clients as well as for servers, as the Puppet CA makes them: \
                           whether sealed masters let agents in is tested with it, and untested they get no request";
                self.errors.push(Finding::new("certificate", why.to_owned()));
            }
            // Whatever else is wrong with it was told above.
            Ok(_) => {}
        }
    }

    /// What is shown to the CA when agents' certificates are renewed.
    fn renewal(&mut self, settings: &Settings, trust: Option<&Trust>, now: UnixTime) {
        const KEY: &str = "renewal.certificate";
        let Some(files) = &settings.renewal else {
            let off = "renewal: off: agents that ask for it are answered 404 and go on with the certificates they have";
            return self.facts.push(off.to_owned());
        };
        let Some(pair) = self.pair("renewal", files, now) else { return };
        if let Err(unfit) = fit(&pair) {
            return self.error(KEY, &unfit);
        }
        let (Some(trust), Some((leaf, intermediates))) = (trust, pair.chain().split_first()) else { return };
        let path = files.certificate.display();
        match trust.judge(leaf, intermediates, now, Side::Agent) {
            Ok(judged) => {
                let name = judged.certname().map_or("its name", |certname| certname.as_str());
                let listed = format!(
                    "{path}: {name} must stand in the CA's infra_inventory.txt, or it renews nothing; that file cannot \
                     be seen from here"
                );
                self.warn(KEY, listed);
                self.facts.push(format!("renewal: agents' certificates, asked of the CA as {name}"));
            }
            Err(refused) => {
                let why = format!("{path}: expected a certificate of the Puppet CA for clients");
                self.errors.push(Finding::new(KEY, format!("{why}: {}", chain(&refused))));
            }
        }
    }

    fn pair(&mut self, key: &str, files: &KeyPair, now: UnixTime) -> Option<Pair> {
        // Whoever cannot even look at the file cannot read it, and that is told next.
        if let Ok(Some(exposed)) = read::exposed(&files.key) {
            self.warn(&format!("{key}.key"), exposed.to_string());
        }
        let certificate = self.ok(&format!("{key}.certificate"), read::bytes(&files.certificate));
        let private = self.ok(&format!("{key}.key"), read::bytes(&files.key));
        let pair = self.ok(key, Pair::from_pem(files, &certificate?, &private?))?;
        let ending = Ending { what: "a certificate", at: pair.not_after, remedy: "renew it", counts: true };
        self.ends(key, &files.certificate, &ending, now);
        Some(pair)
    }

    fn roster(&mut self, settings: &Settings) {
        let text = match read::text(&settings.roster) {
            Ok(text) => text,
            Err(NotRead::Missing { path }) => {
                let error = format!(
                    "{}: there is no roster yet, so agents are told to come back later: admit a master with \
                     `stagedoor roster admit CERTNAME` once the door runs",
                    path.display()
                );
                self.warn("roster.file", error);
                self.outside(settings, &Roster::default());
                return self.behind(settings, &Roster::default());
            }
            Err(error) => return self.error("roster.file", &error),
        };
        match Roster::parse(&settings.roster, &text) {
            Ok(roster) => {
                let count = roster.masters.len();
                if let Some(certname) = load::sealed_without_certificate(&roster, settings) {
                    self.error("masters", &NotLoaded::NoDoorCertificate { certname: certname.clone() });
                }
                if let Err(both) = load::sealed_apart(&roster, settings) {
                    self.error(&format!("listen[{}].backends", both.listen), &both);
                }
                self.facts.push(format!("roster: generation {}, {count} masters", roster.generation));
                if count == 0 {
                    self.warn("roster.file", "the roster is empty, so agents are told to come back later");
                } else if roster.masters.iter().all(|master| master.standing == Standing::Warm) {
                    let why = "every master on the roster is warm and takes no requests, so agents are told to come back \
                               later: admit one with `stagedoor roster admit CERTNAME`";
                    self.warn("roster.file", why);
                }
                self.behind(settings, &roster);
                self.outside(settings, &roster);
            }
            Err(mistakes) => {
                self.roster_text = text;
                self.mistakes = mistakes;
            }
        }
    }

    /// This shell's limit need not be the daemon's.
    fn file_limit(&mut self, settings: &Settings) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        if let Err(contradiction) = settings.bounds.fits_file_limit(limit.unwrap_or(u64::MAX)) {
            self.warn("bounds.connections", format!("expected {}", contradiction.expected));
        }
    }

    fn signed(&mut self, folder: &Path, trust: Option<&Trust>, now: UnixTime) {
        let Some(trust) = trust else {
            // What is wrong with the CA's files was told above.
            return self.warn("", "--signed: no certificate was judged, for want of the Puppet CA");
        };
        match signed::judge(folder, trust, now) {
            Ok(signed) => self.signed = Some(signed),
            Err(error) => self.errors.push(Finding::new(
                "",
                format!(
                    "--signed {}: expected a folder of certificates that this user may list: {error}",
                    folder.display()
                ),
            )),
        }
    }

    /// The verdict, and what to say of it to a person.
    fn finish(mut self) -> (Self, Vec<String>) {
        // A CA's folder keeps what has expired and what was revoked: told, and no reason to call the door unfit.
        let (refused, lapsed, large) = match &self.signed {
            Some(signed) => (&signed.refused[..], &signed.lapsed[..], &signed.large[..]),
            None => Default::default(),
        };
        self.good = self.mistakes.is_empty() && self.errors.is_empty() && refused.is_empty();
        let mut words = Vec::new();
        if !self.mistakes.is_empty() {
            words.push(report(&self.mistakes, &self.roster_text, std::io::stderr().is_terminal()));
        }
        words.extend(self.errors.iter().map(|finding| finding.words("error")));
        words.extend(self.warnings.iter().map(|finding| finding.words("warning")));
        words.extend(refused.iter().map(|refused| format!("refused: {}: {}", refused.file, refused.why)));
        words.extend(lapsed.iter().map(|lapsed| format!("lapsed: {}: {}", lapsed.file, lapsed.why)));
        words.extend(large.iter().map(|large| format!("warning: {}", large.words())));
        if let Some(signed) = &self.signed {
            let (judged, refused, lapsed) = (signed.judged, signed.refused.len(), signed.lapsed.len());
            let count = format!(
                "signed: {judged} certificates judged, {refused} would be refused, {lapsed} have expired or are revoked"
            );
            // Facts are said where all is good, and this is worth saying where it is not.
            if refused == 0 { self.facts.push(count) } else { words.push(count) }
        }
        (self, words)
    }

    fn ok<T, E: std::error::Error + 'static>(&mut self, key: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.error(key, &error)).ok()
    }

    fn error(&mut self, key: &str, error: &(dyn std::error::Error + 'static)) {
        self.errors.push(Finding::new(key, chain(error)));
    }

    fn warn(&mut self, key: &str, error: impl Into<String>) {
        self.warnings.push(Finding::new(key, error.into()));
    }
}

impl Finding {
    fn new(key: &str, error: String) -> Self {
        Self { key: key.to_owned(), error }
    }

    fn words(&self, level: &str) -> String {
        match self.key.as_str() {
            "" => format!("{level}: {}", self.error),
            key => format!("{level}: `{key}`: {}", self.error),
        }
    }
}
