//! The console's machine. There is no console outside Puppet Enterprise; what a new master needs of one is here all the same:
//! an agent, and a list of who may ask it, which its runs keep.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::allowlist::Allowlist;
use crate::machine::{CONSOLE, read};
use crate::mom::Mom;
use crate::node::Node;

#[derive(Debug)]
pub(crate) struct Console {
    root: PathBuf,
}

impl Console {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn lay_out(&self, mom: &Mom) -> Result<()> {
        self.node().lay_out_with_certificate(mom)
    }

    pub(crate) fn node(&self) -> Node {
        Node::at(&self.root, &CONSOLE)
    }

    pub(crate) fn allowlist(&self) -> Allowlist {
        Allowlist::at(&self.folder().join("allowlist"))
    }

    /// How often it would have been restarted.
    pub(crate) fn restarts(&self) -> Result<usize> {
        let file = self.folder().join("restarts");
        Ok(if file.exists() { read(&file)?.lines().count() } else { 0 })
    }

    fn folder(&self) -> PathBuf {
        self.node().folder().join("console")
    }
}
