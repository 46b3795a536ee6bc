//! The Master of Masters: the CA, the packages, the `puppetserver ca` commands an operator runs there, and the catalogs of
//! the installation's own machines. Header identity is off on it, as it must be: whoever reaches it is who his certificate
//! says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::access_log::AccessLog;
use crate::classification::Classification;
use crate::machine::{DOOR, ENROLLER, Host, MOM, PORT, write};
use crate::node::{Node, programs};
use crate::program::{Ended, run, succeed};
use crate::puppet_server::{PuppetServer, SETTINGS, Shape, amend};
use crate::sealing::Shall;

#[derive(Debug)]
pub(crate) struct Mom {
    server: PuppetServer,
    classification: Classification,
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
        Self { server: PuppetServer::at(root, &MOM), classification: Classification::at(root) }
    }

    /// Lays it out, makes the CA (a root and an intermediate, as Puppet does since version 6) and starts it, without
    /// waiting. It has PuppetDB's address from the first, and compiles nothing until PuppetDB is up.
    pub(crate) fn begin(&self) -> Result<()> {
        let folder = self.server.folder();
        self.server.lay_out(
            &folder,
            &Shape {
                jrubies: 1,
                webserver: format!(
                    "    client-auth: want\n    static-content: [{{ resource: \"{}/packages\", path: \"/packages\", follow-links: true }}]\n",
                    folder.display()
                ),
                files: &[
                    ("conf.d/ca.conf", "certificate-authority: { allow-subject-alt-names: true }\n".to_owned()),
                    ("packages/current/install.bash", install_script(&programs(self.server.root()))),
                ],
            },
        )?;
        amend(
            &folder.join("conf.d/auth.conf"),
            "    rules: [\n",
            &format!("    rules: [\n{}", signing_rule()),
        )?;
        let node = self.node();
        write(
            &node.puppet_conf(),
            &format!(
                "{bare}certname = {MOM}\nserver = {MOM}\ndns_alt_names = puppet\n\n[server]\ncadir = {at}/ca\n{SETTINGS}\
                 node_terminus = exec\nexternal_nodes = {classifier}\n",
                MOM = MOM.name,
                bare = node.bare_puppet_conf(),
                at = folder.display(),
                classifier = self.classification.program().display(),
            ),
        )?;
        self.classification.lay_out()?;
        succeed(&mut self.ca("setup"))?;
        self.server.own()?;
        self.server.service().begin()
    }

    pub(crate) fn node(&self) -> Node {
        self.server.node()
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

    /// A certificate for a machine of the installation that no agent asks for catalogs.
    pub(crate) fn issue_for(&self, name: &str) -> Result<()> {
        succeed(self.ca("generate").args(["--certname", name])).map(drop)
    }

    /// One for a compile master or the door. It also carries the name agents use by default, and that of the balancer, as
    /// behind a balancer that passes connections on.
    pub(crate) fn issue_for_server(&self, host: &Host) -> Result<()> {
        let mut generate = self.ca("generate");
        generate.args(["--certname", host.name, "--subject-alt-names"]);
        succeed(generate.arg(format!("puppet,{}", DOOR.name))).map(drop)
    }

    /// Certificates for agents whose bootstrap is not what a scenario is about.
    pub(crate) fn issue_for_agents(&self, certnames: &[String]) -> Result<Vec<Credentials>> {
        succeed(self.ca("generate").args(["--certname", &certnames.join(",")]))?;
        Ok(certnames.iter().map(|certname| self.issued(certname)).collect())
    }

    /// Where `puppetserver ca generate` left a certificate and its key.
    pub(crate) fn issued(&self, certname: &str) -> Credentials {
        let ssl = self.node().ssl();
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

    /// Takes back what the CA knows of this name: its certificate, which is revoked, or its request.
    pub(crate) fn forget(&self, host: &Host) -> Result<()> {
        if self.has_signed(host) {
            self.revoke(host.name)?;
        }
        if self.knows(host) {
            // `puppetserver ca clean` does both, and waits 30 s in between for the server to close their connection.
            let own = self.own_certificate();
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--fail", "--request", "DELETE", "--cacert"])
                .arg(self.ca_file());
            curl.arg("--cert").arg(own.certificate).arg("--key").arg(own.key);
            succeed(
                curl.arg(format!(
                    "https://{}:{PORT}/puppet-ca/v1/certificate_status/{}",
                    MOM.name, host.name
                )),
            )?;
        }
        // What it was given the short way would be in the way of another.
        let Credentials { certificate, key, .. } = self.issued(host.name);
        for file in [certificate, key, self.node().ssl().join(format!("public_keys/{}.pem", host.name))] {
            if file.exists() {
                fs::remove_file(&file).with_context(|| format!("{}: cannot remove it", file.display()))?;
            }
        }
        Ok(())
    }

    /// Whether the CA has a certificate or a request of this name.
    pub(crate) fn knows(&self, host: &Host) -> bool {
        self.has_signed(host) || self.server.folder().join(format!("ca/requests/{}.pem", host.name)).exists()
    }

    fn has_signed(&self, host: &Host) -> bool {
        self.signed().join(format!("{}.pem", host.name)).exists()
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

    /// A run of the MoM's own agent as if it were a compile master that shall be sealed.
    pub(crate) fn seals_itself(&self) -> Result<Ended> {
        self.classification.make_master(&MOM, Shall::BeSealed)?;
        let ended = self.node().run();
        self.classification.make_nothing(&MOM)?;
        ended
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
        command.args(["ca", action, "--config"]).arg(self.node().puppet_conf());
        command
    }

    /// Revocation needs an early look at nothing but this: when the file with the CRLs last changed.
    pub(crate) fn crl_changed(&self) -> Result<std::time::SystemTime> {
        let file = self.crl_file();
        let about = fs::metadata(&file).with_context(|| format!("{}: not there", file.display()))?;
        Ok(about.modified()?)
    }
}

/// The enroller may sign and clean certificates, one at a time, beside whoever has Puppet's own extension for it.
fn signing_rule() -> String {
    format!(
        "        {{\n            match-request: {{ path: \"/puppet-ca/v1/certificate_status/\", type: path, method: [get, put, delete] }}\n\
         \x20           allow: [\"{ENROLLER}\", {{ extensions: {{ pp_cli_auth: \"true\" }} }}]\n\
         \x20           sort-order: 400\n            name: \"lab certificate status\"\n        }},\n"
    )
}

/// What an operator pipes into bash on a new machine. As in Puppet Enterprise, its arguments are settings for puppet.conf
/// and for the certificate request. It installs nothing: every machine of the lab has Debian's packages.
fn install_script(programs: &Path) -> String {
    include_str!("install.bash").replace("@MOM@", MOM.name).replace("@PROGRAMS@", &programs.to_string_lossy())
}
