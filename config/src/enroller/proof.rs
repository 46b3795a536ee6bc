//! What has to be shown before a master is admitted, and what is looked at afterwards.
#![deny(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::time::Duration;

use super::Preset;
use super::runner::command;
use crate::bound::{Bound, Measures, table};
use crate::document::{Document, Section};
use crate::environment::Environment;

/// The most environments that are compared: each is a catalog at two masters.
const MOST_ENVIRONMENTS: usize = 32;
/// The most resources that are left out of a comparison: whoever names more compares nothing.
const MOST_IGNORED: usize = 100;
/// The most catalogs that are compiled to warm a master.
const MOST_COMPILES: u64 = 100;
const AN_ENVIRONMENT: &str = "an environment's name, such as \"production\"";
/// As many as an ordinary master has JRubies.
const COMPILES: u16 = 4;

/// How the code of a new master is compared with the Master of Masters'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// By the signatures that r10k leaves in each environment.
    R10k,
    /// By the commits that file sync has.
    FileSync,
    /// By what a program here says of a host, with its arguments, [`super::HOST`] among them.
    Command(Vec<String>),
    /// By the signatures of classes. Weak: a manifest whose body changed has the same.
    Classes,
}

/// The node whose catalog is compiled for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// In these environments, at least one; they are the ones whose code is compared, too.
    pub environments: Vec<Environment>,
    /// Its facts, a file with one JSON object; none for a few that every node has.
    pub facts: Option<PathBuf>,
    /// How many catalogs are compiled to warm the master's JRubies.
    pub compiles: u16,
    /// Resources that may differ: `Type[title]`, or `Type` for all of a type.
    pub ignore: Vec<String>,
}

table! {
    /// When a new master is believed to serve well.
    Watch
    /// A new master is looked at for so long, with the traffic it gets.
    lasts: Duration, Time, 5 * 60 * 1_000, 1_000, 60 * 60 * 1_000;
    /// Or until it has compiled so many catalogs for agents.
    catalogs: usize, Count, 50, 1, 10_000;
}

impl Measures for Watch {
    const NAME: &'static str = "watch";
    const ROWS: &'static [Bound<Self>] = Self::TABLE;
    const AT_MOST: &'static [(&'static str, &'static str, &'static str)] = &[];
}

/// `[code]`.
pub(super) fn code(
    root: &mut Section<'_>,
    preset: Option<Preset>,
    doc: &mut Document<'_>,
) -> Option<Compared> {
    let mut section = root.table("code", doc);
    let expected = "\"r10k\", \"file-sync\", \"command\" or \"classes\"";
    let word = match section.take("compare", doc) {
        Some(entry) => entry.text(doc, expected, |text| {
            ["r10k", "file-sync", "command", "classes"].into_iter().find(|word| *word == text)
        }),
        None => Some(if preset.is_some_and(Preset::has_tokens) { "file-sync" } else { "r10k" }),
    };
    let written = section.take("command", doc);
    if let Some(entry) = written.as_ref().filter(|_| word.is_some_and(|word| word != "command")) {
        entry.wrong(doc, "nothing: this key belongs to compare = \"command\"");
    }
    let compared = match (word, written) {
        (Some("command"), Some(entry)) => command(&entry, doc).map(Compared::Command),
        (Some("command"), None) => {
            section.missing("command", doc, super::runner::COMMAND);
            None
        }
        (Some("r10k"), _) => Some(Compared::R10k),
        (Some("file-sync"), _) => Some(Compared::FileSync),
        (Some(_), _) => Some(Compared::Classes),
        (None, _) => None,
    };
    section.finish(doc);
    compared
}

/// `[canary]`.
pub(super) fn canary(root: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Canary> {
    let mut section = root.table("canary", doc);
    let environments = match section.take("environments", doc) {
        None => Environment::parse("production").ok().map(|environment| vec![environment]),
        Some(entry) => {
            let read = |text: &str| Environment::parse(text).ok();
            let all = entry.texts(doc, AN_ENVIRONMENT, MOST_ENVIRONMENTS, read);
            if all.as_ref().is_some_and(Vec::is_empty) {
                entry.wrong(doc, "at least one environment");
            }
            all
        }
    };
    let facts = section.take("facts", doc).map(|entry| entry.path(doc));
    let compiles = match section.take("compiles", doc) {
        None => Some(COMPILES),
        Some(entry) => {
            let count = entry.as_count().filter(|count| (1..=MOST_COMPILES).contains(count));
            if count.is_none() {
                entry.wrong(doc, format!("a number from 1 to {MOST_COMPILES}"));
            }
            count.and_then(|count| u16::try_from(count).ok())
        }
    };
    let ignore = match section.take("ignore", doc) {
        None => Some(Vec::new()),
        Some(entry) => {
            let read = |text: &str| is_resource(text).then(|| text.to_owned());
            entry.texts(doc, "a resource as Type[title], or a type alone", MOST_IGNORED, read)
        }
    };
    section.finish(doc);
    let facts = match facts {
        Some(written) => Some(written?),
        None => None,
    };
    Some(Canary { environments: environments?, facts, compiles: compiles?, ignore: ignore? })
}

/// `File[/etc/motd]`, `Stage::Motd[a]`, `File`.
fn is_resource(text: &str) -> bool {
    let (kind, title) = text.split_once('[').unwrap_or((text, "x]"));
    let word = |word: &str| {
        word.starts_with(|letter: char| letter.is_ascii_uppercase())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    kind.split("::").all(word) && title.len() > 1 && title.ends_with(']')
}

/// `command` of a table that has nothing else.
pub(super) fn program(
    root: &mut Section<'_>,
    table: &'static str,
    doc: &mut Document<'_>,
) -> Option<Vec<String>> {
    let mut section = root.table(table, doc);
    let written = section.take("command", doc).and_then(|entry| command(&entry, doc));
    section.finish(doc);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::tests::rows_are_in_range;

    #[test]
    fn every_default_lies_in_its_range() {
        rows_are_in_range(Watch::TABLE);
    }

    #[test]
    fn a_resource_is_named_as_puppet_names_it() {
        for good in ["File", "File[/etc/motd]", "Stage::Motd[a b]", "Concat_file[x[1]]"] {
            assert!(is_resource(good), "{good}");
        }
        for bad in ["", "file[/x]", "File[", "File[]", "File[x", "A b", "A::[x]"] {
            assert!(!is_resource(bad), "{bad}");
        }
    }
}
