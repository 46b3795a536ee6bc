//! PuppetDB on a PostgreSQL of its own, both on one address. The servers write over TLS and are on its allowlist, which runs
//! of its own agent keep; scenarios ask on the plain port.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::allowlist::Allowlist;
use crate::machine::{Account, ENROLLER, Host, MASTERS, MOM, PUPPETDB, copy, make_folder, read, write};
use crate::mom::Mom;
use crate::node::Node;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};
use crate::service::{Service, Unit};

pub(crate) const TLS_PORT: u16 = 8081;
pub(crate) const PLAIN_PORT: u16 = 8080;
pub(crate) const POSTGRESQL_PORT: u16 = 5432;
const POSTGRESQL: &str = "/usr/lib/postgresql/15/bin";

#[derive(Debug)]
pub(crate) struct PuppetDb {
    root: PathBuf,
}

impl PuppetDb {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn folder(&self) -> PathBuf {
        self.root.join(PUPPETDB.name)
    }

    fn process(&self) -> Process {
        Process::named(&self.root, PUPPETDB.name)
    }

    /// The database first: it needs no certificate, so it comes up while the MoM starts.
    pub(crate) fn start_postgresql(&self) -> Result<()> {
        let postgres = Account::named("postgres")?;
        let folder = self.root.join("postgresql");
        make_folder(&folder)?;
        postgres.own(&folder)?;
        let data = folder.join("data");
        succeed(
            as_user(postgres, &format!("{POSTGRESQL}/initdb"))
                .args(["--auth=trust", "--no-sync", "--locale=C.UTF-8", "-D"])
                .arg(&data),
        )?;
        let mut server = Command::new(format!("{POSTGRESQL}/postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-h", PUPPETDB.address, "-c", "fsync=off"]);
        server.args(["-p", &POSTGRESQL_PORT.to_string()]).current_dir(&folder);
        Process::named(&self.root, "postgresql").start(&mut server, Some(postgres))?;
        let ready = || Ok(when(run(&mut sql(&folder, "postgres", "select 1"))?.code == 0));
        until("PostgreSQL answers", std::time::Duration::from_secs(60), ready)?;
        succeed(&mut sql(&folder, "postgres", "create role puppetdb login"))?;
        succeed(&mut sql(&folder, "postgres", "create database puppetdb owner puppetdb"))?;
        succeed(&mut sql(&folder, "puppetdb", "create extension pg_trgm"))?;
        Ok(())
    }

    /// Lays it out, with an agent of its own that has a certificate, and starts the JVM without waiting. The list of who may
    /// ask it is as its own runs will leave it while there is one compile master.
    pub(crate) fn begin(&self, mom: &Mom) -> Result<()> {
        let folder = self.folder();
        let at = folder.display();
        let own = mom.issued(PUPPETDB.name);
        // As `puppetdb ssl-setup` copies them from the agent's.
        copy(&own.certificate, &folder.join("tls/public.pem"))?;
        copy(&own.key, &folder.join("tls/private.pem"))?;
        copy(&mom.ca_file(), &folder.join("tls/ca.pem"))?;
        copy(Path::new("/etc/puppetdb/conf.d/auth.conf"), &folder.join("conf.d/auth.conf"))?;
        let log_files = read(Path::new("/etc/puppetdb/logback.xml"))?;
        write(&folder.join("logback.xml"), &log_files.replace("/var/log/puppetdb", &format!("{at}/log")))?;
        self.allowlist().lay_out(&[MOM.name, PUPPETDB.name, ENROLLER, MASTERS[0].name])?;
        write(
            &folder.join("conf.d/config.ini"),
            &format!(
                "[global]\nvardir = {at}/var\nlogging-config = {at}/logback.xml\n\
                 [puppetdb]\ncertificate-allowlist = {allowlist}\ndisable-update-checking = true\n",
                allowlist = self.allowlist().file().display()
            ),
        )?;
        write(
            &folder.join("conf.d/database.ini"),
            &format!(
                "[database]\nsubname = //{}:{POSTGRESQL_PORT}/puppetdb\nusername = puppetdb\npassword = puppetdb\n",
                PUPPETDB.address
            ),
        )?;
        write(
            &folder.join("conf.d/jetty.ini"),
            &format!(
                "[jetty]\nhost = {address}\nport = {PLAIN_PORT}\nssl-host = {address}\nssl-port = {TLS_PORT}\n\
                 ssl-key = {at}/tls/private.pem\nssl-cert = {at}/tls/public.pem\nssl-ca-cert = {at}/tls/ca.pem\nclient-auth = want\n",
                address = PUPPETDB.address
            ),
        )?;
        for part in ["var", "log", "run"] {
            make_folder(&folder.join(part))?;
        }
        Account::named("puppetdb")?.own(&folder)?;
        self.service().write(&self.service().file(), &UNIT)?;
        self.node().lay_out_with_certificate(mom)?;
        self.service().begin()
    }

    pub(crate) fn node(&self) -> Node {
        Node::at(&self.root, &PUPPETDB)
    }

    pub(crate) fn service(&self) -> Service {
        Service::at(&self.root, PUPPETDB.name)
    }

    /// Who may ask it, from its next start on.
    pub(crate) fn allowlist(&self) -> Allowlist {
        Allowlist::at(&self.folder().join("allowlist"))
    }

    pub(crate) fn is_ready(&self) -> Result<Option<()>> {
        if !self.process().is_running() {
            bail!("PuppetDB ended while it started: see {}", self.process().output().display());
        }
        let answer = run(&mut ask("/status/v1/simple"))?;
        Ok(when(answer.output == "running"))
    }

    /// Whether it answers that it runs, just now.
    pub(crate) fn answers(&self) -> bool {
        run(&mut ask("/status/v1/simple")).is_ok_and(|ended| ended.output == "running")
    }

    /// What PuppetDB knows of a node; `None` before its first facts, and once it is deactivated.
    pub(crate) fn knows(&self, certname: &str) -> Result<Option<Value>> {
        let nodes = self.query(&format!("nodes {{ certname = '{certname}' }}"))?;
        Ok(nodes.as_array().and_then(|nodes| nodes.first()).cloned())
    }

    /// Whether this compile master's catalog with its name for the lists is here.
    pub(crate) fn has_export_of(&self, host: &Host) -> Result<bool> {
        // Whoever collects it has it in a catalog too.
        let question = format!(
            "resources[title] {{ type = 'Infrastructure::Listed' and exported = true and certname = '{}' }}",
            host.name
        );
        Ok(self.query(&question)?.as_array().is_some_and(|found| !found.is_empty()))
    }

    /// Has PuppetDB hold this node for one that is no more, as an operator does on the MoM.
    pub(crate) fn deactivate(&self, mom: &Mom, host: &Host) -> Result<()> {
        succeed(&mut mom.node().puppet(&["node", "deactivate", host.name]))?;
        until(&format!("{} is deactivated", host.name), std::time::Duration::from_secs(60), || {
            Ok(when(self.knows(host.name)?.is_none() && !self.has_export_of(host)?))
        })
        .map(drop)
    }

    /// The answer to a question in PuppetDB's own language.
    pub(crate) fn query(&self, question: &str) -> Result<Value> {
        let mut curl = ask("/pdb/query/v4");
        let answer = succeed(curl.args(["--get", "--data-urlencode", &format!("query={question}")]))?;
        serde_json::from_str(&answer)
            .with_context(|| format!("PuppetDB answered {answer:.400} to {question}"))
    }
}

const UNIT: Unit<'_> = Unit {
    account: "puppetdb",
    java: "-Xmx400m -cp /usr/share/puppetdb/puppetdb.jar clojure.main -m puppetlabs.puppetdb.core services",
    program: "--bootstrap-config /etc/puppetdb/bootstrap.cfg",
};

fn ask(path: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20"])
        .arg(format!("http://{}:{PLAIN_PORT}{path}", PUPPETDB.address));
    curl
}

fn sql(socket: &Path, database: &str, statement: &str) -> Command {
    let mut psql = Command::new(format!("{POSTGRESQL}/psql"));
    psql.args(["--quiet", "--no-psqlrc", "--username=postgres", "--host"]).arg(socket);
    psql.args(["--port", &POSTGRESQL_PORT.to_string(), "--dbname", database, "--command", statement]);
    psql
}

fn as_user(account: Account, program: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.uid(account.user).gid(account.group);
    command
}
