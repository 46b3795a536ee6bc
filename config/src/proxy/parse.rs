//! TOML text → [`Settings`]: every key, type, value and contradiction told in one reading.
//!
//! It reads text alone. Whether the files it names exist and hold what they should is seen by `stagedoor check` and
//! at start.
#![deny(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use super::admin::admin;
use super::listen::listen;
use super::share::Share;
use super::{AccessLog, DoorPapers, KeyPair, LineFormat, Listen, Mom, PuppetCa, Settings};
use crate::bound::measured;
use crate::certname::Certname;
use crate::document::{Document, Section};
use crate::mistake::Mistake;

/// Puppet's port.
pub const PUPPET_PORT: u16 = 8140;
/// Where the roster is, unless said otherwise.
pub const ROSTER: &str = "/var/lib/stagedoor/roster.toml";
/// Where one line per request goes, unless said otherwise.
pub const ACCESS_LOG: &str = "/var/log/stagedoor/access.log";
/// The most threads that serve agents; machines have fewer cores.
const MOST_WORKERS: u64 = 1024;
/// The most arguments of a command.
const MOST_ARGUMENTS: usize = 32;
/// An ECDSA pair and an RSA pair.
const MOST_CERTIFICATES: usize = 2;

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

/// Every part is read before any is given up.
fn settings(mut root: Section<'_>, doc: &mut Document<'_>) -> Option<Settings> {
    let workers = workers(&mut root, doc);
    let listen = listen(&mut root, doc);
    let certificates = certificates(&mut root, &listen, doc);
    let puppet_ca = puppet_ca(&mut root, doc);
    let mom = mom(&mut root, doc);
    let masters = masters(&mut root, doc);
    let renewal = renewal(&mut root, doc);
    let outside = outside(&mut root, doc);
    let roster = roster(&mut root, doc);
    let admin = admin(&mut root, (&listen, &certificates), doc);
    let health = measured(&mut root, doc);
    let (share, affinity) = seats(&mut root, doc);
    let access_log = access_log(&mut root, doc);
    let bounds = measured(&mut root, doc);
    root.finish(doc);

    let pair_of_puppet =
        |file: &Path| certificates.iter().chain(&renewal).any(|shown| shown.certificate == file);
    if let Some(own) = &masters
        && pair_of_puppet(&own.pair.certificate)
    {
        let expected = "another certificate than one of the Puppet CA's: sealed masters accept only those of \
                        the private door CA, and agents and the Master of Masters only those of the Puppet CA";
        doc.contradiction(&["masters.certificate"], expected);
    }
    Some(Settings {
        listen,
        certificates,
        puppet_ca: puppet_ca?,
        mom: mom?,
        masters,
        renewal,
        outside,
        roster: roster?,
        admin,
        health,
        share,
        affinity,
        access_log,
        workers,
        bounds,
    })
}

fn seats(root: &mut Section<'_>, doc: &mut Document<'_>) -> (Share, bool) {
    let mut section = root.table("seats", doc);
    let share = section.take("share", doc).and_then(|entry| {
        let share = entry.as_number().and_then(Share::of);
        if share.is_none() {
            entry.wrong(doc, "a number more than 0 and at most 1, such as 0.5 where there are two doors");
        }
        share
    });
    let affinity = section.flag("affinity", true, doc);
    section.finish(doc);
    (share.unwrap_or_default(), affinity)
}

fn workers(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<usize> {
    let entry = root.take("workers", doc)?;
    match entry.as_count() {
        Some(count @ 1..=MOST_WORKERS) => usize::try_from(count).ok(),
        _ if entry.as_str() == Some("one per core") => None,
        _ => {
            entry.wrong(doc, format!("a number of threads from 1 to {MOST_WORKERS}, or \"one per core\""));
            None
        }
    }
}

fn certificates(root: &mut Section<'_>, listen: &[Listen], doc: &mut Document<'_>) -> Vec<KeyPair> {
    let mut all: Vec<KeyPair> = Vec::new();
    let sections = root.tables("certificate", doc);
    let needed = listen.is_empty() || listen.iter().any(Listen::ends_tls);
    if needed && sections.is_empty() && !doc.is_wrong("certificate") {
        root.missing("certificate", doc, "at least one [[certificate]] with `certificate` and `key`");
    }
    if sections.len() > MOST_CERTIFICATES {
        let expected = "at most two [[certificate]]: a P-256 pair and an RSA pair side by side";
        doc.contradiction(&["certificate"], expected);
    }
    for mut section in sections.into_iter().take(MOST_CERTIFICATES) {
        if let Some(pair) = key_pair(&mut section, doc) {
            if all.iter().any(|other| other.certificate == pair.certificate) {
                let key = section.key("certificate");
                doc.contradiction(&[&key], "a file that no other [[certificate]] names");
            }
            all.push(pair);
        }
        section.finish(doc);
    }
    all
}

fn key_pair(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<KeyPair> {
    let certificate = section.need_path("certificate", doc);
    let key = section.need_path("key", doc);
    Some(KeyPair { certificate: certificate?, key: key? })
}

fn puppet_ca(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<PuppetCa> {
    let mut section = root.table("puppet_ca", doc);
    let bundle = section.need_path("bundle", doc);
    let crl = section.need_path("crl", doc);
    if crl.as_deref().and_then(Path::file_name).is_some_and(|name| name == "infra_crl.pem") {
        let expected =
            "ca_crl.pem: infra_crl.pem lists no ordinary agent, so that revoked agents would be let in";
        doc.contradiction(&[&section.key("crl")], expected);
    }
    section.finish(doc);
    Some(PuppetCa { bundle: bundle?, crl: crl? })
}

fn mom(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Mom> {
    let mut section = root.table("mom", doc);
    let expected = "the certname of the Master of Masters, a lower-case host name";
    let certname = section
        .need("certname", doc, expected)
        .and_then(|entry| entry.text(doc, expected, |text| Certname::parse_host(text).ok()));
    let address = section.take("address", doc).map(|entry| entry.address(doc));
    section.finish(doc);
    let certname = certname?;
    let address = match address {
        Some(written) => written?,
        None => format!("{certname}:{PUPPET_PORT}"),
    };
    Some(Mom { certname, address })
}

fn masters(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<DoorPapers> {
    let mut section = root.written("masters", doc)?;
    let pair = key_pair(&mut section, doc);
    let (ca, crl) = (section.need_path("ca", doc), section.need_path("crl", doc));
    section.finish(doc);
    Some(DoorPapers { pair: pair?, ca: ca?, crl: crl? })
}

fn renewal(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<KeyPair> {
    let mut section = root.written("renewal", doc)?;
    let pair = key_pair(&mut section, doc);
    section.finish(doc);
    pair
}

fn outside(root: &mut Section<'_>, doc: &mut Document<'_>) -> Vec<String> {
    let expected = "a program by its absolute path and its arguments, such as [\"/usr/bin/ssh\", \"-o\", \
                    \"BatchMode=yes\", \"probe@outside.example.com\"]";
    let Some(mut section) = root.written("outside", doc) else { return Vec::new() };
    let command = section.need("command", doc, expected);
    section.finish(doc);
    let Some(entry) = command else { return Vec::new() };
    let read = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned());
    let Some(command) = entry.texts(doc, expected, MOST_ARGUMENTS, read) else { return Vec::new() };
    if !command.first().is_some_and(|program| Path::new(program).is_absolute()) {
        entry.wrong(doc, expected);
    }
    command
}

fn roster(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<PathBuf> {
    let mut section = root.table("roster", doc);
    let file = match section.take("file", doc) {
        Some(entry) => entry.path(doc),
        None => Some(ROSTER.into()),
    };
    section.finish(doc);
    file
}

fn access_log(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<AccessLog> {
    let mut section = root.table("access_log", doc);
    let file = match section.take("file", doc) {
        None => Some(ACCESS_LOG.into()),
        Some(entry) if entry.as_str() == Some("off") => None,
        Some(entry) => entry.path(doc),
    };
    let read = |text: &str| LineFormat::ALL.into_iter().find(|format| format.name() == text);
    let format = section.take("format", doc).map(|entry| entry.text(doc, "\"json\" or \"text\"", read));
    section.finish(doc);
    Some(AccessLog { file: file?, format: format.flatten().unwrap_or_default() })
}
