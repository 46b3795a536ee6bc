//! The roster's file: text ⇄ [`Roster`].
//!
//! A file that was cut short must never pass for a smaller roster, since the door would stop sending agents to the
//! masters that are missing. So it says how many masters it holds, every master has every key, and the last line
//! ends: no beginning of a roster's text is a roster.
#![deny(clippy::disallowed_methods)]

use std::path::Path;

use toml::Value;

use super::{MOST_MASTERS, Roster, VERSION};
use crate::certname::Certname;
use crate::document::{Document, Section};
use crate::master::{HEADER_LIMITS, Kind, Master, Standing, is_host_and_port};
use crate::mistake::Mistake;

/// Above, JSON numbers are no longer exact, and the generation travels in JSON.
const LAST_GENERATION: u64 = (1 << 53) - 1;

const HEADER: &str = "\
# The compile masters that this door admits. The door is the only writer of this file and does not look at it again
# while it runs: use `stagedoor roster admit`, `drain`, `undrain` and `retire`.
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
        for Master { certname, address, kind, standing, header_limit } in masters {
            let certname = Value::from(certname.as_str());
            let address = Value::from(address.as_str());
            let (kind, standing) = (kind.name(), standing.name());
            out.push_str(&format!(
                "\n[[master]]\ncertname = {certname}\naddress = {address}\nkind = \"{kind}\"\n\
                 standing = \"{standing}\"\nheader_limit = {header_limit}\n"
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
    let expected = "\"sealed\"";
    let kind = section.need("kind", doc, expected).and_then(|entry| {
        entry.text(doc, expected, |text| Kind::ALL.into_iter().find(|kind| kind.name() == text))
    });
    let expected = "\"admitted\" or \"draining\"";
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
    Some(Master {
        certname: certname?,
        address: address?,
        kind: kind?,
        standing: standing?,
        header_limit: header_limit?,
    })
}
