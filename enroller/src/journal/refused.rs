//! Why there is no journal to write to.

use std::io;
use std::path::{Path, PathBuf};

use stagedoor_config::certname::Certname;
use stagedoor_config::read::{NotRead, NotReplaced};

use super::{LARGEST, LONGEST_NAME, NotAJournal};
use crate::pipeline::{OutOfOrder, Step};

/// Why there is no journal to write to.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the master's lock.
    #[error(
        "{master}: another stagedoor-enroller is at work on it{}: wait for it, or stop it",
        .by.map(|by| format!(" (process {by})")).unwrap_or_default()
    )]
    Busy {
        /// Which master.
        master: Certname,
        /// By which process, if it said so.
        by: Option<u32>,
    },
    /// Another enrollment changes what this one would.
    #[error(
        "{host}: another enrollment{} is at work on its lists: wait for it, since two at once would take each other's runs \
         for their own",
        .by.map(|by| format!(" (process {by})")).unwrap_or_default()
    )]
    Taken {
        /// Which host.
        host: Certname,
        /// By which process, if it said so.
        by: Option<u32>,
    },
    /// The one before is not over.
    #[error("{master}: {} is at {step} and not over: resume it, or give it up", .path.display())]
    Unfinished {
        /// Which master.
        master: Certname,
        /// Its journal.
        path: PathBuf,
        /// The first step that is not done.
        step: Step,
    },
    /// Nobody began.
    #[error("{master}: expected a journal in {}, and there is none: begin with it first", .folder.display())]
    Unknown {
        /// Which master.
        master: Certname,
        /// Where it would be.
        folder: PathBuf,
    },
    /// Nothing is left to do.
    #[error("{master}: {} is over", .path.display())]
    Over {
        /// Which master.
        master: Certname,
        /// Its journal.
        path: PathBuf,
    },
    /// No file can have this name.
    #[error("{master}: expected a certname of at most {LONGEST_NAME} bytes: a file is named after it")]
    NameTooLong {
        /// Which master.
        master: Certname,
    },
    /// It is no journal of this version.
    #[error(
        "{}: expected a journal that can be understood to its end: restore it, or look at what was done by hand",
        .path.display()
    )]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// Where and why not.
        #[source]
        source: NotAJournal,
    },
    /// It cannot be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// It cannot be begun.
    #[error(transparent)]
    NotBegun(#[from] NotReplaced),
    /// The system refuses something.
    #[error(
        "{}: expected to {step}: see that the folder exists, belongs to this user and is not full",
        .path.display()
    )]
    Failed {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// [`LARGEST`] bytes.
    #[error(
        "{}: expected at most {LARGEST} bytes: see in it what keeps failing, give it up and begin anew",
        .path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// An earlier line could not be written whole.
    #[error("{}: expected no line after one that could not be written: resume it", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// What is to be recorded does not follow from what is.
    #[error("{}: expected an entry in its order", .path.display())]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// Which.
        #[source]
        source: OutOfOrder,
    },
}

pub(super) fn failed(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Failed { path, step, source }
}
