//! The roster's file: text ⇄ [`Roster`].
//!
//! A file that was cut short must never pass for a smaller roster, since the door would stop sending agents to the
//! masters that are missing. So it says how many masters it holds, every master has every key, and the last line
//! ends: no beginning of a roster's text is a roster.
#![deny(clippy::disallowed_methods)]

use std::num::NonZero;
use std::path::Path;

use toml::Value;

use super::{MOST_MASTERS, Roster, VERSION};
use crate::certname::Certname;
use crate::document::{Document, Entry, Section};
use crate::master::{
    Check, HEADER_LIMITS, Isolation, Kind, MOST_JRUBIES, Master, Standing, is_host_and_port,
};
use crate::mistake::Mistake;

/// Above, JSON numbers are no longer exact, and the generation travels in JSON.
const LAST_GENERATION: u64 = (1 << 53) - 1;

const HEADER: &str = "\
# The compile masters that this door admits. The door is the only writer of this file and does not look at it again
# while it runs: use `stagedoor roster admit`, `warm`, `drain`, `undrain` and `retire`.
";

impl Roster {
    /// Reads a roster; `file` is only named in mistakes.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of its lines.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        let mut doc = Document::new(file, text);
        if text.trim().is_empty() {
            let expected = "a roster, and the file is empty: restore it from a backup or from another door, or delete \
                            it to begin with no masters";
            doc.wrong(String::new(), None, expected);
            return doc.finish(None);
        }
        let Some(tables) = doc.parse() else { return doc.finish(None) };
        let roster = roster(Section::root(&tables), text, &mut doc);
        doc.finish(roster)
    }

    /// The file's text: what [`Roster::parse`] reads back to an equal roster.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { generation, masters } = self;
        let count = masters.len();
        let mut out = format!("{HEADER}version = {VERSION}\ngeneration = {generation}\ncount = {count}\n");
        for Master { certname, address, kind, standing, header_limit, jrubies } in masters {
            let certname = Value::from(certname.as_str());
            let address = Value::from(address.as_str());
            let (word, more) = match kind {
                Kind::Sealed { isolation } => ("sealed", format!("isolation = \"{}\"", isolation.name())),
                Kind::Open { check } => ("open", format!("check = \"{}\"", check.name())),
            };
            let (standing, jrubies) = (standing.name(), jrubies.map_or(0, NonZero::get));
            out.push_str(&format!(
                "\n[[master]]\ncertname = {certname}\naddress = {address}\nkind = \"{word}\"\n{more}\n\
                 standing = \"{standing}\"\nheader_limit = {header_limit}\njrubies = {jrubies}\n"
            ));
        }
        out
    }
}

fn roster(mut root: Section<'_>, text: &str, doc: &mut Document<'_>) -> Option<Roster> {
    if !version(&mut root, doc) {
        // What a newer program wrote is not judged by this one's rules.
        return None;
    }
    let number = "a whole number";
    let generation = root.need("generation", doc, number).and_then(|entry| {
        let generation = entry.as_count().filter(|generation| *generation <= LAST_GENERATION);
        if generation.is_none() {
            entry.wrong(doc, number);
        }
        generation
    });
    let count = root.need("count", doc, "how many masters the roster holds");
    let sections = root.tables("master", doc);
    let found = sections.len();
    if let Some(count) = count
        && count.as_count() != u64::try_from(found).ok()
    {
        let expected = format!(
            "{found}, the number of [[master]] here: the file was cut short or changed by hand; restore it from a \
             backup or from another door"
        );
        count.wrong(doc, expected);
    } else if !text.ends_with('\n') {
        doc.wrong(String::new(), None, "a last line that ends: the file was cut short");
    }
    if found > MOST_MASTERS {
        doc.contradiction(&["master"], format!("at most {MOST_MASTERS} masters"));
    }
    let mut masters: Vec<Master> = Vec::new();
    for mut section in sections.into_iter().take(MOST_MASTERS) {
        if let Some(master) = master(&mut section, &masters, doc) {
            masters.push(master);
        }
        section.finish(doc);
    }
    root.finish(doc);
    Some(Roster { generation: generation?, masters })
}

fn version(root: &mut Section<'_>, doc: &mut Document<'_>) -> bool {
    let expected = format!("{VERSION}, the version of the roster's format that this program reads");
    let Some(entry) = root.need("version", doc, &expected) else { return true };
    match entry.as_count() {
        Some(VERSION) => true,
        Some(newer) if newer > VERSION => {
            entry.wrong(doc, format!("{expected}: a newer stagedoor wrote this file; run that one"));
            false
        }
        _ => {
            entry.wrong(doc, expected);
            false
        }
    }
}

fn master(section: &mut Section<'_>, before: &[Master], doc: &mut Document<'_>) -> Option<Master> {
    let expected = "the master's certname, a lower-case host name";
    let certname = section.need("certname", doc, expected).and_then(|entry| {
        let certname = entry.text(doc, expected, |text| Certname::parse_host(text).ok())?;
        if before.iter().any(|other| other.certname == certname) {
            entry.wrong(doc, "a certname that no other [[master]] has");
        }
        Some(certname)
    });
    let expected = "a host and a port, such as \"compile1.example.com:8140\"";
    let address = section
        .need("address", doc, expected)
        .and_then(|entry| entry.text(doc, expected, |text| is_host_and_port(text).then(|| text.to_owned())));
    let kind = kind(section, doc);
    let expected = "\"admitted\", \"warm\" or \"draining\"";
    let standing = section.need("standing", doc, expected).and_then(|entry| {
        entry.text(doc, expected, |text| Standing::ALL.into_iter().find(|standing| standing.name() == text))
    });
    let expected = format!("bytes from {} to {}", HEADER_LIMITS.start(), HEADER_LIMITS.end());
    let header_limit = section.need("header_limit", doc, &expected).and_then(|entry| {
        let limit = entry.as_count().and_then(|count| usize::try_from(count).ok());
        let limit = limit.filter(|limit| HEADER_LIMITS.contains(limit));
        if limit.is_none() {
            entry.wrong(doc, expected.as_str());
        }
        limit
    });
    let expected =
        format!("how many catalogs it compiles at once, at most {MOST_JRUBIES}, or 0 where nobody knows");
    let jrubies = section.need("jrubies", doc, &expected).and_then(|entry| {
        let jrubies = entry.as_count().and_then(|count| u16::try_from(count).ok());
        let jrubies = jrubies.filter(|jrubies| *jrubies <= MOST_JRUBIES);
        if jrubies.is_none() {
            entry.wrong(doc, expected.as_str());
        }
        jrubies
    });
    let master = Master {
        certname: certname?,
        address: address?,
        kind: kind?,
        standing: standing?,
        header_limit: header_limit?,
        jrubies: NonZero::new(jrubies?),
    };
    let other = |there: &&Master| {
        there.address.eq_ignore_ascii_case(&master.address)
            && there.kind.is_sealed() != master.kind.is_sealed()
    };
    if let Some(there) = before.iter().find(other) {
        let expected = format!(
            "another address: {} stands there and is {}; a master is sealed or open, never both",
            there.certname,
            there.kind.name()
        );
        doc.contradiction(&[&section.key("address")], expected);
    }
    Some(master)
}

/// The kind with the one key that goes with it. The other kind's key makes it both, which no master is.
fn kind(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Kind> {
    let expected = "\"sealed\" or \"open\"";
    let word = section.need("kind", doc, expected).and_then(|entry| {
        entry.text(doc, expected, |text| ["sealed", "open"].contains(&text).then_some(text))
    });
    let (isolation, check) = (section.take("isolation", doc), section.take("check", doc));
    let never_both = |entry: Option<Entry<'_>>, doc: &mut Document<'_>, whose: &str| {
        if let Some(entry) = entry {
            entry.wrong(doc, format!("nothing: this key belongs to {whose} master, and no master is both"));
        }
    };
    match word? {
        "sealed" => {
            never_both(check, doc, "an open");
            let expected = "\"door-ca\" or \"firewall\"";
            let isolation = isolation.or_else(|| {
                section.missing("isolation", doc, expected);
                None
            })?;
            let read = |text: &str| Isolation::ALL.into_iter().find(|isolation| isolation.name() == text);
            Some(Kind::Sealed { isolation: isolation.text(doc, expected, read)? })
        }
        _ => {
            never_both(isolation, doc, "a sealed");
            let expected = "\"status\" or \"tcp\"";
            let check = check.or_else(|| {
                section.missing("check", doc, expected);
                None
            })?;
            let read = |text: &str| Check::ALL.into_iter().find(|check| check.name() == text);
            Some(Kind::Open { check: check.text(doc, expected, read)? })
        }
    }
}
