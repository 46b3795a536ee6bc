//! Lists of certnames that Puppet keeps: PuppetDB's own, and the console's. `infrastructure::list` writes them; the lab
//! reads them, and lays out PuppetDB's first, without which nothing compiles.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::machine::{read, write};

#[derive(Debug)]
pub(crate) struct Allowlist {
    file: PathBuf,
}

impl Allowlist {
    pub(crate) fn at(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// As a run leaves it: a file for each name, and the list made of them.
    pub(crate) fn lay_out(&self, names: &[&str]) -> Result<()> {
        let mut names = names.to_vec();
        names.sort_unstable();
        let parts = PathBuf::from(format!("{}.d", self.file.display()));
        let mut list = String::new();
        for name in names {
            let line = format!("{name}\n");
            write(&parts.join(name), &line)?;
            list.push_str(&line);
        }
        write(&self.file, &list)
    }

    pub(crate) fn names(&self, certname: &str) -> Result<bool> {
        Ok(fs::exists(&self.file)? && read(&self.file)?.lines().any(|line| line == certname))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}
