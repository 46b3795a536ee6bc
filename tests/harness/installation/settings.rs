//! The enroller's settings and files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Machines, PUPPETDB, PuppetDb, enroller};
use crate::ca::PuppetCa;
use crate::door::Papers;
use crate::mom::{self, Mom};

/// A folder with the enroller's files, and what its settings say.
pub struct Paper {
    folder: PathBuf,
    head: String,
    doors: Vec<String>,
    /// Further text at the end of `enroller.toml`.
    pub more: String,
    /// Replacements in the text, each of which must be found.
    pub changed: Vec<(String, String)>,
}

impl Paper {
    pub(super) fn write(
        folder: &Path,
        ca: &PuppetCa,
        mom: &Mom,
        puppetdb: &PuppetDb,
        machines: &Machines,
    ) -> Self {
        ca.write(folder);
        enroller(ca).write(folder, "enroller");
        fs::write(folder.join("known_hosts"), "* ssh-ed25519 AAAA\n").expect("a folder of our own");
        fs::create_dir_all(folder.join("journal")).expect("a folder of our own");
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder.join("journal"), mode).expect("a folder of our own");
        let at = folder.display();
        let head = format!(
            "preset = \"open-source\"\n\n[mom]\ncertname = \"{mom_name}\"\naddress = \"{mom}\"\n\n\
             [puppetdb]\ncertname = \"{PUPPETDB}\"\naddress = \"{puppetdb}\"\n\n\
             [puppet_ca]\nbundle = \"{at}/ca_crt.pem\"\ncrl = \"{at}/ca_crl.pem\"\n\n\
             [identity]\ncertificate = \"{at}/enroller.pem\"\nkey = \"{at}/enroller.key\"\n\n\
             [install]\nby = \"script\"\n\n\
             [runs]\nrunner = \"ssh\"\npuppet = \"{puppet}\"\n\n\
             [code]\ncompare = \"command\"\ncommand = [\"{code}\", \"{{host}}\"]\n\n\
             [canary]\ncompiles = 3\n\n[watch]\nlasts = \"1s\"\n\n\
             [ssh]\nprogram = \"{ssh}\"\nknown_hosts = \"{at}/known_hosts\"\n\n[journal]\nfolder = \"{at}/journal\"\n\n",
            mom_name = mom::NAME,
            mom = mom.address(),
            puppetdb = puppetdb.address(),
            puppet = machines.program("puppet").display(),
            code = machines.program("code-version").display(),
            ssh = machines.ssh().display(),
        );
        Self { folder: folder.to_owned(), head, doors: Vec::new(), more: String::new(), changed: Vec::new() }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names a door, by the socket of its `admin.unix`.
    pub fn door(&mut self, certname: &str, papers: &Papers) {
        self.doors.push(format!(
            "[[door]]\ncertname = \"{certname}\"\nsocket = \"{}\"\nagents = \"{}\"\n\n",
            papers.file("admin.sock").display(),
            papers.listen
        ));
    }

    /// Has this text in place of that.
    pub fn change(&mut self, from: &str, to: &str) {
        self.changed.push((from.to_owned(), to.to_owned()));
    }

    /// The settings as text.
    ///
    /// # Panics
    /// When what is to be changed is not in them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}{}{}", self.head, self.doors.concat(), self.more);
        for (from, to) in &self.changed {
            assert!(text.contains(from), "{from} is not in the settings:\n{text}");
            text = text.replace(from, to);
        }
        text
    }

    /// Writes `enroller.toml`; says where it is.
    pub fn settle(&self) -> PathBuf {
        let path = self.folder.join("enroller.toml");
        fs::write(&path, self.text()).expect("a folder of our own");
        path
    }

    /// The lines of a master's latest journal, as they are.
    #[must_use]
    pub fn journal(&self, master: &str) -> String {
        let folder = self.folder.join("journal");
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("a folder of our own")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with(&format!("{master}.0")) && name.ends_with(".jsonl")
            })
            .collect();
        files.sort();
        files.pop().map(|path| fs::read_to_string(path).expect("a journal")).unwrap_or_default()
    }
}
