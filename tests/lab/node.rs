//! One machine of the lab as its own root sees it: a folder with its puppet.conf and its certificates, and the programs
//! `puppet` and `puppetserver`, which find them by the machine's name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Host, MOM, copy, make_folder, read, write};
use crate::mom::{Credentials, Mom};
use crate::patience::{until, when};
use crate::program::{Ended, run};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) host: &'static Host,
    root: PathBuf,
}

impl Node {
    pub(crate) fn at(root: &Path, host: &'static Host) -> Self {
        Self { host, root: root.to_owned() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(self.host.name)
    }

    /// For the agent and, on a server, for Puppet Server too, as in the field.
    pub(crate) fn puppet_conf(&self) -> PathBuf {
        self.folder().join("puppet/puppet.conf")
    }

    pub(crate) fn ssl(&self) -> PathBuf {
        self.folder().join("ssl")
    }

    /// A machine with Puppet's packages, which nobody has told anything: a puppet.conf that says where things are.
    pub(crate) fn lay_out_bare(&self) -> Result<()> {
        write(&self.puppet_conf(), &self.bare_puppet_conf())
    }

    /// Nothing but what `lay_out_bare` leaves.
    pub(crate) fn is_bare(&self) -> Result<bool> {
        let entries = |folder: &Path| Ok::<_, anyhow::Error>(fs::read_dir(folder)?.count());
        let (folder, conf) = (self.folder(), self.puppet_conf());
        Ok(conf.exists()
            && entries(&folder)? == 1
            && entries(&folder.join("puppet"))? == 1
            && read(&conf)? == self.bare_puppet_conf())
    }

    pub(crate) fn bare_puppet_conf(&self) -> String {
        let at = self.folder();
        let at = at.display();
        format!(
            "[main]\nssldir = {at}/ssl\nvardir = {at}/agent/var\npublicdir = {at}/agent/public\n\
             rundir = {at}/agent/run\nlogdir = {at}/agent/log\n"
        )
    }

    /// The short way to a certificate: made on the MoM, key and all, and carried here.
    pub(crate) fn lay_out_with_certificate(&self, mom: &Mom) -> Result<()> {
        let named = format!("certname = {}\nserver = {}\n", self.host.name, MOM.name);
        write(&self.puppet_conf(), &format!("{}{named}", self.bare_puppet_conf()))?;
        let (issued, own) = (mom.issued(self.host.name), self.credentials());
        copy(&issued.certificate, &own.certificate)?;
        copy(&issued.key, &own.key)?;
        copy(&mom.ca_file(), &self.ssl().join("certs/ca.pem"))?;
        copy(&mom.crl_file(), &self.ssl().join("crl.pem"))
    }

    /// The agent's, which is the server's as well.
    pub(crate) fn credentials(&self) -> Credentials {
        let (name, ssl) = (self.host.name, self.ssl());
        Credentials {
            certname: name.to_owned(),
            certificate: ssl.join(format!("certs/{name}.pem")),
            key: ssl.join(format!("private_keys/{name}.pem")),
        }
    }

    /// A run of its agent that must end with 0 for nothing changed or 2 for changed.
    pub(crate) fn succeed(&self) -> Result<Ended> {
        let ended = self.run()?;
        if ended.code != 0 && ended.code != 2 {
            bail!("{}: its puppet agent ended with {}:\n{}", self.host.name, ended.code, ended.said());
        }
        Ok(ended)
    }

    /// `puppet agent --test`, however it ends.
    pub(crate) fn run(&self) -> Result<Ended> {
        run(&mut self.puppet(&["agent", "--test", "--color", "false"]))
    }

    /// The machine's `puppet`, as its root says it.
    pub(crate) fn puppet(&self, words: &[&str]) -> Command {
        // A run on a compile master waits for its Puppet Server to be up.
        let mut puppet = Command::new("timeout");
        puppet.args(["--kill-after=10", "600"]).arg(programs(&self.root).join("puppet")).args(words);
        puppet.env("LAB_HOST", self.host.name);
        puppet
    }

    /// Ends a run that is in progress: one that was started over ssh stays when its connection is cut.
    pub(crate) fn end_run(&self) -> Result<()> {
        until(&format!("no run is in progress on {}", self.host.name), Duration::from_secs(20), || {
            let Some(run) = self.run_in_progress() else { return Ok(Some(())) };
            // First what it has just started, such as the restart of a service, which would go on without it.
            for process in children(run).into_iter().chain([run]) {
                kill_process(process, Signal::TERM).ok();
            }
            Ok(when(self.run_in_progress().is_none()))
        })
        .map(drop)
    }

    /// The process id in Puppet's own lock, while it is a run of this machine's.
    fn run_in_progress(&self) -> Option<Pid> {
        let lock = read(&self.folder().join("agent/var/state/agent_catalog_run.lock")).ok()?;
        let pid: i32 = lock.trim().parse().ok()?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&command_line).contains(&*self.folder().to_string_lossy());
        if ours { Pid::from_raw(pid) } else { None }
    }
}

fn children(process: Pid) -> Vec<Pid> {
    let pid = process.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// The folder of the programs that every machine has, each for the machine that it is said on.
pub(crate) fn programs(root: &Path) -> PathBuf {
    root.join("bin")
}

/// `puppet`, `puppetserver` and `hostname`, which tell the machines apart by LAB_HOST: each machine's sshd sets it.
pub(crate) fn lay_out_programs(root: &Path) -> Result<()> {
    make_folder(&programs(root))?;
    let (at, code) = (root.display(), crate::code::folder(root));
    let code = code.display();
    for (name, last) in [
        ("hostname", "echo \"$machine\"".to_owned()),
        // Every subcommand takes these after its own words.
        (
            "puppet",
            format!(
                "exec env LC_ALL=C.UTF-8 /usr/bin/puppet \"$@\" --confdir \"{at}/$machine/puppet\" --codedir \"{code}\""
            ),
        ),
        (
            "puppetserver",
            format!("exec /usr/bin/puppetserver \"$@\" --config \"{at}/$machine/puppet/puppet.conf\""),
        ),
    ] {
        let file = programs(root).join(name);
        write(
            &file,
            &format!(
                "#!/bin/sh\n# {name} of the machine that LAB_HOST names.\nmachine=${{LAB_HOST:?expected a machine of the lab}}\n{last}\n"
            ),
        )?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{}: cannot make it a program", file.display()))?;
    }
    Ok(())
}
