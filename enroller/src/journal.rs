//! The journal of an enrollment: what was meant to be done, before it is done, and what came of it, after.
//!
//! One file per enrollment, one line of JSON per entry, for people and programs to read. A line has reached the disk
//! before anything is done that it speaks of, so that whoever was killed at any moment is followed by one who knows all
//! that may have been done. A last line that was cut off says nothing; it is told, and cut away by whoever resumes. A
//! line that is not understood is refused, file and line named: what it said might be the one thing that must be known.
//!
//! [`Journal`] is the right to go on. It holds the master's lock, so that there is one per master, and can be had from
//! [`Folder::begin`] and [`Folder::resume`] alone, the latter with the resumption recorded. The lock is the kernel's
//! (`flock`): it ends with its process, however that ends. Secrets are kept out by name: [`Journal::keep_out`].
//!
//! | file | holds |
//! |---|---|
//! | `line` | a journal's text, both ways (pure) |
//! | `lock` | one process per master |
//! | `rows` | how each master's latest enrollment stands, for people and programs |
//! | `refused` | why there is no journal to write to |

mod line;
mod lock;
mod refused;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Unit};
pub use line::{LARGEST, NotAJournal, Read, VERSION, WrongLine};
use lock::{Lock, Of};
pub use refused::JournalError;
use refused::failed;
pub use rows::{Row, rows, standings};
use stagedoor_config::certname::Certname;
use stagedoor_config::read;

use crate::pipeline::{Entry, Facts, Plan, Progress, Stop};

/// Who may read a journal: its owner and its group.
const MODE: u32 = 0o640;
/// A file's name ends at 255 bytes: `.NAME.0001.jsonl.new` is the longest one made of a certname.
const LONGEST_NAME: usize = 230;
/// The beginning of a secret that is shorter than this is not looked for at a cut: it would be any word.
const TELLING: usize = 8;

/// The folder of all journals.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// The journal of the enrollment that this process carries on.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    lines: u64,
    length: u64,
    progress: Progress,
    secrets: Vec<String>,
    broken: bool,
    _lock: Lock,
}

/// The right to change the lists of some hosts.
#[derive(Debug)]
pub struct Turn {
    _locks: Vec<Lock>,
}

/// An enrollment that was taken up again.
#[derive(Debug)]
pub struct Resumed {
    /// Its journal.
    pub journal: Journal,
    /// Bytes of a last line that was cut off by a crash, and are cut away now; usually none.
    pub cut: u64,
}

/// The latest enrollment of a master, as others see it.
#[derive(Debug)]
pub struct Found {
    /// Whose.
    pub master: Certname,
    /// Its file.
    pub path: PathBuf,
    /// Whether a process is at work on that master now.
    pub busy: bool,
    /// What its journal says.
    pub read: Result<Read, JournalError>,
}

impl Folder {
    /// The folder at this path, which must be there when it is used.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Begins an enrollment.
    ///
    /// # Errors
    /// Another process is at work on the master, an earlier one is not over or cannot be understood, or the system
    /// refuses.
    pub fn begin(&self, plan: Plan) -> Result<Journal, JournalError> {
        let master = plan.master().clone();
        let lock = self.lock(&master)?;
        let latest = self.latest_of(&master)?;
        if let Some((_, path)) = &latest
            && let Some(step) = read(path)?.progress.step_left().cloned()
        {
            return Err(JournalError::Unfinished { master, path: path.clone(), step });
        }
        let number = latest.map_or(0, |(number, _)| number).saturating_add(1);
        let path = self.path.join(format!("{master}.{number:04}.jsonl"));
        let first = line::begin(&plan, &now());
        // The file is there with its first line or not at all.
        read::replace(&path, first.as_bytes(), MODE)?;
        Journal::open(path, Progress::new(plan), 1, length_of(&first), lock)
    }

    /// Takes an enrollment up again, and records that.
    ///
    /// # Errors
    /// Another process is at work on the master, there is none or it is over or cannot be understood, or the system
    /// refuses.
    pub fn resume(&self, master: &Certname) -> Result<Resumed, JournalError> {
        let lock = self.lock(master)?;
        let unknown = || JournalError::Unknown { master: master.clone(), folder: self.path.clone() };
        let (_, path) = self.latest_of(master)?.ok_or_else(unknown)?;
        let Read { progress, lines, whole, torn, .. } = read(&path)?;
        if progress.is_over() {
            return Err(JournalError::Over { master: master.clone(), path });
        }
        let mut journal = Journal::open(path, progress, lines, whole, lock)?;
        if torn > 0 {
            let cut = journal.file.set_len(whole).and_then(|()| journal.file.sync_all());
            cut.map_err(failed(&journal.path, "cut away a last line that a crash cut off"))?;
        }
        journal.append(Entry::Resumed)?;
        Ok(Resumed { journal, cut: torn })
    }

    /// Whether an enrollment of this master can be begun, or taken up, as far as its journals say now.
    ///
    /// # Errors
    /// As for [`Folder::begin`] and [`Folder::resume`].
    pub fn can(&self, begin: bool, master: &Certname) -> Result<(), JournalError> {
        let latest = self.latest_of(master)?;
        let left =
            latest.as_ref().map(|(_, path)| Ok::<_, JournalError>(read(path)?.progress.step_left().cloned()));
        match (begin, latest.map(|(_, path)| path), left.transpose()?.flatten()) {
            (true, Some(path), Some(step)) => {
                Err(JournalError::Unfinished { master: master.clone(), path, step })
            }
            (true, ..) | (false, Some(_), Some(_)) => Ok(()),
            (false, Some(path), None) => Err(JournalError::Over { master: master.clone(), path }),
            (false, None, _) => {
                Err(JournalError::Unknown { master: master.clone(), folder: self.path.clone() })
            }
        }
    }

    /// Gives an enrollment up, so that another can begin. What it has done stays as it is.
    ///
    /// # Errors
    /// As for [`Folder::resume`].
    pub fn abandon(&self, master: &Certname, reason: &str) -> Result<(), JournalError> {
        let mut resumed = self.resume(master)?;
        resumed.journal.append(Entry::abandoned(reason))?;
        Ok(())
    }

    /// The latest enrollment of every master, by name; nothing in it is changed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn latest(&self) -> Result<Vec<Found>, JournalError> {
        let mut latest: std::collections::BTreeMap<Certname, (u64, PathBuf)> =
            std::collections::BTreeMap::new();
        for (master, number, path) in self.journals()? {
            let there = latest.entry(master).or_insert_with(|| (number, path.clone()));
            if there.0 < number {
                *there = (number, path);
            }
        }
        let found = latest.into_iter().map(|(master, (_, path))| {
            let busy = Lock::is_held(&self.path, &master);
            let read = read(&path);
            Found { master, path, busy, read }
        });
        Ok(found.collect())
    }

    /// The turn at these hosts, whose lists an enrollment changes: one enrollment at a time has it, whatever process it is
    /// in, until it is dropped.
    ///
    /// # Errors
    /// Another enrollment has it, or the system refuses.
    pub fn turn<'c>(&self, hosts: impl IntoIterator<Item = &'c Certname>) -> Result<Turn, JournalError> {
        let mut hosts: Vec<&Certname> = hosts.into_iter().collect();
        // In one order everywhere, so that no two wait for each other.
        hosts.sort();
        hosts.dedup();
        let locks = hosts.into_iter().map(|host| Lock::take(&self.path, Of::Host(host)));
        Ok(Turn { _locks: locks.collect::<Result<_, _>>()? })
    }

    fn lock(&self, master: &Certname) -> Result<Lock, JournalError> {
        if master.as_str().len() > LONGEST_NAME {
            return Err(JournalError::NameTooLong { master: master.clone() });
        }
        Lock::take(&self.path, Of::Master(master))
    }

    fn latest_of(&self, master: &Certname) -> Result<Option<(u64, PathBuf)>, JournalError> {
        let all = self.journals()?.into_iter();
        let own = all.filter(|(name, ..)| name == master).map(|(_, number, path)| (number, path));
        Ok(own.max_by_key(|(number, _)| *number))
    }

    /// Every file here that is named as a journal is: master, number, path.
    fn journals(&self) -> Result<Vec<(Certname, u64, PathBuf)>, JournalError> {
        let mut all = Vec::new();
        let step = "list the folder of journals";
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path, step))? {
            let path = entry.map_err(failed(&self.path, step))?.path();
            let named = || {
                let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
                let (master, number) = name.rsplit_once('.')?;
                let number =
                    Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
                Some((Certname::parse_host(master).ok()?, number.parse().ok()?))
            };
            if let Some((master, number)) = named() {
                all.push((master, number, path));
            }
        }
        Ok(all)
    }
}

impl Journal {
    fn open(
        path: PathBuf,
        progress: Progress,
        lines: u64,
        length: u64,
        lock: Lock,
    ) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path, "open the journal"))?;
        Ok(Self { path, file, lines, length, progress, secrets: Vec::new(), broken: false, _lock: lock })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far the enrollment has come: what the file says, and nothing else.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Keeps a secret out of everything that is recorded from now on, wherever it stands in it.
    pub fn keep_out(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
    }

    /// The same words without any secret.
    #[must_use]
    pub fn without_secrets(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for secret in &self.secrets {
            words = words.replace(secret.as_str(), "(secret)");
            // Words that were cut may end within it.
            let ends = (TELLING..secret.len()).rev().filter_map(|length| secret.get(..length));
            if let Some(part) = ends.into_iter().find(|part| words.ends_with(part)) {
                words.truncate(words.len().saturating_sub(part.len()));
                words.push_str("(secret)");
            }
        }
        words
    }

    /// Records an entry: when this returns it, without any secret, it is on the disk.
    ///
    /// # Errors
    /// The entry does not follow from those before it, the journal is full, or the system refuses; then nothing more
    /// can be recorded, and whoever resumes goes on from what is on the disk.
    pub fn append(&mut self, entry: Entry) -> Result<Entry, JournalError> {
        if self.broken {
            return Err(JournalError::Broken { path: self.path.clone() });
        }
        let entry = self.cleaned(entry);
        let after = self.progress.after(&entry);
        let after = after.map_err(|source| JournalError::OutOfOrder { path: self.path.clone(), source })?;
        let number = self.lines.saturating_add(1);
        let line = line::render(number, &now(), &entry);
        let length = self.length.saturating_add(length_of(&line));
        if length > LARGEST {
            return Err(JournalError::Full { path: self.path.clone() });
        }
        self.broken = true;
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(failed(&self.path, "bring a line of the journal to the disk"))?;
        self.broken = false;
        (self.lines, self.length, self.progress) = (number, length, after);
        Ok(entry)
    }

    fn cleaned(&self, entry: Entry) -> Entry {
        let facts = |facts: Facts| facts.map(|value| self.without_secrets(value));
        match entry {
            Entry::Intended { step, noted } => Entry::Intended { step, noted: facts(noted) },
            Entry::Acted { step, facts: acted } => Entry::Acted { step, facts: facts(acted) },
            Entry::Done { step, facts: shown } => Entry::Done { step, facts: facts(shown) },
            Entry::Stopped { step, stop } => {
                let (reason, way_out) =
                    (self.without_secrets(&stop.reason), self.without_secrets(&stop.way_out));
                Entry::Stopped { step, stop: Stop::new(stop.kind, reason, way_out) }
            }
            Entry::Abandoned { reason } => Entry::abandoned(&self.without_secrets(&reason)),
            Entry::Resumed => Entry::Resumed,
        }
    }
}

fn read(path: &Path) -> Result<Read, JournalError> {
    let bytes = read::bytes(path)?;
    line::read(&bytes).map_err(|source| JournalError::NotUnderstood { path: path.to_owned(), source })
}

fn length_of(line: &str) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

/// For people: nothing is decided by it.
fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}
