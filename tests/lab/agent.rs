//! A real Puppet agent with folders of its own, pointed only at the balancer: no ca_server, no list of servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::machine::{DOOR, make_folder, read, write};
use crate::mom::Credentials;
use crate::program::{Ended, run, succeed};

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) certname: String,
    folder: PathBuf,
}

impl Agent {
    /// A machine that has never spoken to Puppet, which will ask for `role` in its certificate.
    pub(crate) fn brand_new(lab: &Lab, role: &str) -> Result<Self> {
        let certname = new_name(&lab.root)?;
        let folder = lab.root.join("agents").join(&certname);
        let agent = Self { certname, folder };
        make_folder(&agent.folder.join("code"))?;
        let at = agent.folder.display();
        write(
            &agent.folder.join("conf/puppet.conf"),
            &format!(
                "[main]\ncertname = {name}\nserver = {door}\nssldir = {at}/ssl\nvardir = {at}/var\npublicdir = {at}/public\n\
                 rundir = {at}/run\nlogdir = {at}/log\nusecacheonfailure = false\n",
                name = agent.certname,
                door = DOOR.name
            ),
        )?;
        let csr_attributes = format!("---\nextension_requests:\n  pp_role: {role}\n");
        write(&agent.folder.join("conf/csr_attributes.yaml"), &csr_attributes)?;
        Ok(agent)
    }

    /// A new agent that has its certificate and has not run yet.
    pub(crate) fn enrolled(lab: &Lab, role: &str) -> Result<Self> {
        let agent = Self::brand_new(lab, role)?;
        agent.ssl("submit_request")?;
        lab.mom().sign(&agent.certname)?;
        agent.ssl("download_cert")?;
        Ok(agent)
    }

    /// `puppet agent --test` with further arguments and environment.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Ended> {
        let mut puppet = self.puppet(&["agent", "--test", "--no-daemonize"]);
        run(puppet.args(arguments).envs(environment.iter().copied()))
    }

    /// A run that has to go well: 0 for nothing changed, 2 for changed.
    pub(crate) fn succeed(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Ended> {
        let ended = self.run(arguments, environment)?;
        if ended.code != 0 && ended.code != 2 {
            bail!("{}: puppet agent ended with {}:\n{}", self.certname, ended.code, ended.said());
        }
        Ok(ended)
    }

    /// `puppet ssl`, one step of the bootstrap.
    fn ssl(&self, step: &str) -> Result<()> {
        succeed(&mut self.puppet(&["ssl", step, "--waitforcert", "0"]))
            .with_context(|| format!("{} got no certificate", self.certname))?;
        Ok(())
    }

    fn puppet(&self, words: &[&str]) -> Command {
        // An agent that meets an error may wait two minutes and try again, for ever.
        let mut puppet = Command::new("timeout");
        puppet
            .args(["--kill-after=10", "300", "puppet"])
            .args(words)
            .args(["--color", "false", "--confdir"])
            .arg(self.folder.join("conf"));
        puppet.arg("--codedir").arg(self.folder.join("code")).env("LC_ALL", "C.UTF-8");
        puppet
    }

    /// What a catalog put into this agent's folder.
    pub(crate) fn file(&self, name: &str) -> Result<String> {
        read(&self.folder.join(name))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            certname: self.certname.clone(),
            certificate: self.folder.join(format!("ssl/certs/{}.pem", self.certname)),
            key: self.folder.join(format!("ssl/private_keys/{}.pem", self.certname)),
        }
    }
}

/// A certname the CA has never seen. All are of one length, so that one agent's recorded requests become another's by
/// replacing the name.
pub(crate) fn new_name(root: &Path) -> Result<String> {
    let counter = root.join("agents-so-far");
    let number: u32 = if counter.exists() { read(&counter)?.trim().parse()? } else { 0 } + 1;
    write(&counter, &format!("{number}\n"))?;
    Ok(format!("agent{number:04}.example.com"))
}
