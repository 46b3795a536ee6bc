//! The machine the lab runs on, dressed up as six: one loopback address for each part, all Puppet Servers and the
//! door on port 8140 as in the field, names in /etc/hosts, and one folder that holds everything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One part of the installation, under the name its certificate carries.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) address: &'static str,
}

pub(crate) const DOOR: Host = Host { name: "loadbalancer.example.com", address: "127.0.0.10" };
pub(crate) const MOM: Host = Host { name: "master.example.com", address: "127.0.0.11" };
pub(crate) const MASTERS: [Host; 2] = [
    Host { name: "add.master.example.com", address: "127.0.0.12" },
    Host { name: "add2.master.example.com", address: "127.0.0.13" },
];
pub(crate) const PUPPETDB: Host = Host { name: "puppetdb.example.com", address: "127.0.0.14" };
pub(crate) const CONSOLE: Host = Host { name: "console.example.com", address: "127.0.0.15" };

/// The machines that Puppet keeps, each with an agent and a way in over ssh.
pub(crate) const NODES: [&Host; 5] = [&MOM, &MASTERS[0], &MASTERS[1], &PUPPETDB, &CONSOLE];

/// Whose certificate may ask PuppetDB and sign on the CA: the program that enrolls masters.
pub(crate) const ENROLLER: &str = "enroller.example.com";

/// Where agents, the door and every Puppet Server meet.
pub(crate) const PORT: u16 = 8140;

/// Everything the lab listens on; `up` refuses to begin while somebody else does.
const LISTENERS: [(&str, u16, &str); 14] = [
    (DOOR.address, PORT, "the door"),
    (DOOR.address, crate::door::PASS_PORT, "the door's port that passes everything"),
    (DOOR.address, crate::door::ADMIN_PORT, "the door's admin address"),
    (MOM.address, PORT, "the MoM"),
    (MASTERS[0].address, PORT, "the first compile master"),
    (MASTERS[1].address, PORT, "the second compile master"),
    (PUPPETDB.address, crate::puppetdb::TLS_PORT, "PuppetDB"),
    (PUPPETDB.address, crate::puppetdb::PLAIN_PORT, "PuppetDB's plain port"),
    (PUPPETDB.address, crate::puppetdb::POSTGRESQL_PORT, "PostgreSQL"),
    (MOM.address, crate::ssh::PORT, "the MoM's sshd"),
    (MASTERS[0].address, crate::ssh::PORT, "the first compile master's sshd"),
    (MASTERS[1].address, crate::ssh::PORT, "the second compile master's sshd"),
    (PUPPETDB.address, crate::ssh::PORT, "the sshd of PuppetDB's machine"),
    (CONSOLE.address, crate::ssh::PORT, "the console's sshd"),
];

/// `up` adds lines that end like this to /etc/hosts; `down` removes those and no other.
const HOSTS_MARK: &str = "# stagedoor lab";
const HOSTS_FILE: &str = "/etc/hosts";

pub(crate) fn refuse_taken_ports() -> Result<()> {
    for (address, port, part) in LISTENERS {
        if let Err(error) = TcpListener::bind((address, port)) {
            bail!(
                "{part} needs {address}:{port}, which cannot be listened on ({error}); `ss -ltnp` names who does, end that first"
            );
        }
    }
    Ok(())
}

pub(crate) fn name_hosts() -> Result<()> {
    let mut text = hosts_without_ours()?;
    for host in [&DOOR].into_iter().chain(NODES) {
        text.push_str(&format!("{} {} {HOSTS_MARK}\n", host.address, host.name));
    }
    write(Path::new(HOSTS_FILE), &text)
}

/// Has agents find this host under the balancer's name, as a change of DNS or of a virtual address does. The address is
/// overwritten where it stands, by another of the same length and in one write: whoever reads the file meanwhile finds
/// the one or the other.
pub(crate) fn lead_agents_to(host: &Host) -> Result<()> {
    let text = read(Path::new(HOSTS_FILE))?;
    let ours = format!(" {} {HOSTS_MARK}", DOOR.name);
    let end = text.find(&ours).with_context(|| format!("{HOSTS_FILE} does not name {}", DOOR.name))?;
    let start = text.get(..end).and_then(|before| before.rfind('\n')).map_or(0, |line| line + 1);
    ensure!(
        end - start == host.address.len(),
        "{} is no longer or shorter than the address before",
        host.address
    );
    let file = fs::File::options().write(true).open(HOSTS_FILE)?;
    file.write_all_at(host.address.as_bytes(), u64::try_from(start)?)
        .with_context(|| format!("{HOSTS_FILE}: cannot write it"))
}

pub(crate) fn forget_hosts() -> Result<()> {
    write(Path::new(HOSTS_FILE), &hosts_without_ours()?)
}

fn hosts_without_ours() -> Result<String> {
    let text = read(Path::new(HOSTS_FILE))?;
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.ends_with(HOSTS_MARK)) {
        kept.push_str(line);
        kept.push('\n');
    }
    Ok(kept)
}

/// A user of this machine, as Debian's packages made it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Account {
    pub(crate) fn named(name: &str) -> Result<Self> {
        let passwd = read(Path::new("/etc/passwd"))?;
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))
            .with_context(|| format!("no user {name:?} in /etc/passwd: is its Debian package installed?"))?;
        let mut numbers = line.split(':').skip(2);
        let mut number = || -> Result<u32> {
            let field = numbers.next().context("a line of /etc/passwd is too short")?;
            field.parse().with_context(|| format!("{field:?} in /etc/passwd is no number"))
        };
        Ok(Self { user: number()?, group: number()? })
    }

    /// Makes `path` and all below it this account's.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.user), Some(self.group))
            .with_context(|| format!("{}: cannot change its owner", path.display()))?;
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("{}: cannot list it", path.display()))? {
                self.own(&entry?.path())?;
            }
        }
        Ok(())
    }
}

// Files, with the path in every error.

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: cannot read it", path.display()))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, text).with_context(|| format!("{}: cannot write it", path.display()))
}

pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("{}: cannot make this folder", path.display()))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot list it", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}
