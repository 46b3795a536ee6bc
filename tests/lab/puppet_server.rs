//! One Puppet Server with a folder of its own: Debian's settings copied, its places changed, a small heap, its own
//! access log. What makes it the MoM or a compile master is in those files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::access_log::AccessLog;
use crate::machine::{Account, Host, PORT, copy, files_in, make_folder, read, write};
use crate::process::Process;
use crate::program::succeed;

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
    /// Further lines of puppet.conf's `[server]`.
    pub(crate) puppet_conf: String,
    /// Further files, each by its path in the server's folder.
    pub(crate) files: &'a [(&'a str, String)],
}

impl PuppetServer {
    pub(crate) fn at(root: &Path, host: &'static Host) -> Self {
        Self { host, root: root.to_owned() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(self.host.name)
    }

    pub(crate) fn puppet_conf(&self) -> PathBuf {
        self.folder().join("puppet/puppet.conf")
    }

    pub(crate) fn ssl(&self) -> PathBuf {
        self.folder().join("ssl")
    }

    pub(crate) fn process(&self) -> Process {
        Process::named(&self.root, self.host.name)
    }

    pub(crate) fn access_log(&self) -> AccessLog {
        AccessLog::at(self.host.name, &self.folder().join("log/puppetserver-access.log"))
    }

    /// Writes its folder. The certificates come from elsewhere: the CA's own setup, or `puppetserver ca generate`.
    pub(crate) fn lay_out(&self, shape: &Shape<'_>) -> Result<()> {
        let folder = self.folder();
        for part in ["var", "run", "log", "ssl"] {
            make_folder(&folder.join(part))?;
        }
        for part in ["conf.d", "services.d"] {
            for file in files_in(&Path::new(PACKAGED).join(part))? {
                let name = file.file_name().context("a packaged file without a name")?;
                copy(&file, &folder.join(part).join(name))?;
            }
        }
        let at = folder.display();
        let log_files = read(&Path::new(PACKAGED).join("logback.xml"))?;
        write(
            &folder.join("logback.xml"),
            &log_files.replace("/var/log/puppetserver", &format!("{at}/log")),
        )?;
        write(&folder.join("request-logging.xml"), &self.request_logging())?;
        write(
            &folder.join("conf.d/global.conf"),
            &format!("global: {{ logging-config: \"{at}/logback.xml\" }}\n"),
        )?;
        write(&folder.join("conf.d/puppetserver.conf"), &self.puppetserver_conf(shape.jrubies))?;
        write(
            &folder.join("conf.d/webserver.conf"),
            &format!(
                "webserver: {{\n    ssl-host: \"{}\"\n    ssl-port: {PORT}\n    access-log-config: \"{at}/request-logging.xml\"\n{}}}\n",
                self.host.address, shape.webserver
            ),
        )?;
        write(&self.puppet_conf(), &self.puppet_conf_text(&shape.puppet_conf))?;
        for (path, text) in shape.files {
            write(&folder.join(path), text)?;
        }
        write(&self.service(), &self.service_text())?;
        fs::set_permissions(self.service(), fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{}: cannot make it a program", self.service().display()))
    }

    /// Adds a line at the top of one of the copied files, or changes one there: `from` must be found.
    pub(crate) fn amend(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let file = self.folder().join(path);
        let text = read(&file)?;
        if !text.contains(from) {
            bail!(
                "{}: expected {from:?} in what Debian's package ships; the lab is written for 7.9.5",
                file.display()
            );
        }
        write(&file, &text.replacen(from, to, 1))
    }

    /// Makes everything in its folder the server's own.
    pub(crate) fn own(&self) -> Result<()> {
        Account::named("puppet")?.own(&self.folder())
    }

    /// Starts the JVM and does not wait: see `is_ready`.
    pub(crate) fn start(&self) -> Result<()> {
        succeed(Command::new(self.service()).arg("start")).map(drop)
    }

    /// How often somebody has asked the service to restart.
    pub(crate) fn restarts(&self) -> Result<usize> {
        let file = self.folder().join("log/restarts");
        Ok(if file.exists() { read(&file)?.lines().count() } else { 0 })
    }

    /// The program that a service manager would be on a machine that has one.
    fn service(&self) -> PathBuf {
        self.folder().join("service")
    }

    fn service_text(&self) -> String {
        let process = self.process();
        format!(
            r#"#!/bin/sh
# Starts and ends this Puppet Server, for the lab and for the Puppet runs of this machine.
set -eu
folder='{folder}' record='{record}' output='{output}'

runs() {{
  [ -e "$record" ] && tr '\0' ' ' <"/proc/$(cat "$record")/cmdline" 2>/dev/null | grep -qF "$folder/conf.d"
}}

case "$1" in
status) runs ;;
start)
  if runs; then exit 0; fi
  cd "$folder"
  # Where there is no java.security, Java goes by its own.
  # One compiler tier and one collector thread: half the CPU of a start, which is most of what the lab costs.
  HOME="$folder/var" LC_ALL=C.UTF-8 setsid setpriv --reuid=puppet --regid=puppet --clear-groups \
    java -Xms700m -Xmx700m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.security.properties="$folder/java.security" \
    -Djruby.lib=/usr/share/jruby/lib -jar /usr/share/puppetserver/puppetserver.jar \
    --config "$folder/conf.d" --bootstrap-config "$folder/services.d" --restart-file "$folder/run/restart" \
    </dev/null >>"$output" 2>&1 &
  echo $! >"$record"
  ;;
stop)
  looks=0
  while runs; do
    if [ "$looks" = 0 ]; then kill -TERM "$(cat "$record")"; fi
    if [ "$looks" = 600 ]; then kill -KILL "$(cat "$record")"; fi
    looks=$((looks + 1))
    sleep 0.1
  done
  rm -f "$record"
  ;;
restart)
  echo restart >>"$folder/log/restarts"
  "$0" stop
  "$0" start
  ;;
esac
"#,
            folder = self.folder().display(),
            record = process.record().display(),
            output = process.output().display(),
        )
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
            <pattern>%h %l %u [%t] "%r" %s %b "%i{{Referer}}" "%i{{User-Agent}}" %D %i{{Content-Length}} "%i{{X-Client-Verify}}" "%i{{X-Client-DN}}"%n</pattern>
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

    fn puppet_conf_text(&self, server: &str) -> String {
        let at = self.folder();
        let at = at.display();
        format!(
            "[main]\ncertname = {name}\nserver = {mom}\ndns_alt_names = puppet\nssldir = {at}/ssl\nvardir = {at}/var\n\n\
             [server]\ncodedir = {code}\ncadir = {at}/ca\nenvironment_timeout = unlimited\n{server}",
            name = self.host.name,
            mom = crate::machine::MOM.name,
            code = crate::code::folder(&self.root).display()
        )
    }
}
