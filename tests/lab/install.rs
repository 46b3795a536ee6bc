//! What the lab needs from Debian's packages, and how it comes by what is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::program::{run, succeed};

/// Each package with a file that is only there when it is installed.
const PACKAGES: [(&str, &str); 14] = [
    ("puppetserver", "/usr/share/puppetserver/puppetserver.jar"),
    ("puppet-agent", "/usr/bin/puppet"),
    ("puppet-lint", "/usr/bin/puppet-lint"),
    ("puppetdb", "/usr/share/puppetdb/puppetdb.jar"),
    ("puppet-terminus-puppetdb", "/usr/lib/ruby/vendor_ruby/puppet/indirector/catalog/puppetdb.rb"),
    ("postgresql", "/usr/lib/postgresql/15/bin/initdb"),
    ("postgresql-contrib", "/usr/share/postgresql/15/extension/pg_trgm.control"),
    ("openssl", "/usr/bin/openssl"),
    ("curl", "/usr/bin/curl"),
    ("openssh-client", "/usr/bin/ssh"),
    ("openssh-server", "/usr/sbin/sshd"),
    ("iproute2", "/sbin/ip"),
    ("prometheus", "/usr/bin/prometheus"),
    ("chromium", "/usr/bin/chromium"),
];

pub(crate) fn missing() -> Vec<&'static str> {
    PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect()
}

/// Installs what is missing. The lab's parts bring their own settings and are started by the lab, so services that
/// the packages start or fail to start are neither used nor in the way.
pub(crate) fn install_missing() -> Result<()> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    println!("installing from Debian's packages: {}", wanted.join(" "));
    let mut apt_get = Command::new("apt-get");
    apt_get.args(["install", "--yes", "--no-install-recommends"]).args(&wanted);
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    let first = run(&mut apt_get)?;
    if first.code != 0 {
        // An image that never asked for the lists has none.
        succeed(Command::new("apt-get").arg("update")).context("the packages' lists cannot be had")?;
        succeed(&mut apt_get)?;
    }
    let still = missing();
    if !still.is_empty() {
        bail!("still missing after installing: {}; the lab is written for Debian 12", still.join(" "));
    }
    stop_what_packages_started(&wanted)
}

/// On a machine with systemd the packages start their services, which then hold the lab's ports; and nobody who runs
/// the lab has asked for a way into the machine. One that was there before stays.
fn stop_what_packages_started(installed: &[&str]) -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        for service in ["puppet", "puppetserver", "puppetdb", "prometheus"] {
            run(Command::new("systemctl").args(["disable", "--now", service]))?;
        }
        if installed.contains(&"openssh-server") {
            run(Command::new("systemctl").args(["disable", "--now", "ssh.service", "ssh.socket"]))?;
        }
    }
    Ok(())
}

/// The lab changes /etc/hosts and starts programs as other users.
pub(crate) fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "the lab needs root (it names hosts in /etc/hosts and starts each program as its own user): run it with sudo"
    )
}
