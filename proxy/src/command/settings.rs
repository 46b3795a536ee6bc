//! The settings' file, read for every command alike.

use std::io::IsTerminal as _;
use std::path::Path;

use stagedoor_config::mistake::{Mistake, report};
use stagedoor_config::proxy::Settings;
use stagedoor_config::read::{self, NotRead};

use super::Failure;
pub(super) use crate::observe::log::chain;

/// Why there are no settings.
#[derive(Debug)]
pub(super) enum Bad {
    /// The file cannot be read.
    File(NotRead),
    /// Its text is wrong.
    Text {
        /// Every mistake.
        mistakes: Vec<Mistake>,
        /// The text they are in.
        text: String,
    },
}

/// Reads settings.
pub(super) fn read(file: &Path) -> Result<Settings, Bad> {
    let text = read::text(file).map_err(Bad::File)?;
    Settings::parse(file, &text).map_err(|mistakes| Bad::Text { mistakes, text })
}

/// Reads settings; the failure says every mistake under its line.
pub(super) fn load(file: &Path) -> Result<Settings, Failure> {
    read(file).map_err(|bad| Failure::Settings(Some(bad.words())))
}

impl Bad {
    /// For a person, with colours where the standard error is a terminal.
    pub(super) fn words(&self) -> String {
        match self {
            Self::File(error) => format!("stagedoor: {}", chain(error)),
            Self::Text { mistakes, text } => report(mistakes, text, std::io::stderr().is_terminal()),
        }
    }
}
