//! A host outside the firewall, as `[outside]` in the door's settings has it: OpenSSH's own server with a configuration,
//! keys and a port of its own, and one key that may do nothing but what `packaging/outside` ships. It runs in a network namespace, from where
//! the masters' addresses lead nowhere, or on the machine itself, from where they are reached: the firewall has a hole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::machine::{Account, copy, make_folder, read, write};
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};
use crate::ssh::make_key;

/// The namespace and the names of the two ends of the wire into it.
const NAMESPACE: &str = "stagedoor-lab";
const WIRE: [&str; 2] = ["sdlab0", "sdlab1"];
/// The machine's end of the wire and the outside host's, from a block for documentation, and their network.
const ENDS: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
const NETWORK: &str = "198.51.100.0/30";
const PORT: u16 = 2222;
/// Where the same host stands once it is inside.
const INSIDE: &str = "127.0.0.16";
/// An account that Debian's packages made, with a shell: the server runs under it and lets it alone in.
const ACCOUNT: &str = "postgres";

#[derive(Debug)]
pub(crate) struct Outside {
    root: PathBuf,
}

/// Where the host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// Behind the firewall, where no master can be reached.
    Outside,
    /// Where every master can be reached.
    Inside,
}

impl Outside {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What `ssh -F` reads: how the door finds the host.
    pub(crate) fn directions(&self) -> PathBuf {
        self.folder().join("ssh_config")
    }

    /// Whether this machine lets a namespace be made; where it does not, why not.
    pub(crate) fn can_be_cut_off() -> Result<Option<String>> {
        // Documentation or not: a machine that uses it would lose a part of its own network.
        let routes = succeed(Command::new("ip").args(["-4", "route", "show", "match", NETWORK]))?;
        if let Some(route) = routes.lines().find(|route| !route.starts_with("default")) {
            return Ok(Some(format!("{NETWORK} is in use: {route}")));
        }
        let made = run(Command::new("ip").args(["netns", "add", NAMESPACE]))?;
        if made.code != 0 {
            return Ok(Some(made.said().trim().to_owned()));
        }
        let wired =
            run(Command::new("ip").args(["link", "add", WIRE[0], "type", "veth", "peer", "name", WIRE[1]]))?;
        tear_down()?;
        Ok((wired.code != 0).then(|| wired.said().trim().to_owned()))
    }

    /// Starts the host, or has it stand somewhere else.
    pub(crate) fn stand(&self, stands: Stands) -> Result<()> {
        self.end()?;
        let address = match stands {
            Stands::Outside => {
                lay_wire()?;
                ENDS[1]
            }
            Stands::Inside => INSIDE,
        };
        self.lay_out(address)?;
        let account = Account::named(ACCOUNT)?;
        let mut server = Command::new("ip");
        match stands {
            Stands::Outside => server.args(["netns", "exec", NAMESPACE, "setpriv"]),
            Stands::Inside => {
                server = Command::new("setpriv");
                &mut server
            }
        };
        server
            .arg(format!("--reuid={}", account.user))
            .arg(format!("--regid={}", account.group))
            .args(["--clear-groups", "/usr/sbin/sshd", "-D", "-e", "-f"])
            .arg(self.folder().join("sshd_config"));
        self.process().start(&mut server, None)?;
        // Asked as a door asks, about a port where nobody is.
        until("the outside host lets the door in", Duration::from_secs(20), || {
            let mut ssh = Command::new("ssh");
            ssh.arg("-F").arg(self.directions()).args([
                "outside",
                "curl",
                "--resolve",
                "nobody:8140:127.0.0.1",
            ]);
            Ok(when(run(&mut ssh)?.output.starts_with("stagedoor:000:")))
        })?;
        Ok(())
    }

    /// Ends the host and takes its wire away.
    pub(crate) fn end(&self) -> Result<()> {
        self.process().ask_to_end()?;
        self.process().gone()?;
        tear_down()
    }

    fn process(&self) -> Process {
        Process::named(&self.root, "outside")
    }

    fn folder(&self) -> PathBuf {
        self.root.join("outside")
    }

    fn lay_out(&self, address: &str) -> Result<()> {
        let folder = self.folder();
        make_folder(&folder)?;
        let at = folder.display();
        for key in ["host_key", "door_key"] {
            make_key(&folder.join(key))?;
        }
        let public = |key: &str| read(&folder.join(format!("{key}.pub")));
        write(
            &folder.join("authorized_keys"),
            &format!("restrict,command=\"{at}/stagedoor-outside\" {}", public("door_key")?),
        )?;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/outside/stagedoor-outside");
        copy(&shipped, &folder.join("stagedoor-outside"))?;
        fs::set_permissions(folder.join("stagedoor-outside"), fs::Permissions::from_mode(0o755))
            .context("cannot make the forced command a program")?;
        write(
            &folder.join("sshd_config"),
            &format!(
                "ListenAddress {address}:{PORT}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
                 PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 # The lab's folder lies below one that everybody may write to.\nStrictModes no\n"
            ),
        )?;
        write(&folder.join("known_hosts"), &format!("outside {}", public("host_key")?))?;
        Account::named(ACCOUNT)?.own(&folder)?;
        // The door's side of it: root's, as the door is here.
        write(
            &self.directions(),
            &format!(
                "Host outside\n  HostName {address}\n  Port {PORT}\n  User {ACCOUNT}\n  HostKeyAlias outside\n\
                 \x20 IdentityFile {at}/identity\n  IdentitiesOnly yes\n  UserKnownHostsFile {at}/known_hosts\n\
                 \x20 GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n  ConnectTimeout 5\n"
            ),
        )?;
        copy(&folder.join("door_key"), &folder.join("identity"))?;
        fs::set_permissions(folder.join("identity"), fs::Permissions::from_mode(0o600))
            .context("cannot keep the door's key to itself")
    }
}

/// A namespace whose only way out is a wire to this machine, which forwards nothing.
fn lay_wire() -> Result<()> {
    let ip = |words: &str| succeed(Command::new("ip").args(words.split(' ')));
    ip(&format!("netns add {NAMESPACE}"))?;
    ip(&format!("link add {} type veth peer name {} netns {NAMESPACE}", WIRE[0], WIRE[1]))?;
    ip(&format!("address add {}/30 dev {}", ENDS[0], WIRE[0]))?;
    ip(&format!("link set {} up", WIRE[0]))?;
    ip(&format!("-n {NAMESPACE} address add {}/30 dev {}", ENDS[1], WIRE[1]))?;
    ip(&format!("-n {NAMESPACE} link set {} up", WIRE[1]))?;
    // Its own loopback: an address of 127.0.0.0/8 is nobody there.
    ip(&format!("-n {NAMESPACE} link set lo up")).map(drop)
}

/// Harmless where there is none.
fn tear_down() -> Result<()> {
    run(Command::new("ip").args(["link", "delete", WIRE[0]]))?;
    run(Command::new("ip").args(["netns", "delete", NAMESPACE])).map(drop)
}
