//! The Master of Masters: the CA, the packages, and the `puppetserver ca` commands an operator runs there. Header
//! identity is off on it, as it must be: whoever reaches it is who his certificate says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::access_log::AccessLog;
use crate::machine::{MASTERS, MOM, PORT, PUPPETDB};
use crate::program::{Ended, run, succeed};
use crate::puppet_server::{PuppetServer, Shape};
use crate::sealing::{OwnAgent, Shall};

#[derive(Debug)]
pub(crate) struct Mom {
    server: PuppetServer,
}

/// A certificate of the Puppet CA with its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) certname: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Mom {
    pub(crate) fn at(root: &Path) -> Self {
        Self { server: PuppetServer::at(root, &MOM) }
    }

    /// Lays it out, makes the CA (a root and an intermediate, as Puppet does since version 6) and starts it.
    pub(crate) fn start(&self) -> Result<()> {
        let packages = self.server.folder().join("packages");
        self.server.lay_out(&Shape {
            jrubies: 1,
            webserver: format!(
                "    client-auth: want\n    static-content: [{{ resource: \"{}\", path: \"/packages\", follow-links: true }}]\n",
                packages.display()
            ),
            puppet_conf: String::new(),
            files: &[
                ("conf.d/ca.conf", "certificate-authority: { allow-subject-alt-names: true }\n".to_owned()),
                ("packages/current/install.bash", install_script()),
            ],
        })?;
        succeed(&mut self.ca("setup"))?;
        self.server.own()?;
        self.server.start()
    }

    pub(crate) fn is_ready(&self) -> Result<Option<()>> {
        self.server.must_be_alive()?;
        let answer = run(Command::new("curl")
            .args(["--silent", "--max-time", "5"])
            .arg("--cacert")
            .arg(self.ca_file())
            .arg(format!("https://{}:{PORT}/status/v1/simple", MOM.name)))?;
        Ok(crate::patience::when(answer.output == "running"))
    }

    /// The certificates of the installation itself; each also carries the name agents use by default, and that of the
    /// balancer, as behind a balancer that passes connections on.
    pub(crate) fn issue_for_servers(&self) -> Result<()> {
        let names = [MASTERS[0].name, MASTERS[1].name, crate::machine::DOOR.name, PUPPETDB.name];
        let mut generate = self.ca("generate");
        succeed(generate.args([
            "--certname",
            &names.join(","),
            "--subject-alt-names",
            &format!("puppet,{}", crate::machine::DOOR.name),
        ]))?;
        Ok(())
    }

    /// Certificates for agents whose bootstrap is not what a scenario is about.
    pub(crate) fn issue_for_agents(&self, certnames: &[String]) -> Result<Vec<Credentials>> {
        succeed(self.ca("generate").args(["--certname", &certnames.join(",")]))?;
        Ok(certnames.iter().map(|certname| self.issued(certname)).collect())
    }

    /// Where `puppetserver ca generate` left a certificate and its key.
    pub(crate) fn issued(&self, certname: &str) -> Credentials {
        let ssl = self.server.ssl();
        Credentials {
            certname: certname.to_owned(),
            certificate: ssl.join(format!("certs/{certname}.pem")),
            key: ssl.join(format!("private_keys/{certname}.pem")),
        }
    }

    /// Where the CA keeps every certificate it has signed.
    pub(crate) fn signed(&self) -> PathBuf {
        self.server.folder().join("ca/signed")
    }

    /// The MoM's own, which may administer the CA.
    pub(crate) fn own_certificate(&self) -> Credentials {
        self.issued(MOM.name)
    }

    pub(crate) fn sign(&self, certname: &str) -> Result<()> {
        succeed(self.ca("sign").args(["--certname", certname])).map(drop)
    }

    pub(crate) fn revoke(&self, certname: &str) -> Result<()> {
        succeed(self.ca("revoke").args(["--certname", certname])).map(drop)
    }

    /// Asks the CA over its port what waits for a signature.
    pub(crate) fn list(&self, certname: &str) -> Result<Ended> {
        run(self.ca("list").args(["--certname", certname]))
    }

    /// The CA's certificates, root and intermediate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.server.folder().join("ca/ca_crt.pem")
    }

    /// The CRLs the CA keeps, one for each certificate above: what the door watches.
    pub(crate) fn crl_file(&self) -> PathBuf {
        self.server.folder().join("ca/ca_crl.pem")
    }

    /// A run of the MoM's own agent with the class that seals compile masters.
    pub(crate) fn seals_itself(&self) -> Result<Ended> {
        let agent = OwnAgent::of(&MOM, &self.server.folder());
        agent.lay_out(&self.server.ssl())?;
        agent.try_to_make(Shall::BeSealed)
    }

    pub(crate) fn access_log(&self) -> AccessLog {
        self.server.access_log()
    }

    /// A request of our own, by which an access log shows that all before it has been written.
    pub(crate) fn leave_mark(&self, mark: &str) -> Result<()> {
        let address = format!("https://{}:{PORT}/status/v1/simple?mark={mark}", MOM.name);
        succeed(
            Command::new("curl")
                .args(["--silent", "--fail"])
                .arg("--cacert")
                .arg(self.ca_file())
                .arg(address),
        )
        .context("the MoM does not answer a question about its status")?;
        Ok(())
    }

    /// `puppetserver ca ACTION`, run as the account that owns the CA's files.
    fn ca(&self, action: &str) -> Command {
        let mut command = Command::new("puppetserver");
        command.args(["ca", action, "--config"]).arg(self.server.puppet_conf());
        command
    }

    /// Revocation needs an early look at nothing but this: when the file with the CRLs last changed.
    pub(crate) fn crl_changed(&self) -> Result<std::time::SystemTime> {
        let file = self.crl_file();
        let about = std::fs::metadata(&file).with_context(|| format!("{}: not there", file.display()))?;
        Ok(about.modified()?)
    }
}

/// What an operator pipes into bash on a new machine; the lab only reads which server it came from.
fn install_script() -> String {
    format!("#!/bin/bash\n# Served by {}\n", MOM.name)
}
