//! The private CA whose certificates alone open a sealed master's port, as an operator makes it: `stagedoor door-ca` in a
//! folder that stays where it is, and copies of what goes to doors and masters.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::door::program;
use crate::machine::{DOOR, copy, files_in, make_folder, write};
use crate::mom::Credentials;
use crate::program::succeed;

#[derive(Debug)]
pub(crate) struct DoorCa {
    folder: PathBuf,
}

impl DoorCa {
    pub(crate) fn at(root: &Path) -> Self {
        Self { folder: root.join("door-ca") }
    }

    /// As masters and doors have it.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// As masters and doors have it.
    pub(crate) fn crl(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// The door's certificate for its connections to masters.
    pub(crate) fn door(&self) -> Credentials {
        self.credentials(DOOR.name)
    }

    pub(crate) fn make(&self) -> Result<()> {
        make_folder(&self.folder)?;
        self.command(&["init"])?;
        self.issue(DOOR.name)?;
        self.hand_out()
    }

    /// A certificate for another door.
    pub(crate) fn issue(&self, name: &str) -> Result<Credentials> {
        self.command(&["issue", name, "--out", &self.folder.to_string_lossy()])?;
        Ok(self.credentials(name))
    }

    /// Takes back what was issued to a door; masters go on believing it until they have the new list.
    pub(crate) fn revoke(&self, name: &str) -> Result<()> {
        self.command(&["revoke", name])
    }

    /// Copies to where doors and masters have it.
    pub(crate) fn hand_out(&self) -> Result<()> {
        copy(&self.kept().join("ca.pem"), &self.certificate())?;
        copy(&self.kept().join("crl.pem"), &self.crl())
    }

    /// A revocation list of this CA that has run out, which its own command would not make.
    pub(crate) fn make_ended_crl(&self, file: &Path) -> Result<()> {
        let key =
            files_in(&self.kept())?.into_iter().find(|path| path.extension().is_some_and(|x| x == "key"));
        write(&self.folder.join("ended.cnf"), ENDED_CRL)?;
        write(&self.folder.join("index.txt"), "")?;
        let mut openssl = Command::new("openssl");
        openssl.args(["ca", "-gencrl", "-config", "ended.cnf", "-crl_lastupdate", "20200101000000Z"]);
        openssl
            .args(["-crl_nextupdate", "20200102000000Z", "-keyfile"])
            .arg(key.context("the CA has no key")?);
        openssl.arg("-cert").arg(self.certificate()).arg("-out").arg(file);
        succeed(openssl.current_dir(&self.folder)).map(drop)
    }

    fn command(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new(program()?);
        command.arg("door-ca").args(words).arg("--folder").arg(self.kept());
        succeed(&mut command).map(drop)
    }

    /// What never leaves its machine.
    fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    fn credentials(&self, name: &str) -> Credentials {
        Credentials {
            certname: name.to_owned(),
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        }
    }
}

const ENDED_CRL: &str = "\
[ca]
default_ca = door_ca
[door_ca]
database = index.txt
default_md = sha256
";
