//! What the MoM makes of each node that asks it: an external node classifier that looks into one file for each certname.
//! A node without one is an agent like any other; the machines of the installation itself are in an environment of their
//! own, with the class of what they are. The files are read at each run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::door_ca::DoorCa;
use crate::machine::{CONSOLE, DOOR, ENROLLER, Host, MASTERS, MOM, PUPPETDB, write};
use crate::sealing::Shall;

/// The environment of the installation's own machines.
pub(crate) const ENVIRONMENT: &str = "infrastructure";

#[derive(Debug)]
pub(crate) struct Classification {
    root: PathBuf,
}

impl Classification {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The program that the MoM asks.
    pub(crate) fn program(&self) -> PathBuf {
        self.root.join(MOM.name).join("classifier")
    }

    /// What it says of this node.
    pub(crate) fn of(&self, host: &Host) -> PathBuf {
        self.folder().join(format!("{}.yaml", host.name))
    }

    pub(crate) fn lay_out(&self) -> Result<()> {
        let program = self.program();
        write(
            &program,
            &format!(
                "#!/bin/sh\nfile={}/$1.yaml\nif [ -e \"$file\" ]; then cat \"$file\"; else echo 'environment: production'; fi\n",
                self.folder().display()
            ),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{}: cannot make it a program", program.display()))?;
        self.say(&MOM, "")?;
        for host in &MASTERS {
            self.make_master(host, Shall::BeSealed)?;
        }
        // Who asks PuppetDB and the console whatever master there is.
        let always = format!("    always: [{}, {}, {ENROLLER}]\n", MOM.name, PUPPETDB.name);
        for (host, class) in [(&PUPPETDB, "puppetdb"), (&CONSOLE, "console")] {
            let folder = self.root.join(host.name);
            self.say(
                host,
                &format!("  infrastructure::{class}:\n    folder: {}\n{always}", folder.display()),
            )?;
        }
        Ok(())
    }

    /// From its next run this node is a compile master that shall be so.
    pub(crate) fn make_master(&self, host: &Host, shall: Shall) -> Result<()> {
        let door_ca = DoorCa::at(&self.root);
        self.say(
            host,
            &format!(
                "  infrastructure::compile_master:\n    folder: {root}/{name}\n    package: {root}/packages/{name}\n\
                 \x20   shall: {shall}\n    doors: [{door}]\n    door_ca: {ca}\n    door_crl: {crl}\n",
                root = self.root.display(),
                name = host.name,
                shall = shall.word(),
                door = DOOR.name,
                ca = door_ca.certificate().display(),
                crl = door_ca.crl().display(),
            ),
        )
    }

    /// From its next run this node has no class of the installation's.
    pub(crate) fn make_nothing(&self, host: &Host) -> Result<()> {
        self.say(host, "")
    }

    /// From now on no catalog of this node compiles, until `lay_out` says again what each is.
    pub(crate) fn break_catalogs_of(&self, host: &Host) -> Result<()> {
        self.say(host, "  infrastructure::nobody_wrote_this: {}\n")
    }

    fn say(&self, host: &Host, classes: &str) -> Result<()> {
        let classes = if classes.is_empty() { " {}\n".to_owned() } else { format!("\n{classes}") };
        write(&self.of(host), &format!("---\nenvironment: {ENVIRONMENT}\nclasses:{classes}"))
    }

    fn folder(&self) -> PathBuf {
        self.root.join(MOM.name).join("nodes")
    }
}
