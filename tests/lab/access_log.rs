//! A Puppet Server's own access log: the witness of what reached it and as whom.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::patience::{until, when};

#[derive(Debug)]
pub(crate) struct AccessLog {
    server: &'static str,
    file: PathBuf,
}

/// A place in an access log, to read on from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

/// One request as the server logged it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) method: String,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) status: u16,
    /// How long it took, in milliseconds.
    pub(crate) millis: u64,
    /// The length of the request's body as its head gave it.
    pub(crate) length: u64,
    /// The headers X-Client-Verify and X-Client-DN, `-` where there were none.
    pub(crate) verify: String,
    pub(crate) dn: String,
    /// The header X-Request-Id, by which the door's own line is found; `-` where there was none.
    pub(crate) request_id: String,
}

/// What the address of every catalog begins with.
const CATALOGS: &str = "/puppet/v3/catalog/";

impl Entry {
    /// Its class, as Puppet Server calls the route: the word after `/puppet/v3/`.
    pub(crate) fn class(&self) -> Option<&str> {
        let rest = self.target.strip_prefix("/puppet/v3/")?;
        rest.split(['/', '?']).next()
    }

    /// The environment that was asked for.
    pub(crate) fn environment(&self) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix("environment="))
    }

    /// Whether it took a JRuby to answer it.
    pub(crate) fn needs_jruby(&self) -> bool {
        self.target.starts_with("/puppet/") && !self.target.starts_with("/puppet/v3/static_file_content/")
    }
}

impl AccessLog {
    pub(crate) fn at(server: &'static str, file: &Path) -> Self {
        Self { server, file: file.to_owned() }
    }

    /// The end of the log as it is now.
    pub(crate) fn mark(&self) -> Result<Mark> {
        match std::fs::metadata(&self.file) {
            Ok(about) => Ok(Mark(about.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Mark(0)),
            Err(error) => Err(error).with_context(|| format!("{}: cannot look at it", self.file.display())),
        }
    }

    /// What agents and doors asked since `mark`; questions about the server's status are the door's health checks and
    /// the lab's own, and left out.
    pub(crate) fn since(&self, mark: Mark) -> Result<Vec<Entry>> {
        let entries = self.lines_since(mark)?;
        Ok(entries.into_iter().filter(|entry| !entry.target.starts_with("/status/")).collect())
    }

    /// The catalogs that it answered since `mark`, whatever it said.
    pub(crate) fn catalogs_since(&self, mark: Mark) -> Result<Vec<Entry>> {
        let entries = self.since(mark)?;
        Ok(entries.into_iter().filter(|entry| entry.target.starts_with(CATALOGS)).collect())
    }

    /// Waits until a request of the lab's own shows, so that all before it is in the log as well.
    pub(crate) fn settle(&self, mark: Mark, leave: impl FnOnce(&str) -> Result<()>) -> Result<Vec<Entry>> {
        let word = format!("{:016x}", fastrand::u64(..));
        leave(&word)?;
        until(&format!("{} has logged what it answered", self.server), Duration::from_secs(20), || {
            Ok(when(self.lines_since(mark)?.iter().any(|entry| entry.target.contains(&word))))
        })?;
        self.since(mark)
    }

    fn lines_since(&self, mark: Mark) -> Result<Vec<Entry>> {
        let mut text = String::new();
        let mut file =
            File::open(&self.file).with_context(|| format!("{}: cannot open it", self.file.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        file.read_to_string(&mut text)?;
        Ok(text.lines().filter_map(entry).collect())
    }
}

/// Reads `host - user [time] "METHOD TARGET HTTP/1.1" 200 7 "referer" "agent" 12 - "SUCCESS" "CN=name" "ID"`. A line
/// that is still being written gives nothing.
fn entry(line: &str) -> Option<Entry> {
    let quoted: Vec<&str> = line.split('"').collect();
    let mut request = quoted.get(1)?.split(' ');
    Some(Entry {
        method: request.next()?.to_owned(),
        target: request.next()?.to_owned(),
        status: quoted.get(2)?.split_whitespace().next()?.parse().ok()?,
        millis: quoted.get(6)?.split_whitespace().next()?.parse().ok()?,
        length: quoted.get(6)?.split_whitespace().nth(1)?.parse().unwrap_or(0),
        verify: (*quoted.get(7)?).to_owned(),
        dn: (*quoted.get(9)?).to_owned(),
        request_id: (*quoted.get(11)?).to_owned(),
    })
}
