//! The way into the lab's machines: one sshd for each, on its own address, under root, with keys of the lab's own. Which
//! machine a shell is on stands in LAB_HOST, and that machine's programs come first in its PATH. No sshd of the system is
//! touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::machine::{Host, NODES, make_folder, read, write};
use crate::node::programs;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};

pub(crate) const PORT: u16 = 2222;
/// Where an sshd that root starts must be able to retreat to; a package's own start makes it, which there may not have been.
const RETREAT: &str = "/run/sshd";

#[derive(Debug)]
pub(crate) struct Ssh {
    root: PathBuf,
}

impl Ssh {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The key that every machine's root lets in.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder().join("id_ed25519")
    }

    /// The machines' own keys, by name and by address.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.folder().join("known_hosts")
    }

    /// What `ssh -F` reads, for people and for the lab.
    pub(crate) fn directions(&self) -> PathBuf {
        self.folder().join("config")
    }

    /// A command in a shell of root's on this machine.
    pub(crate) fn on(&self, host: &Host, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.directions()).args([host.name, command]);
        ssh
    }

    /// Starts every machine's sshd, and sees that each lets us in.
    pub(crate) fn start(&self) -> Result<()> {
        self.lay_out()?;
        make_folder(Path::new(RETREAT))?;
        for host in NODES {
            let mut server = Command::new("/usr/sbin/sshd");
            server.args(["-D", "-e", "-f"]).arg(self.folder().join(host.name).join("sshd_config"));
            Process::named(&self.root, &format!("sshd.{}", host.name)).start(&mut server, None)?;
        }
        for host in NODES {
            until(&format!("{} lets us in", host.name), Duration::from_secs(20), || {
                Ok(when(run(&mut self.on(host, "hostname"))?.output.trim() == host.name))
            })?;
        }
        Ok(())
    }

    fn lay_out(&self) -> Result<()> {
        let folder = self.folder();
        make_folder(&folder)?;
        make_key(&self.key())?;
        let at = folder.display();
        let (mut known, pam) = (String::new(), if root_is_locked()? { "yes" } else { "no" });
        for Host { name, address } in NODES {
            let own = folder.join(name);
            make_folder(&own)?;
            make_key(&own.join("host_key"))?;
            write(
                &own.join("sshd_config"),
                &format!(
                    "ListenAddress {address}:{PORT}\nHostKey {own}/host_key\nAuthorizedKeysFile {at}/id_ed25519.pub\n\
                     PidFile none\nPermitRootLogin prohibit-password\nAllowUsers root\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no\nUsePAM {pam}\n\
                     # The lab's folder lies below one that everybody may write to.\nStrictModes no\n\
                     SetEnv LAB_HOST={name} PATH={programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
                    own = own.display(),
                    programs = programs(&self.root).display(),
                ),
            )?;
            let public = read(&own.join("host_key.pub"))?;
            known.push_str(&format!("[{name}]:{PORT},[{address}]:{PORT} {public}"));
        }
        write(&self.known_hosts(), &known)?;
        let names: Vec<&str> = NODES.iter().map(|host| host.name).collect();
        write(
            &self.directions(),
            &format!(
                "Host {}\n  Port {PORT}\n  User root\n  IdentityFile {at}/id_ed25519\n  IdentitiesOnly yes\n\
                 \x20 UserKnownHostsFile {at}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n\
                 \x20 BatchMode yes\n  LogLevel ERROR\n  ConnectTimeout 5\n",
                names.join(" ")
            ),
        )
    }

    fn folder(&self) -> PathBuf {
        self.root.join("ssh")
    }
}

/// A key pair without a passphrase, unless it is there.
pub(crate) fn make_key(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let name = file.file_name().context("a key without a name")?;
    let mut keygen = Command::new("ssh-keygen");
    succeed(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C"]).arg(name).arg("-f").arg(file))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{}: cannot keep it to its owner", file.display()))
}

/// An sshd without PAM lets nobody into an account whose password is locked, whatever key he has.
fn root_is_locked() -> Result<bool> {
    Ok(read(Path::new("/etc/shadow"))?.lines().any(|line| line.starts_with("root:!")))
}
