//! A compile master. A run of its own agent makes it, as a package and a site's own code would, and seals it, or leaves it as
//! Puppet's package does: sealed, it takes a client's identity from headers, and its TLS port accepts client certificates
//! of the door CA alone. It has no CA service, answers the addresses of Puppet 3, and stores facts, catalogs and reports in
//! PuppetDB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::access_log::AccessLog;
use crate::classification::Classification;
use crate::door_ca::DoorCa;
use crate::machine::{DOOR, Host, PORT, write};
use crate::mom::Credentials;
use crate::node::Node;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{Ended, run, succeed};
use crate::puppet_server::{PuppetServer, SETTINGS, START, Shape, amend};
use crate::sealing::Shall;
use crate::service::Service;

/// How many catalogs it compiles at once.
pub(crate) const JRUBIES: u8 = 2;
/// The longest head it reads: what the roster says too. Jetty's own limit of 8 KiB is near for a 4096-bit certificate.
pub(crate) const HEADER_LIMIT: u32 = 65536;

/// Who deploys code.
const DEPLOYMENT: &str = "deployment.example.com";

/// Lines of webserver.conf. Both suites of the first kind are TLS 1.0's.
const OLD_TLS: &str = "    ssl-protocols: [TLSv1, TLSv1.1, TLSv1.2, TLSv1.3]\n    cipher-suites: [\
    TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
    TLS_AES_128_GCM_SHA256]\n";

#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) host: &'static Host,
    server: PuppetServer,
    classification: Classification,
    door_ca: DoorCa,
}

impl Master {
    pub(crate) fn at(root: &Path, host: &'static Host) -> Self {
        Self {
            host,
            server: PuppetServer::at(root, host),
            classification: Classification::at(root),
            door_ca: DoorCa::at(root),
        }
    }

    /// Writes what Puppet Server's package would bring to this machine, open.
    pub(crate) fn lay_out_package(&self) -> Result<()> {
        let package = self.server.package();
        self.server.lay_out(
            &package,
            &Shape { jrubies: JRUBIES, webserver: "    client-auth: want\n".to_owned(), files: &[] },
        )?;
        amend(
            &package.join("services.d/ca.cfg"),
            "puppetlabs.services.ca.certificate-authority-service/certificate-authority-service",
            "puppetlabs.services.ca.certificate-authority-disabled-service/certificate-authority-disabled-service",
        )?;
        amend(
            &package.join("services.d/bootstrap.cfg"),
            "puppetlabs.services.request-handler",
            "puppetlabs.services.legacy-routes.legacy-routes-service/legacy-routes-service\npuppetlabs.services.request-handler",
        )?;
        amend(
            &package.join("conf.d/auth.conf"),
            "    rules: [\n",
            &format!("    rules: [\n{}", deploying_rule()),
        )?;
        write(&PathBuf::from(format!("{}.settings", package.display())), SETTINGS)
    }

    pub(crate) fn node(&self) -> Node {
        self.server.node()
    }

    pub(crate) fn service(&self) -> Service {
        self.server.service()
    }

    /// Starts it again and waits until it is up.
    pub(crate) fn start(&self) -> Result<()> {
        self.server.service().start()
    }

    /// A run of its own agent, after which it is sealed and up. Harmless on a sealed one.
    pub(crate) fn seal_by_puppet(&self) -> Result<Ended> {
        self.make(Shall::BeSealed)
    }

    /// A run of its own agent, after which it is as Puppet's package leaves it.
    pub(crate) fn unseal_by_puppet(&self) -> Result<Ended> {
        self.make(Shall::BeOpen)
    }

    /// A run of its own agent that opens the port and leaves header identity on: what must never happen, and does when
    /// another module writes webserver.conf.
    pub(crate) fn lose_seal_by_puppet(&self) -> Result<Ended> {
        self.make(Shall::LoseItsSeal)
    }

    /// A run of its own agent that has it take the Puppet CA's certificates for doors' and leaves header identity on.
    pub(crate) fn let_agents_in_by_puppet(&self) -> Result<Ended> {
        self.make(Shall::LetAgentsIn)
    }

    /// From its next run it is sealed.
    pub(crate) fn classify_sealed(&self) -> Result<()> {
        self.classification.make_master(self.host, Shall::BeSealed)
    }

    fn make(&self, shall: Shall) -> Result<Ended> {
        self.classification.make_master(self.host, shall)?;
        let ended = self.node().succeed()?;
        until(&format!("{} runs", self.host.name), START, || self.is_ready())?;
        Ok(ended)
    }

    /// How often it has been restarted as a service.
    pub(crate) fn restarts(&self) -> Result<usize> {
        self.server.service().restarts()
    }

    /// One of Puppet Server's settings files, as it is now.
    pub(crate) fn settings(&self, name: &str) -> PathBuf {
        self.server.folder().join("conf.d").join(name)
    }

    /// The same as the package brought it.
    pub(crate) fn packaged(&self, name: &str) -> PathBuf {
        self.server.package().join("conf.d").join(name)
    }

    /// Answers a door and nobody else. Of one that runs.
    pub(crate) fn is_sealed(&self) -> Result<bool> {
        let answers = |shown: Option<&Credentials>| {
            Ok::<_, anyhow::Error>(run(&mut self.ask("/status/v1/simple", shown))?.output == "running")
        };
        Ok(!self.old_tls().exists() && answers(Some(&self.door_ca.door()))? && !answers(None)?)
    }

    /// From its next start it speaks every TLS since 1.0, as the masters of Puppet Enterprise 3.x do.
    pub(crate) fn speak_old_tls(&self) -> Result<()> {
        write(&self.old_tls(), "jdk.tls.disabledAlgorithms=SSLv3, NULL, anon\n")?;
        self.amend("{\n", &format!("{{\n{OLD_TLS}"))
    }

    /// From its next start it speaks TLS 1.2 and 1.3.
    pub(crate) fn speak_as_shipped(&self) -> Result<()> {
        if self.old_tls().exists() {
            fs::remove_file(self.old_tls()).context("cannot remove java.security")?;
            self.amend(OLD_TLS, "")?;
        }
        Ok(())
    }

    /// How many requests it serves, and how many wait in it for a JRuby.
    pub(crate) fn borrowed(&self) -> Result<usize> {
        let said = succeed(
            &mut self.ask("/status/v1/services/jruby-metrics?level=debug", Some(&self.door_ca.door())),
        )?;
        let said: Value = serde_json::from_str(&said).with_context(|| format!("no gauges: {said:.400}"))?;
        let listed = |list| {
            let list = said.pointer(&format!("/status/experimental/metrics/{list}-instances"));
            list.and_then(Value::as_array).map(Vec::len).context("no such list in its gauges")
        };
        Ok(listed("borrowed")? + listed("requested")?)
    }

    /// Has it throw its JRubies away and make new ones, as a deployment does: its pool is locked until all of them are back.
    /// Returns when they are; whether it did.
    pub(crate) fn flush_pool(&self) -> Result<Ended> {
        let mut curl = self.ask("/puppet-admin-api/v1/jruby-pool", Some(&self.door_ca.door()));
        curl.args(stated(DEPLOYMENT)).args(["--fail", "--request", "DELETE", "--max-time", "300"]);
        run(&mut curl)
    }

    /// Has it forget every environment, as a deployment does; whether it did.
    pub(crate) fn flush_environments(&self) -> Result<Ended> {
        let mut curl = self.ask("/puppet-admin-api/v1/environment-cache", Some(&self.door_ca.door()));
        curl.args(stated(DOOR.name)).args(["--fail", "--request", "DELETE"]);
        run(&mut curl)
    }

    fn amend(&self, from: &str, to: &str) -> Result<()> {
        amend(&self.settings("webserver.conf"), from, to)
    }

    /// Overrides what Java refuses.
    fn old_tls(&self) -> PathBuf {
        self.server.folder().join("java.security")
    }

    /// Ready for a door if it is sealed, for anybody if it is open, for agents if its seal is of the wrong CA.
    pub(crate) fn is_ready(&self) -> Result<Option<()>> {
        self.server.must_be_alive()?;
        Ok(when(self.asks_each("/status/v1/simple")?.is_some_and(|answer| answer == "running")))
    }

    /// What it answers to who comes first of those it may answer: a door, anybody, an agent.
    fn asks_each(&self, path: &str) -> Result<Option<String>> {
        for shown in [Some(self.door_ca.door()), None, Some(self.node().credentials())] {
            let ended = run(self.ask(path, shown.as_ref()).arg("--fail"))?;
            if ended.code == 0 {
                return Ok(Some(ended.output));
            }
        }
        Ok(None)
    }

    pub(crate) fn process(&self) -> Process {
        self.server.process()
    }

    pub(crate) fn access_log(&self) -> AccessLog {
        self.server.access_log()
    }

    /// A request of our own, by which an access log shows that all before it has been written.
    pub(crate) fn leave_mark(&self, mark: &str) -> Result<()> {
        let answer = self.asks_each(&format!("/status/v1/simple?mark={mark}"))?;
        answer.with_context(|| format!("{} answers no door, no agent and nobody", self.host.name)).map(drop)
    }

    /// A question, with the certificate that a door shows or another one.
    pub(crate) fn ask(&self, path: &str, shown: Option<&Credentials>) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--cacert"]).arg(self.node().ssl().join("certs/ca.pem"));
        if let Some(shown) = shown {
            curl.arg("--cert").arg(&shown.certificate).arg("--key").arg(&shown.key);
        }
        curl.arg(format!("https://{}:{PORT}{path}", self.host.name));
        curl
    }
}

/// What a door states of somebody, as arguments of curl.
pub(crate) fn stated(certname: &str) -> [String; 4] {
    let header = "--header".to_owned();
    [header.clone(), "X-Client-Verify: SUCCESS".to_owned(), header, format!("X-Client-DN: CN={certname}")]
}

/// Who deploys code may flush the pool of JRubies, as a site allows whoever does.
fn deploying_rule() -> String {
    format!(
        "        {{\n            match-request: {{ path: \"/puppet-admin-api/v1/jruby-pool\", type: path, method: delete }}\n\
         \x20           allow: \"{DEPLOYMENT}\"\n            sort-order: 400\n            name: \"lab jruby pool\"\n        }},\n"
    )
}
