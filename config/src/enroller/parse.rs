//! TOML text → [`Settings`]: every key, type, value and contradiction told in one reading.
//!
//! It reads text alone. Whether the files it names exist and hold what they should is seen by
//! `stagedoor-enroller check`.
#![deny(clippy::disallowed_methods)]

use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::stages::{self, Machines};
use super::{
    Deadlines, Door, DoorAdmin, Extension, NewMaster, Preset, Request, Runner, Runs, Server, Settings, Watch,
    groups, install, proof, runner, serve,
};
use crate::bound::measured;
use crate::certname::Certname;
use crate::document::{Document, Section};
use crate::master::{Check, HEADER_LIMITS, Isolation, JETTY_HEADER_LIMIT, Kind, MOST_JRUBIES};
use crate::mistake::Mistake;
use crate::proxy::{KeyPair, PUPPET_PORT, PuppetCa};

/// Where the journals are, unless said otherwise.
pub const JOURNAL: &str = "/var/lib/stagedoor/journal";

/// PuppetDB's port for TLS.
const PUPPETDB_PORT: u16 = 8081;
/// The classifier's port on the console.
const CONSOLE_PORT: u16 = 4433;
/// The most doors: each is asked at every admission.
const MOST_DOORS: usize = 64;
/// The most alternative names of a certificate.
const MOST_NAMES: usize = 100;
/// The most extensions of a certificate: Puppet has no more names for them.
const MOST_EXTENSIONS: usize = 29;

impl Settings {
    /// Reads settings; `file` is only named in mistakes.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of its lines.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        let mut doc = Document::new(file, text);
        let Some(tables) = doc.parse() else { return doc.finish(None) };
        let settings = settings(Section::root(&tables), &mut doc);
        doc.finish(settings)
    }
}

/// Every part is read before any is given up. What depends on a preset that could not be read is read without it.
fn settings(mut root: Section<'_>, doc: &mut Document<'_>) -> Option<Settings> {
    let preset = preset(&mut root, doc);
    let mom = server(&mut root, "mom", PUPPET_PORT, doc);
    let puppetdb = beside_the_mom(&mut root, "puppetdb", PUPPETDB_PORT, preset, mom.as_ref(), doc);
    let console = beside_the_mom(&mut root, "console", CONSOLE_PORT, preset, mom.as_ref(), doc);
    let puppet_ca = puppet_ca(&mut root, doc);
    let doors = doors(&mut root, doc);
    let identity = identity(&mut root, preset, &doors, doc);
    let token = token(&mut root, preset, doc);
    let master = master(&mut root, preset, doc);
    let install = install::install(&mut root, preset, doc);
    let certificate = certificate(&mut root, preset, doc);
    let (classify, groups) = groups::classify(&mut root, preset, doc);
    let machines = Machines { mom: mom.as_ref(), puppetdb: puppetdb.as_ref(), console: console.as_ref() };
    let runs = runs(&mut root, preset, machines, doc);
    let seal = proof::program(&mut root, "seal", doc);
    let (code, canary) = (proof::code(&mut root, preset, doc), proof::canary(&mut root, doc));
    let watch = measured(&mut root, doc);
    let ssh = runner::ssh(&mut root, doc);
    let serve = serve::serve(&mut root, identity.as_ref(), doc);
    let journal = journal(&mut root, doc);
    let deadlines = measured(&mut root, doc);
    root.finish(doc);

    let needs_ssh =
        runs.as_ref().is_some_and(|runs| matches!(runs.runner, Runner::Ssh | Runner::Mcollective));
    if needs_ssh && ssh.is_none() && !doc.was_taken("ssh") {
        let expected = "[ssh] with `known_hosts`: the runner reaches its machines by it";
        doc.contradiction(&["runs.runner"], expected);
    } else if preset.is_some_and(Preset::is_java_7) && ssh.is_none() && !doc.was_taken("ssh") {
        let expected = "[ssh] with `known_hosts`: servers on Java 7 are asked on their own machines";
        doc.contradiction(&["preset"], expected);
    }
    groups::delegated(groups.as_ref(), ssh.as_ref(), &deadlines, doc);
    consistent(runs.as_ref(), puppetdb.is_some() || doc.was_taken("puppetdb"), &watch, &deadlines, doc);
    Some(Settings {
        preset: preset?,
        mom: mom?,
        puppetdb,
        console,
        puppet_ca: puppet_ca?,
        identity,
        token,
        doors,
        master: master?,
        install: install?,
        certificate,
        classify,
        groups,
        runs: runs?,
        seal,
        code: code?,
        canary: canary?,
        watch,
        ssh,
        serve: serve?,
        journal: journal?,
        deadlines,
    })
}

/// What goes with something in another table.
fn consistent(
    runs: Option<&Runs>,
    has_puppetdb: bool,
    watch: &Watch,
    deadlines: &Deadlines,
    doc: &mut Document<'_>,
) {
    if runs.is_some_and(|runs| runs.runner == Runner::Observe) && !has_puppetdb {
        let expected = "[puppetdb]: of runs that nobody starts, its reports are all that is known";
        doc.contradiction(&["runs.runner"], expected);
    }
    if watch.lasts >= deadlines.watch {
        let expected = "a time shorter than `watch` under [deadlines], which ends it";
        doc.contradiction(&["watch.lasts", "deadlines.watch"], expected);
    }
}

fn preset(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Preset> {
    let words = Preset::ALL.map(|preset| format!("\"{}\"", preset.name())).join(", ");
    let expected = format!("the kind of installation: {words}");
    let entry = root.need("preset", doc, &expected)?;
    entry.text(doc, &expected, |text| Preset::ALL.into_iter().find(|preset| preset.name() == text))
}

fn server(root: &mut Section<'_>, table: &'static str, port: u16, doc: &mut Document<'_>) -> Option<Server> {
    let mut section = root.table(table, doc);
    let server = server_in(&mut section, port, doc);
    section.finish(doc);
    server
}

fn server_in(section: &mut Section<'_>, port: u16, doc: &mut Document<'_>) -> Option<Server> {
    let certname = certname(section, doc);
    let address = section.take("address", doc).map(|entry| entry.address(doc));
    let certname = certname?;
    let address = match address {
        Some(written) => written?,
        None => format!("{certname}:{port}"),
    };
    Some(Server { certname, address })
}

fn certname(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Certname> {
    let expected = "its certname, a lower-case host name";
    let entry = section.need("certname", doc, expected)?;
    entry.text(doc, expected, |text| Certname::parse_host(text).ok())
}

/// `[puppetdb]` and `[console]`. From 2019 on they are on the primary unless said otherwise; before, a split
/// installation is the documented one, and a place that is guessed wrong would turn the order of runs round.
fn beside_the_mom(
    root: &mut Section<'_>,
    table: &'static str,
    port: u16,
    preset: Option<Preset>,
    mom: Option<&Server>,
    doc: &mut Document<'_>,
) -> Option<Server> {
    let written = root.written(table, doc);
    let is_console = table == "console";
    match (written, preset) {
        (Some(_), Some(preset)) if is_console && !preset.has_console() => {
            doc.contradiction(&["console"], "no [console]: an open-source installation has none");
            None
        }
        (Some(mut section), _) => {
            let server = server_in(&mut section, port, doc);
            section.finish(doc);
            server
        }
        (None, Some(Preset::Pe2019)) => {
            let certname = mom?.certname.clone();
            Some(Server { address: format!("{certname}:{port}"), certname })
        }
        (None, Some(Preset::Pe3 | Preset::Pe2015)) if !doc.is_wrong(table) => {
            let expected = format!("[{table}] with its `certname`, also where that is the Master of Masters");
            root.missing(table, doc, &expected);
            None
        }
        (None, _) => None,
    }
}

fn puppet_ca(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<PuppetCa> {
    let mut section = root.table("puppet_ca", doc);
    let (bundle, crl) = (section.need_path("bundle", doc), section.need_path("crl", doc));
    section.finish(doc);
    Some(PuppetCa { bundle: bundle?, crl: crl? })
}

fn doors(root: &mut Section<'_>, doc: &mut Document<'_>) -> Vec<Door> {
    let sections = root.tables("door", doc);
    if sections.is_empty() && !doc.is_wrong("door") {
        root.missing("door", doc, "at least one [[door]] with `certname` and `socket` or `address`");
    }
    if sections.len() > MOST_DOORS {
        doc.contradiction(&["door"], format!("at most {MOST_DOORS} [[door]]"));
    }
    let (mut all, mut named) = (Vec::new(), Vec::new());
    for mut section in sections.into_iter().take(MOST_DOORS) {
        let certname = certname(&mut section, doc);
        let socket = section.take("socket", doc);
        let address = section.take("address", doc);
        let admin = match (socket, address) {
            (Some(socket), None) => socket.socket(doc).map(DoorAdmin::Unix),
            (None, Some(address)) => address.address(doc).map(DoorAdmin::Tls),
            (Some(_), Some(address)) => {
                address.wrong(doc, "either `socket` or `address`: a door is asked one way");
                None
            }
            (None, None) => {
                let expected = "the path of its admin.unix, on this machine; or `address`, its admin.tls";
                section.missing("socket", doc, expected);
                None
            }
        };
        let agents = match section.take("agents", doc) {
            Some(entry) => entry.address(doc),
            None => certname.as_ref().map(|certname| format!("{certname}:{PUPPET_PORT}")),
        };
        if certname.as_ref().is_some_and(|certname| named.contains(certname)) {
            doc.contradiction(&[&section.key("certname")], "a door that no other [[door]] names");
        }
        named.extend(certname.clone());
        section.finish(doc);
        let door = certname.zip(admin).zip(agents);
        all.extend(door.map(|((certname, admin), agents)| Door { certname, admin, agents }));
    }
    all
}

fn identity(
    root: &mut Section<'_>,
    preset: Option<Preset>,
    doors: &[Door],
    doc: &mut Document<'_>,
) -> Option<KeyPair> {
    let Some(mut section) = root.written("identity", doc) else {
        let remote = doors.iter().any(|door| matches!(door.admin, DoorAdmin::Tls(_)));
        // Servers on Java 7 are asked by programs on their own machines, which have certificates there.
        let needed = remote || preset.is_some_and(|preset| !preset.is_java_7());
        if needed && !doc.is_wrong("identity") {
            let expected = "[identity] with `certificate` and `key`: what is shown to PuppetDB, the CA and doors \
                            elsewhere";
            root.missing("identity", doc, expected);
        }
        return None;
    };
    let (certificate, key) = (section.need_path("certificate", doc), section.need_path("key", doc));
    section.finish(doc);
    Some(KeyPair { certificate: certificate?, key: key? })
}

fn token(root: &mut Section<'_>, preset: Option<Preset>, doc: &mut Document<'_>) -> Option<PathBuf> {
    let mut section = root.written("token", doc)?;
    if preset.is_some_and(|preset| !preset.has_tokens()) {
        doc.contradiction(&["token"], "no [token]: RBAC tokens came with Puppet Enterprise 2015.3");
    }
    let file = section.need_path("file", doc);
    section.finish(doc);
    file
}

/// `[master]`: every key is read, so that one which does not go with the kind is told as such.
fn master(root: &mut Section<'_>, preset: Option<Preset>, doc: &mut Document<'_>) -> Option<NewMaster> {
    let mut section = root.table("master", doc);
    let usual = preset.map_or(Kind::SEALED, Preset::kind);
    let word = match section.take("kind", doc) {
        Some(entry) => entry.text(doc, "\"sealed\" or \"open\"", |text| {
            ["sealed", "open"].into_iter().find(|word| *word == text)
        }),
        None => Some(usual.name()),
    };
    let isolation = section.take("isolation", doc);
    let check = section.take("check", doc);
    let expected = format!("bytes from {} to {}", HEADER_LIMITS.start(), HEADER_LIMITS.end());
    let header_limit = match section.take("header_limit", doc) {
        None => Some(JETTY_HEADER_LIMIT),
        Some(entry) => {
            let limit = entry.as_count().and_then(|count| usize::try_from(count).ok());
            let limit = limit.filter(|limit| HEADER_LIMITS.contains(limit));
            if limit.is_none() {
                entry.wrong(doc, expected);
            }
            limit
        }
    };
    let jrubies = section.take("jrubies", doc).map(|entry| {
        let count = entry.as_count().and_then(|count| NonZero::new(u16::try_from(count).ok()?));
        let count = count.filter(|count| count.get() <= MOST_JRUBIES);
        if count.is_none() {
            entry.wrong(doc, format!("a number from 1 to {MOST_JRUBIES}"));
        }
        count
    });
    let java_7 = preset.is_some_and(Preset::is_java_7);
    let kind = match word {
        Some("sealed") => {
            if let Some(check) = check {
                check.wrong(doc, "nothing: this key belongs to an open master, and no master is both");
            }
            if java_7 {
                let expected =
                    "kind = \"open\": these masters run Java 7, and the door shares no cipher suite with it";
                doc.contradiction(&["master.kind"], expected);
            }
            let read = |text: &str| Isolation::ALL.into_iter().find(|isolation| isolation.name() == text);
            let written = isolation.map(|entry| entry.text(doc, "\"door-ca\" or \"firewall\"", read));
            written.unwrap_or(Some(Isolation::DoorCa)).map(|isolation| Kind::Sealed { isolation })
        }
        Some(_) => {
            if let Some(isolation) = isolation {
                isolation.wrong(doc, "nothing: this key belongs to a sealed master, and no master is both");
            }
            let read = |text: &str| Check::ALL.into_iter().find(|check| check.name() == text);
            let written = check.map(|entry| entry.text(doc, "\"status\" or \"tcp\"", read));
            let check = written.unwrap_or(Some(if java_7 { Check::Tcp } else { Check::Status }));
            if java_7 && check == Some(Check::Status) {
                let expected = "\"tcp\": these masters have no status that the door could ask for";
                doc.contradiction(&["master.check"], expected);
            }
            check.map(|check| Kind::Open { check })
        }
        None => None,
    };
    section.finish(doc);
    Some(NewMaster { kind: kind?, header_limit: header_limit?, jrubies: jrubies.flatten() })
}

fn certificate(root: &mut Section<'_>, preset: Option<Preset>, doc: &mut Document<'_>) -> Request {
    let mut section = root.table("certificate", doc);
    let expected = "a host name, such as \"puppet.example.com\"";
    let dns_alt_names = match section.take("dns_alt_names", doc) {
        None => vec!["puppet".to_owned()],
        Some(entry) => {
            let names = entry.texts(doc, expected, MOST_NAMES, |text| {
                let name = text.to_ascii_lowercase();
                Certname::parse_host(&name).is_ok().then_some(name)
            });
            let names = names.unwrap_or_default();
            if (1..names.len()).any(|at| names.iter().take(at).any(|name| Some(name) == names.get(at))) {
                entry.wrong(doc, "each name once");
            }
            names
        }
    };
    let extensions = match section.take("extensions", doc) {
        None => {
            preset.map(Preset::extensions).unwrap_or_default().iter().copied().map(Extension::parse).collect()
        }
        Some(entry) => {
            let read =
                entry.texts(doc, Extension::EXPECTED, MOST_EXTENSIONS, |text| Some(Extension::parse(text)));
            read.unwrap_or_default()
        }
    };
    let mut all: Vec<Extension> = Vec::new();
    for extension in extensions {
        match extension {
            Err(expected) => doc.contradiction(&["certificate.extensions"], expected),
            Ok(extension) if all.iter().any(|other| other.oid == extension.oid) => {
                doc.contradiction(&["certificate.extensions"], "each extension once");
            }
            Ok(extension) => all.push(extension),
        }
    }
    section.finish(doc);
    Request { dns_alt_names, extensions: all }
}

fn runs(
    root: &mut Section<'_>,
    preset: Option<Preset>,
    machines: Machines<'_>,
    doc: &mut Document<'_>,
) -> Option<Runs> {
    let mut section = root.table("runs", doc);
    let runner = runner::runner(&mut section, preset, machines.mom, doc);
    let written = stages::written(&mut section, doc);
    let puppet = match section.take("puppet", doc) {
        Some(entry) => entry.path(doc),
        None => preset.map(|preset| preset.puppet().into()),
    };
    section.finish(doc);
    let stages = match written {
        Some(stages) => stages,
        None => preset?.stages(machines.puppetdb.is_some()),
    };
    // What a machine that could not be read would be called is not known, so the order is not judged.
    let unread = ["mom", "puppetdb", "console"].iter().any(|table| doc.is_wrong_below(table));
    if !unread
        && !doc.is_wrong_below("runs.stages")
        && let Some(expected) = stages::wrong(&stages, machines)
    {
        doc.contradiction(&["runs.stages"], expected);
    }
    Some(Runs { stages, runner: runner?, puppet: puppet? })
}

fn journal(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<PathBuf> {
    let mut section = root.table("journal", doc);
    let folder = match section.take("folder", doc) {
        Some(entry) => entry.folder(doc),
        None => Some(JOURNAL.into()),
    };
    section.finish(doc);
    folder
}
