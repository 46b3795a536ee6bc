//! A HAProxy where the door stands, tuned by hand for Puppet: for comparison.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::door_ca::DoorCa;
use crate::lab::Lab;
use crate::machine::{DOOR, PORT, make_folder, read, write};
use crate::master::JRUBIES;
use crate::mom::Credentials;
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::run;

const SETTINGS: &str = include_str!("../../benches/peers/haproxy-storm.cfg");

pub(crate) struct HaProxy {
    root: PathBuf,
}

impl HaProxy {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Starts it, with the lab's certificates and masters.
    pub(crate) fn start(&self, lab: &Lab) -> Result<()> {
        let folder = self.root.join("haproxy");
        make_folder(&folder)?;
        let (mom, settings) = (lab.mom(), folder.join("haproxy.cfg"));
        let shown = both(&mom.issued(DOOR.name), &folder.join("shown.both"))?;
        let client = both(&DoorCa::at(&self.root).door(), &folder.join("client.both"))?;
        let server = |number: usize, host: &str| {
            format!("    server m{number} {host}:{PORT} check maxconn {JRUBIES} verifyhost {host}\n")
        };
        let servers: String =
            lab.masters().iter().enumerate().map(|(at, master)| server(at, master.host.name)).collect();
        let values = [
            ("@LISTEN@", format!("{}:{PORT}", DOOR.address)),
            ("@SHOWN@", shown.display().to_string()),
            ("@CA@", mom.ca_file().display().to_string()),
            ("@CRL@", mom.crl_file().display().to_string()),
            ("@CLIENT@", client.display().to_string()),
            ("@INTERVAL@", "5s".to_owned()),
            ("@PRIORITY@", "http-request set-priority-class int(-100) unless catalog".to_owned()),
            ("@SERVERS@", servers),
        ];
        let text = values.iter().fold(SETTINGS.to_owned(), |text, (sign, value)| text.replace(sign, value));
        write(&settings, &text)?;
        self.process().start(Command::new("haproxy").arg("-db").arg("-f").arg(&settings), None)?;
        until("HAProxy answers", Duration::from_secs(20), || {
            let address = format!("https://{}:{PORT}/status/v1/simple", DOOR.name);
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--cacert"]).arg(mom.ca_file()).arg(&address);
            Ok(when(run(&mut curl)?.output == "running"))
        })
        .map(drop)
    }

    /// Ends it.
    pub(crate) fn end(&self) -> Result<()> {
        self.process().ask_to_end()?;
        self.process().gone()
    }

    fn process(&self) -> Process {
        Process::named(&self.root, "haproxy")
    }
}

/// Certificate and key in one file, as HAProxy wants them.
fn both(own: &Credentials, file: &Path) -> Result<PathBuf> {
    write(file, &(read(&own.certificate)? + &read(&own.key)?))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{}: cannot protect it", file.display()))?;
    Ok(file.to_owned())
}
