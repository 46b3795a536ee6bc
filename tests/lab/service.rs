//! A JVM as a service: a program that starts, ends and restarts it, for the lab and for the Puppet runs of that machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::machine::{read, write};
use crate::process::Process;
use crate::program::succeed;

/// What a service manager would be told.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    /// The account it runs under.
    pub(crate) account: &'a str,
    /// Java's arguments up to the program's own. `$folder` is the service's folder.
    pub(crate) java: &'a str,
    /// The program's arguments beside its settings in `$folder/conf.d` and its restart file.
    pub(crate) program: &'a str,
}

/// A program that lives in one folder, with settings in `conf.d` and its restart file in `run`.
#[derive(Debug)]
pub(crate) struct Service {
    folder: PathBuf,
    process: Process,
}

impl Service {
    pub(crate) fn at(root: &Path, name: &str) -> Self {
        Self { folder: root.join(name), process: Process::named(root, name) }
    }

    /// Writes the program that is the service; `file` is where it is, or where a package keeps it until then.
    pub(crate) fn write(&self, file: &Path, unit: &Unit<'_>) -> Result<()> {
        write(file, &self.text(unit))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{}: cannot make it a program", file.display()))
    }

    /// Starts it and does not wait.
    pub(crate) fn begin(&self) -> Result<()> {
        self.act("begin")
    }

    /// Starts it and waits until it is up.
    pub(crate) fn start(&self) -> Result<()> {
        self.act("start")
    }

    pub(crate) fn stop(&self) -> Result<()> {
        self.act("stop")
    }

    /// How often somebody has asked it to restart.
    pub(crate) fn restarts(&self) -> Result<usize> {
        let file = self.folder.join("log/restarts");
        Ok(if file.exists() { read(&file)?.lines().count() } else { 0 })
    }

    /// Whether it has been laid out.
    pub(crate) fn exists(&self) -> bool {
        self.file().exists()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("service")
    }

    fn act(&self, verb: &str) -> Result<()> {
        succeed(Command::new(self.file()).arg(verb)).map(drop)
    }

    /// `start` and `restart` return when it is up, as Debian's units do (`ExecStartPost` waits for the same file), so that
    /// a Puppet run which restarts it goes on with a program that answers.
    fn text(&self, unit: &Unit<'_>) -> String {
        format!(
            r#"#!/bin/sh
# Starts and ends this service, for the lab and for the Puppet runs of this machine.
set -eu
folder='{folder}' record='{record}' output='{output}'

runs() {{
  [ -e "$record" ] && tr '\0' ' ' <"/proc/$(cat "$record")/cmdline" 2>/dev/null | grep -qF "$folder/conf.d"
}}

# Not the opposite: from one program to the next of an exec it has no command line.
has_ended() {{
  state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$(cat "$record")/status" 2>/dev/null) || true
  [ "${{state:-Z}}" = Z ]
}}

begin() {{
  cd "$folder"
  rm -f "$folder/run/restart"
  # One compiler tier and one collector thread: half the CPU of a start, which is most of what the lab costs.
  HOME="$folder/var" LC_ALL=C.UTF-8 setsid setpriv --reuid={account} --regid={account} --clear-groups \
    java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC {java} \
    --config "$folder/conf.d" {program} --restart-file "$folder/run/restart" \
    </dev/null >>"$output" 2>&1 &
  echo $! >"$record"
}}

# It writes this file when all of it is up.
up() {{
  looks=0
  until grep -qs '^1' "$folder/run/restart"; do
    looks=$((looks + 1))
    if has_ended || [ "$looks" = 1500 ]; then
      echo "not up after $((looks / 5)) s: see $output and $folder/log" >&2
      exit 1
    fi
    sleep 0.2
  done
}}

case "$1" in
status) runs ;;
begin) runs || begin ;;
start)
  runs || begin
  up
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
            folder = self.folder.display(),
            record = self.process.record().display(),
            output = self.process.output().display(),
            account = unit.account,
            java = unit.java,
            program = unit.program,
        )
    }
}
