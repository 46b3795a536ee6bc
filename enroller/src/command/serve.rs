//! `stagedoor-enroller serve`: the sidecar.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, SETTINGS, settings};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The settings, read once, at the start.
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    config: PathBuf,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let settings = settings(&self.config).map_err(|bad| Failure::Settings(Some(bad.words())))?;
        Ok(crate::serve::serve(settings)?)
    }
}
