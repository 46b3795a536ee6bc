//! A TOML document as a person wrote it: every value with its place, every mistake gathered before giving up.
//!
//! Deserializing through serde would stop at the first mistake, and an operator would meet them one restart at a
//! time. Here a reader *takes* the keys it knows from a [`Section`]; what is left over is unknown and told as well.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::master::is_host_and_port;
use crate::mistake::Mistake;
use crate::nearest::nearest;

/// More are not told: a file this wrong is not a settings file, and its lines may be millions.
const MOST_MISTAKES: usize = 100;
/// The kernel's room for a unix socket's path, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;
const A_PATH: &str = "an absolute path to a file";
/// The most characters of a value that a mistake repeats.
const MOST_SHOWN: usize = 80;

/// One file's text and the mistakes found in it so far.
pub(crate) struct Document<'t> {
    file: &'t Path,
    text: &'t str,
    mistakes: Vec<Mistake>,
    /// Where each key that was taken has its value.
    places: BTreeMap<String, Range<usize>>,
}

impl<'t> Document<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, mistakes: Vec::new(), places: BTreeMap::new() }
    }

    /// The document's tables; none, with the mistakes noted, where the text is no TOML.
    pub(crate) fn parse(&mut self) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.wrong(String::new(), error.span(), format!("TOML: {}", error.message()));
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// Notes a mistake; `place` is where the offending bytes are, none where nothing stands.
    pub(crate) fn wrong(&mut self, key: String, place: Option<Range<usize>>, expected: impl Into<String>) {
        let value = place.clone().and_then(|place| self.text.get(place)).map(shown).unwrap_or_default();
        self.note(key, value, place, expected.into());
    }

    /// Notes a mistake whose value is not what stands at its place.
    fn note(&mut self, key: String, value: String, span: Option<Range<usize>>, expected: String) {
        if self.mistakes.len() >= MOST_MISTAKES {
            return;
        }
        let file = self.file.to_owned();
        let line = span.as_ref().map(|span| self.line(span.start));
        self.mistakes.push(Mistake { file, line, key, value, expected, span });
    }

    /// Notes that values which are right by themselves contradict each other. The mistake stands at the first of
    /// `keys` that was written; the others hold their defaults.
    pub(crate) fn contradiction(&mut self, keys: &[&str], expected: impl Into<String>) {
        let written = keys.iter().find_map(|key| Some((*key, self.places.get(*key)?.clone())));
        match written {
            Some((key, place)) => self.wrong(key.to_owned(), Some(place), expected),
            None => self.wrong(keys.first().map(|k| (*k).to_owned()).unwrap_or_default(), None, expected),
        }
    }

    /// Whether a mistake was noted for this key.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    /// Whether a mistake was noted for this key or for something in it.
    pub(crate) fn is_wrong_below(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| {
            mistake.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether this key was written, and taken.
    pub(crate) fn was_taken(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// What was read, if nothing was wrong with it; else every mistake in the order of its lines.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Vec<Mistake>> {
        match read {
            Some(read) if self.mistakes.is_empty() => Ok(read),
            _ => {
                self.mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
                Err(self.mistakes)
            }
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
    }
}

/// A value as written, fit for one line of a terminal.
fn shown(written: &str) -> String {
    let mut out = String::new();
    for (count, letter) in written.chars().enumerate() {
        if count == MOST_SHOWN {
            out.push('…');
            break;
        }
        if letter.is_control() {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// One table: keys are taken from it one by one.
pub(crate) struct Section<'d> {
    /// `listen[0]`; empty for the document itself.
    name: String,
    /// Where the table begins; none for the document itself and for a table that is not written.
    place: Option<Range<usize>>,
    entries: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The document itself.
    pub(crate) fn root(entries: &'d DeTable<'d>) -> Self {
        Self { name: String::new(), place: None, entries: Some(entries), known: Vec::new() }
    }

    /// A key's name with this table's before it.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of a key that may be left out.
    pub(crate) fn take(&mut self, key: &'static str, doc: &mut Document<'_>) -> Option<Entry<'d>> {
        self.known.push(key);
        let value = self.entries?.get(key)?;
        let entry = Entry { key: self.key(key), value };
        doc.places.insert(entry.key.clone(), value.span());
        Some(entry)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(
        &mut self,
        key: &'static str,
        doc: &mut Document<'_>,
        expected: &str,
    ) -> Option<Entry<'d>> {
        let entry = self.take(key, doc);
        if entry.is_none() {
            self.missing(key, doc, expected);
        }
        entry
    }

    /// The absolute path that a key must hold.
    pub(crate) fn need_path(&mut self, key: &'static str, doc: &mut Document<'_>) -> Option<PathBuf> {
        self.need(key, doc, A_PATH)?.path(doc)
    }

    /// Notes that a key is missing, at the table's header: the nearest line to where it belongs.
    pub(crate) fn missing(&self, key: &str, doc: &mut Document<'_>, expected: &str) {
        doc.note(self.key(key), String::new(), self.place.clone(), format!("{expected}; the key is missing"));
    }

    /// Yes or no; `usual` where nothing is written, or nothing of the kind.
    pub(crate) fn flag(&mut self, key: &'static str, usual: bool, doc: &mut Document<'_>) -> bool {
        let Some(entry) = self.take(key, doc) else { return usual };
        let yes = entry.as_bool();
        if yes.is_none() {
            entry.wrong(doc, "true or false");
        }
        yes.unwrap_or(usual)
    }

    /// A table inside this one; where it is not written, an empty one whose keys all have their defaults.
    pub(crate) fn table(&mut self, key: &'static str, doc: &mut Document<'_>) -> Self {
        let name = self.key(key);
        let entry = self.take(key, doc);
        let entries = entry.as_ref().and_then(|entry| match entry.value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                entry.wrong(doc, format!("a table, written [{name}]"));
                None
            }
        });
        Self { name, place: entry.map(|entry| entry.value.span()), entries, known: Vec::new() }
    }

    /// A table inside this one, where it is written at all.
    pub(crate) fn written(&mut self, key: &'static str, doc: &mut Document<'_>) -> Option<Self> {
        let section = self.table(key, doc);
        section.entries.is_some().then_some(section)
    }

    /// Tables written `[[key]]`, in their order; none where there are none.
    pub(crate) fn tables(&mut self, key: &'static str, doc: &mut Document<'_>) -> Vec<Self> {
        let name = self.key(key);
        let Some(entry) = self.take(key, doc) else { return Vec::new() };
        let DeValue::Array(array) = entry.value.get_ref() else {
            entry.wrong(doc, format!("tables, each written [[{name}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (place, value) in array.iter().enumerate() {
            let entry = Entry { key: format!("{name}[{place}]"), value };
            match value.get_ref() {
                DeValue::Table(table) => sections.push(Self {
                    name: entry.key,
                    place: Some(value.span()),
                    entries: Some(table),
                    known: Vec::new(),
                }),
                _ => entry.wrong(doc, format!("a table, written [[{name}]]")),
            }
        }
        sections
    }

    /// Every key was taken that is known: what is left is a mistake.
    pub(crate) fn finish(self, doc: &mut Document<'_>) {
        for (key, value) in self.entries.into_iter().flatten() {
            let key_text = key.get_ref();
            if self.known.iter().any(|known| known == key_text) {
                continue;
            }
            let expected = match nearest(key_text, self.known.iter().copied()) {
                Some(near) => format!("a known key; the nearest is `{near}`"),
                None => format!("a known key: {}", self.known.join(", ")),
            };
            let value = match value.get_ref() {
                DeValue::Table(_) => String::new(),
                _ => doc.text.get(value.span()).map(shown).unwrap_or_default(),
            };
            // The carets belong under the key: its value may be as good as any.
            doc.note(self.key(&shown(key_text)), value, Some(key.span()), expected);
        }
    }
}

/// One key's value.
pub(crate) struct Entry<'d> {
    /// With its tables.
    pub(crate) key: String,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Entry<'d> {
    /// Notes that this value is not what was expected.
    pub(crate) fn wrong(&self, doc: &mut Document<'_>, expected: impl Into<String>) {
        doc.wrong(self.key.clone(), Some(self.value.span()), expected);
    }

    /// The value's text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    /// The value as a number that is not negative and fits; none otherwise.
    pub(crate) fn as_count(&self) -> Option<u64> {
        let number = self.value.get_ref().as_integer()?;
        u64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// The value as a number with a fraction, such as `0.5`, or without one; none otherwise.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self.value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        }
    }

    /// The value as yes or no, if it is that.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    /// The lists in a list of at most `most`; none, with the mistake noted, where it is something else.
    pub(crate) fn lists(&self, doc: &mut Document<'_>, expected: &str, most: usize) -> Option<Vec<Self>> {
        let list = match self.value.get_ref() {
            DeValue::Array(list) if list.len() <= most => list,
            DeValue::Array(list) => {
                self.wrong(doc, format!("at most {most} of them, not {}", list.len()));
                return None;
            }
            _ => {
                self.wrong(doc, expected);
                return None;
            }
        };
        let entry = |(place, value)| Entry { key: format!("{}[{place}]", self.key), value };
        Some(list.iter().enumerate().map(entry).collect())
    }

    /// What `read` makes of each text in a list of at most `most`; none, with each mistake noted, where something is
    /// wrong with it.
    pub(crate) fn texts<T>(
        &self,
        doc: &mut Document<'_>,
        expected: &str,
        most: usize,
        read: impl Fn(&'d str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = match self.value.get_ref() {
            DeValue::Array(list) if list.len() <= most => list,
            DeValue::Array(list) => {
                self.wrong(doc, format!("at most {most} of them, not {}", list.len()));
                return None;
            }
            _ => {
                self.wrong(doc, format!("a list: {expected}"));
                return None;
            }
        };
        let mut all = Vec::with_capacity(list.len());
        for (place, value) in list.iter().enumerate() {
            let entry = Entry { key: format!("{}[{place}]", self.key), value };
            all.extend(entry.text(doc, expected, &read));
        }
        (all.len() == list.len()).then_some(all)
    }

    /// What `read` makes of the value's text; notes the mistake where it is no text, or `read` makes nothing of it.
    pub(crate) fn text<T>(
        &self,
        doc: &mut Document<'_>,
        expected: &str,
        read: impl FnOnce(&'d str) -> Option<T>,
    ) -> Option<T> {
        let found = self.as_str().and_then(read);
        if found.is_none() {
            self.wrong(doc, expected);
        }
        found
    }

    /// The value as an absolute path: a program's working folder is nobody's business.
    pub(crate) fn path(&self, doc: &mut Document<'_>) -> Option<PathBuf> {
        self.path_to(doc, A_PATH)
    }

    /// The value as an absolute path to a folder.
    pub(crate) fn folder(&self, doc: &mut Document<'_>) -> Option<PathBuf> {
        self.path_to(doc, "an absolute path to a folder")
    }

    fn path_to(&self, doc: &mut Document<'_>, expected: &str) -> Option<PathBuf> {
        self.text(doc, expected, |text| {
            let path = PathBuf::from(text);
            (path.is_absolute() && path.file_name().is_some() && !text.contains('\0')).then_some(path)
        })
    }

    /// The value as a path that a unix socket may have.
    pub(crate) fn socket(&self, doc: &mut Document<'_>) -> Option<PathBuf> {
        let path = self.path(doc)?;
        let fits = path.as_os_str().len() <= LONGEST_SOCKET_PATH;
        if !fits {
            self.wrong(
                doc,
                format!("a path of at most {LONGEST_SOCKET_PATH} bytes: a socket's may not be longer"),
            );
        }
        fits.then_some(path)
    }

    /// The value as `host:port`.
    pub(crate) fn address(&self, doc: &mut Document<'_>) -> Option<String> {
        let expected = "a host and a port, such as \"master.example.com:8140\" or \"[2001:db8::1]:8140\"";
        self.text(doc, expected, |text| is_host_and_port(text).then(|| text.to_owned()))
    }
}
