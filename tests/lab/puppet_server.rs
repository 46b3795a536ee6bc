//! One Puppet Server with a folder of its own: Debian's settings copied, its places changed, a small heap, its own
//! access log. What makes it the MoM or a compile master is in those files. The MoM's are laid out where they are used; a
//! compile master's lie in a folder that stands for a package, from which a run of its own agent takes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::access_log::AccessLog;
use crate::machine::{Account, Host, PORT, PUPPETDB, copy, files_in, make_folder, read, write};
use crate::node::Node;
use crate::process::Process;
use crate::service::{Service, Unit};

const PACKAGED: &str = "/etc/puppet/puppetserver";
/// A start is some 25 s of CPU, and three programs start at once on two cores.
pub(crate) const START: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub(crate) struct PuppetServer {
    pub(crate) host: &'static Host,
    root: PathBuf,
}

/// What differs between one Puppet Server and the next.
#[derive(Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) jrubies: u8,
    /// Further lines of `webserver`.
    pub(crate) webserver: String,
    /// Further files, each by its path in the server's folder.
    pub(crate) files: &'a [(&'a str, String)],
}

impl PuppetServer {
    pub(crate) fn at(root: &Path, host: &'static Host) -> Self {
        Self { host, root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(self.host.name)
    }

    pub(crate) fn node(&self) -> Node {
        Node::at(&self.root, self.host)
    }

    pub(crate) fn service(&self) -> Service {
        Service::at(&self.root, self.host.name)
    }

    pub(crate) fn process(&self) -> Process {
        Process::named(&self.root, self.host.name)
    }

    pub(crate) fn access_log(&self) -> AccessLog {
        AccessLog::at(self.host.name, &self.folder().join("log/puppetserver-access.log"))
    }

    /// Where a compile master's files lie until its agent takes them.
    pub(crate) fn package(&self) -> PathBuf {
        self.root.join("packages").join(self.host.name)
    }

    /// Writes its files into `target`, as they have to be in its folder.
    pub(crate) fn lay_out(&self, target: &Path, shape: &Shape<'_>) -> Result<()> {
        let folder = self.folder();
        for part in ["conf.d", "services.d"] {
            for file in files_in(&Path::new(PACKAGED).join(part))? {
                let name = file.file_name().context("a packaged file without a name")?;
                copy(&file, &target.join(part).join(name))?;
            }
        }
        let at = folder.display();
        let log_files = read(&Path::new(PACKAGED).join("logback.xml"))?;
        write(
            &target.join("logback.xml"),
            &log_files.replace("/var/log/puppetserver", &format!("{at}/log")),
        )?;
        write(&target.join("request-logging.xml"), &self.request_logging())?;
        write(
            &target.join("conf.d/global.conf"),
            &format!("global: {{ logging-config: \"{at}/logback.xml\" }}\n"),
        )?;
        write(&target.join("conf.d/puppetserver.conf"), &self.puppetserver_conf(shape.jrubies))?;
        write(
            &target.join("conf.d/webserver.conf"),
            &format!(
                "webserver: {{\n    ssl-host: \"{}\"\n    ssl-port: {PORT}\n    access-log-config: \"{at}/request-logging.xml\"\n{}}}\n",
                self.host.address, shape.webserver
            ),
        )?;
        write(&target.join("puppet/puppetdb.conf"), &puppetdb_conf())?;
        write(&target.join("puppet/routes.yaml"), ROUTES)?;
        for (path, text) in shape.files {
            write(&target.join(path), text)?;
        }
        self.service().write(&target.join("service"), &UNIT)
    }

    /// Makes everything in its folder the server's own.
    pub(crate) fn own(&self) -> Result<()> {
        for part in ["var", "run", "log", "ssl"] {
            make_folder(&self.folder().join(part))?;
        }
        Account::named("puppet")?.own(&self.folder())
    }

    /// An error when it has ended instead of becoming ready.
    pub(crate) fn must_be_alive(&self) -> Result<()> {
        if self.process().is_running() {
            return Ok(());
        }
        bail!(
            "{} ended while it started: see {} and {}",
            self.host.name,
            self.process().output().display(),
            self.folder().join("log/puppetserver.log").display()
        )
    }

    /// Debian's pattern with who the client was said to be and the address before the first proxy at its end.
    fn request_logging(&self) -> String {
        format!(
            r#"<configuration debug="false">
    <appender name="FILE" class="ch.qos.logback.core.FileAppender">
        <file>{}/log/puppetserver-access.log</file>
        <append>true</append>
        <encoder>
            <pattern>%h %l %u [%t] "%r" %s %b "%i{{Referer}}" "%i{{User-Agent}}" %D %i{{Content-Length}} "%i{{X-Client-Verify}}" "%i{{X-Client-DN}}" "%i{{X-Request-Id}}"%n</pattern>
        </encoder>
    </appender>
    <appender-ref ref="FILE" />
</configuration>
"#,
            self.folder().display()
        )
    }

    fn puppetserver_conf(&self, jrubies: u8) -> String {
        let at = self.folder();
        let at = at.display();
        format!(
            r#"jruby-puppet: {{
    ruby-load-path: [/usr/lib/puppetserver/ruby/vendor_ruby]
    gem-home: "{at}/var/jruby-gems"
    gem-path: ["{at}/var/jruby-gems", "/usr/lib/puppetserver/vendored-jruby-gems"]
    server-conf-dir: "{at}/puppet"
    server-code-dir: "{}"
    server-var-dir: "{at}/var"
    server-run-dir: "{at}/run"
    server-log-dir: "{at}/log"
    max-active-instances: {jrubies}
}}
"#,
            crate::code::folder(&self.root).display()
        )
    }
}

/// Adds a line at the top of one of the copied files, or changes one there: `from` must be found.
pub(crate) fn amend(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = read(file)?;
    if !text.contains(from) {
        bail!(
            "{}: expected {from:?} in what Debian's package ships; the lab is written for 7.9.5",
            file.display()
        );
    }
    write(file, &text.replacen(from, to, 1))
}

/// What stands in puppet.conf under `[server]`: facts, catalogs and reports go to PuppetDB.
pub(crate) const SETTINGS: &str = "environment_timeout = unlimited\nstoreconfigs = true\nstoreconfigs_backend = puppetdb\nreports = puppetdb\n";

/// Where there is no java.security, Java goes by its own.
const UNIT: Unit<'_> = Unit {
    account: "puppet",
    java: "-Xms700m -Xmx700m -Djava.security.properties=\"$folder/java.security\" -Djruby.lib=/usr/share/jruby/lib \
           -jar /usr/share/puppetserver/puppetserver.jar",
    program: "--bootstrap-config \"$folder/services.d\"",
};

const ROUTES: &str = "---\nmaster:\n  facts:\n    terminus: puppetdb\n    cache: yaml\n";

/// A failure to store is a failure to compile: what the ordered runs of an enrollment are there to prevent.
fn puppetdb_conf() -> String {
    format!(
        "[main]\nserver_urls = https://{}:{}\nsoft_write_failure = false\n",
        PUPPETDB.name,
        crate::puppetdb::TLS_PORT
    )
}
