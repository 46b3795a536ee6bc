//! The private CA whose certificates alone open a sealed master's port, made with openssl: one root, one certificate
//! for the door, and a CRL that is empty but has to exist and must not expire.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::machine::{Account, DOOR, make_folder, write};
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

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn crl(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// The door's certificate for its connections to masters.
    pub(crate) fn door(&self) -> Credentials {
        Credentials {
            certname: DOOR.name.to_owned(),
            certificate: self.folder.join("door.pem"),
            key: self.folder.join("door.key"),
        }
    }

    pub(crate) fn make(&self) -> Result<()> {
        make_folder(&self.folder)?;
        write(&self.folder.join("ca.cnf"), CA_SETTINGS)?;
        write(&self.folder.join("index.txt"), "")?;
        self.openssl("req -x509 -newkey rsa:3072 -nodes -keyout ca.key -out ca.pem -days 3650 -subj")(
            "/CN=stagedoor lab door CA",
        )?;
        self.openssl("req -newkey rsa:3072 -nodes -keyout door.key -out door.csr -subj")(&format!(
            "/CN={}",
            DOOR.name
        ))?;
        self.openssl(
            "x509 -req -in door.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out door.pem -extensions door -extfile",
        )("ca.cnf")?;
        self.openssl("ca -gencrl -crldays 3650 -out crl.pem -config")("ca.cnf")?;
        // Jetty reads both as the masters' account.
        Account::named("puppet")?.own(&self.folder)
    }

    /// A revocation list of this CA that has run out.
    pub(crate) fn make_ended_crl(&self, file: &Path) -> Result<()> {
        self.openssl(
            "ca -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z -config ca.cnf -out",
        )(&file.to_string_lossy())
    }

    /// `openssl` in the CA's folder with a line of words and one last argument that may hold blanks.
    fn openssl<'a>(&'a self, words: &'a str) -> impl Fn(&str) -> Result<()> + 'a {
        move |last| {
            succeed(Command::new("openssl").args(words.split(' ')).arg(last).current_dir(&self.folder))
                .map(drop)
        }
    }
}

const CA_SETTINGS: &str = "\
[ca]
default_ca = door_ca
[door_ca]
database = index.txt
certificate = ca.pem
private_key = ca.key
default_md = sha256
[door]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = critical, clientAuth
";
