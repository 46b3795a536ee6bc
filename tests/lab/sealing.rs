//! How compile masters are sealed and opened: by a run of their own agent, which asks the MoM and gets the module in
//! `packaging/puppet`. The run is told by classification what the master shall be, as at a site.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::classification::ENVIRONMENT;
use crate::machine::{copy, make_folder};

/// What a run makes of a compile master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shall {
    BeSealed,
    /// As Puppet's packages leave it: Puppet's own CA, no header identity.
    BeOpen,
    /// As PE's own module leaves a sealed master when nobody overrides it: webserver.conf opened, header identity on.
    LoseItsSeal,
    /// Sealed by the wrong CA: Puppet's own, so that every agent gets in, and header identity on.
    LetAgentsIn,
}

impl Shall {
    /// As classification says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::BeSealed => "sealed",
            Self::BeOpen => "open",
            Self::LoseItsSeal => "unsealed",
            Self::LetAgentsIn => "sealed by puppet's ca",
        }
    }
}

/// The module as it is shipped.
pub(crate) fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/puppet/stagedoor")
}

/// The environment of the installation's own machines: the module, and the classes that apply it.
pub(crate) fn lay_out(code: &Path) -> Result<()> {
    let modules = code.join("environments").join(ENVIRONMENT).join("modules");
    for part in ["manifests", "functions", "types", "lib"] {
        copy_folder(&module().join(part), &modules.join("stagedoor").join(part))?;
    }
    copy(&module().join("metadata.json"), &modules.join("stagedoor/metadata.json"))?;
    copy_folder(&infrastructure().join("manifests"), &modules.join("infrastructure/manifests"))
}

/// The classes of the installation's own machines.
pub(crate) fn infrastructure() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/infrastructure")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}: cannot list it", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry without a name")?);
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}
