//! A compile master, sealed: it takes a client's identity from headers, and its TLS port accepts client certificates
//! of the door CA alone. It has no CA service, answers the addresses of Puppet 3, and stores facts, catalogs and
//! reports in PuppetDB.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::access_log::AccessLog;
use crate::door_ca::DoorCa;
use crate::machine::{Host, PORT, PUPPETDB, copy};
use crate::mom::Mom;
use crate::process::Process;
use crate::program::{run, succeed};
use crate::puppet_server::{PuppetServer, Shape};

/// How many catalogs it compiles at once.
const JRUBIES: u8 = 2;
/// The longest head it reads: what the roster says too. Jetty's own limit of 8 KiB is near for a 4096-bit certificate.
pub(crate) const HEADER_LIMIT: u32 = 65536;

#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) host: &'static Host,
    server: PuppetServer,
    door_ca: DoorCa,
}

impl Master {
    pub(crate) fn at(root: &Path, host: &'static Host) -> Self {
        Self { host, server: PuppetServer::at(root, host), door_ca: DoorCa::at(root) }
    }

    pub(crate) fn lay_out(&self, mom: &Mom) -> Result<()> {
        let ssl = self.server.ssl();
        let own = mom.issued(self.host.name);
        copy(&own.certificate, &ssl.join(format!("certs/{}.pem", self.host.name)))?;
        copy(&own.key, &ssl.join(format!("private_keys/{}.pem", self.host.name)))?;
        copy(&mom.ca_file(), &ssl.join("certs/ca.pem"))?;
        copy(&mom.crl_file(), &ssl.join("crl.pem"))?;
        self.server.lay_out(&Shape {
            jrubies: JRUBIES,
            webserver: self.sealed(),
            puppet_conf: "storeconfigs = true\nstoreconfigs_backend = puppetdb\nreports = puppetdb\n"
                .to_owned(),
            files: &[
                ("puppet/puppetdb.conf", puppetdb_conf()),
                (
                    "puppet/routes.yaml",
                    "---\nmaster:\n  facts:\n    terminus: puppetdb\n    cache: yaml\n".to_owned(),
                ),
            ],
        })?;
        self.server.amend(
            "services.d/ca.cfg",
            "puppetlabs.services.ca.certificate-authority-service/certificate-authority-service",
            "puppetlabs.services.ca.certificate-authority-disabled-service/certificate-authority-disabled-service",
        )?;
        self.server.amend(
            "services.d/bootstrap.cfg",
            "puppetlabs.services.request-handler",
            "puppetlabs.services.legacy-routes.legacy-routes-service/legacy-routes-service\npuppetlabs.services.request-handler",
        )?;
        self.server.amend("conf.d/auth.conf", "version: 1", "version: 1\n    allow-header-cert-info: true")
    }

    pub(crate) fn start(&self) -> Result<()> {
        self.server.start()
    }

    pub(crate) fn is_ready(&self) -> Result<Option<()>> {
        self.server.must_be_alive()?;
        let answer = run(&mut self.ask("/status/v1/simple"))?;
        Ok(crate::patience::when(answer.output == "running"))
    }

    pub(crate) fn process(&self) -> Process {
        self.server.process()
    }

    pub(crate) fn access_log(&self) -> AccessLog {
        self.server.access_log()
    }

    /// A request of our own, by which an access log shows that all before it has been written.
    pub(crate) fn leave_mark(&self, mark: &str) -> Result<()> {
        succeed(self.ask(&format!("/status/v1/simple?mark={mark}")).arg("--fail"))
            .with_context(|| format!("{} does not answer the door's own certificate", self.host.name))?;
        Ok(())
    }

    /// A question as only a door can ask it.
    fn ask(&self, path: &str) -> Command {
        let door = self.door_ca.door();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--cacert"])
            .arg(self.server.ssl().join("certs/ca.pem"))
            .arg("--cert")
            .arg(door.certificate)
            .arg("--key")
            .arg(door.key)
            .arg(format!("https://{}:{PORT}{path}", self.host.name));
        curl
    }

    /// All four ssl lines must be there, else Puppet Server takes those of puppet.conf: its own CA.
    fn sealed(&self) -> String {
        let ssl = self.server.ssl();
        format!(
            "    client-auth: need\n    ssl-cert: \"{ssl}/certs/{name}.pem\"\n    ssl-key: \"{ssl}/private_keys/{name}.pem\"\n    \
             ssl-ca-cert: \"{ca}\"\n    ssl-crl-path: \"{crl}\"\n    request-header-max-size: {HEADER_LIMIT}\n",
            ssl = ssl.display(),
            name = self.host.name,
            ca = self.door_ca.certificate().display(),
            crl = self.door_ca.crl().display()
        )
    }
}

/// A failure to store is a failure to compile: what the ordered runs of an enrollment are there to prevent.
fn puppetdb_conf() -> String {
    format!(
        "[main]\nserver_urls = https://{}:{}\nsoft_write_failure = false\n",
        PUPPETDB.name,
        crate::puppetdb::TLS_PORT
    )
}
