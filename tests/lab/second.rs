//! Compile masters made, and the second one taken away again. Each is made by a run of its own agent; what a new one needs of
//! PuppetDB and console their own runs bring, after it, in this order: before, its catalogs would all fail.

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::lab::Lab;
use crate::master::Master;
use crate::patience::{until, when};
use crate::puppet_server::START;

impl Lab {
    /// The first master, from a machine that has a certificate.
    pub(crate) fn make_first_master(&self) -> Result<()> {
        let [first, _] = self.masters();
        let restarts = self.puppetdb().service().restarts()?;
        self.make_by_runs(&first)?;
        if self.puppetdb().service().restarts()? != restarts {
            anyhow::bail!("PuppetDB's list was laid out otherwise than its own run leaves it");
        }
        Ok(())
    }

    /// The second master, the short way: its certificate is made on the MoM and carried there. Harmless where it stands.
    pub(crate) fn make_second(&self) -> Result<()> {
        let (mom, door, [_, second]) = (self.mom(), self.door(), self.masters());
        if self.second_is_made()? {
            return Ok(());
        }
        self.forget_second()?;
        mom.issue_for_server(second.host)?;
        second.node().lay_out_with_certificate(&mom)?;
        self.make_by_runs(&second)?;
        door.admit(second.host, &[])?;
        door.until_used(second.host).map(drop)
    }

    /// Makes the second machine one that nobody knows: off the roster, no Puppet Server, no certificate, no node, on no list.
    pub(crate) fn forget_second(&self) -> Result<()> {
        let (mom, puppetdb, console) = (self.mom(), self.puppetdb(), self.console());
        let [_, second] = self.masters();
        let (host, node) = (second.host, second.node());
        self.door().cut_off(host).ok();
        node.end_run()?;
        if second.service().exists() {
            second.service().stop()?;
        }
        mom.forget(host)?;
        if puppetdb.knows(host.name)?.is_some() {
            puppetdb.deactivate(&mom, host)?;
        }
        if puppetdb.allowlist().names(host.name)? {
            puppetdb.node().succeed()?;
        }
        if console.allowlist().names(host.name)? {
            console.node().succeed()?;
        }
        if !node.is_bare()? {
            let folder = node.folder();
            fs::remove_dir_all(&folder).with_context(|| format!("{}: cannot remove it", folder.display()))?;
            node.lay_out_bare()?;
        }
        Ok(())
    }

    /// Whether it was made to the end, however it is just now.
    fn second_is_made(&self) -> Result<bool> {
        let [_, second] = self.masters();
        let name = second.host.name;
        Ok(second.service().exists()
            && self.mom().knows(second.host)
            && self.puppetdb().has_export_of(second.host)?
            && self.puppetdb().allowlist().names(name)?
            && self.console().allowlist().names(name)?)
    }

    /// The ordered runs. Most of the first is a JVM that starts: the others begin when its catalog is stored.
    fn make_by_runs(&self, master: &Master) -> Result<()> {
        let (puppetdb, console) = (self.puppetdb(), self.console());
        thread::scope(|scope| {
            let run = scope.spawn(|| master.seal_by_puppet());
            until(&format!("PuppetDB has the catalog of {}", master.host.name), START, || {
                Ok(when(run.is_finished() || puppetdb.has_export_of(master.host)?))
            })?;
            puppetdb.node().succeed()?;
            console.node().succeed()?;
            run.join().map_err(|_| anyhow!("the run panicked"))?
        })
        .map(drop)
    }
}
