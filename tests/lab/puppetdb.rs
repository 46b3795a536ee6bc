//! PuppetDB on a PostgreSQL of its own, both on one address. The masters write over TLS and are on its allowlist;
//! scenarios ask on the plain port.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine::{Account, MASTERS, PUPPETDB, copy, make_folder, read, write};
use crate::mom::Mom;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};

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

    /// Starts the JVM and does not wait.
    pub(crate) fn start(&self, mom: &Mom) -> Result<()> {
        let folder = self.folder();
        let at = folder.display();
        let own = mom.issued(PUPPETDB.name);
        copy(&own.certificate, &folder.join("ssl/public.pem"))?;
        copy(&own.key, &folder.join("ssl/private.pem"))?;
        copy(&mom.ca_file(), &folder.join("ssl/ca.pem"))?;
        copy(Path::new("/etc/puppetdb/conf.d/auth.conf"), &folder.join("conf.d/auth.conf"))?;
        let log_files = read(Path::new("/etc/puppetdb/logback.xml"))?;
        write(&folder.join("logback.xml"), &log_files.replace("/var/log/puppetdb", &format!("{at}/log")))?;
        write(&folder.join("allowlist"), &format!("{}\n{}\n", MASTERS[0].name, MASTERS[1].name))?;
        write(
            &folder.join("conf.d/config.ini"),
            &format!(
                "[global]\nvardir = {at}/var\nlogging-config = {at}/logback.xml\n\
                 [puppetdb]\ncertificate-allowlist = {at}/allowlist\ndisable-update-checking = true\n"
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
                 ssl-key = {at}/ssl/private.pem\nssl-cert = {at}/ssl/public.pem\nssl-ca-cert = {at}/ssl/ca.pem\nclient-auth = want\n",
                address = PUPPETDB.address
            ),
        )?;
        for part in ["var", "log"] {
            make_folder(&folder.join(part))?;
        }
        let puppetdb = Account::named("puppetdb")?;
        puppetdb.own(&folder)?;
        let mut java = Command::new("java");
        java.args([
            "-Xmx400m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
            "/usr/share/puppetdb/puppetdb.jar",
        ])
        .args(["clojure.main", "-m", "puppetlabs.puppetdb.core", "services", "--config"])
        .arg(folder.join("conf.d"))
        .args(["--bootstrap-config", "/etc/puppetdb/bootstrap.cfg"])
        .env("HOME", folder.join("var"))
        .env("LC_ALL", "C.UTF-8")
        .current_dir(&folder);
        self.process().start(&mut java, Some(puppetdb))
    }

    pub(crate) fn is_ready(&self) -> Result<Option<()>> {
        if !self.process().is_running() {
            bail!("PuppetDB ended while it started: see {}", self.process().output().display());
        }
        let answer = run(&mut ask("/status/v1/simple"))?;
        Ok(when(answer.output == "running"))
    }

    /// What PuppetDB knows of a node; `None` before its first facts.
    pub(crate) fn node(&self, certname: &str) -> Result<Option<Value>> {
        let nodes = self.query(&format!("nodes {{ certname = '{certname}' }}"))?;
        Ok(nodes.as_array().and_then(|nodes| nodes.first()).cloned())
    }

    /// The answer to a question in PuppetDB's own language.
    pub(crate) fn query(&self, question: &str) -> Result<Value> {
        let mut curl = ask("/pdb/query/v4");
        let answer = succeed(curl.args(["--get", "--data-urlencode", &format!("query={question}")]))?;
        serde_json::from_str(&answer)
            .with_context(|| format!("PuppetDB answered {answer:.400} to {question}"))
    }
}

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
