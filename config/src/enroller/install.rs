//! How the agent comes onto a new machine.
#![deny(clippy::disallowed_methods)]

use std::path::PathBuf;

use super::Preset;
use super::runner::command;
use crate::document::{Document, Section};

/// What brings the agent, and where it is to look for environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// What brings it.
    pub by: By,
    /// The folder of environments, where it is not Puppet's own.
    pub environmentpath: Option<PathBuf>,
}

/// What brings the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The Master of Masters' own `/packages/current/install.bash`.
    Script,
    /// Its package is there already: only its settings are written.
    Settings,
    /// A program here, with its arguments, [`super::HOST`] among them.
    Command(Vec<String>),
}

/// `[install]`.
pub(super) fn install(
    root: &mut Section<'_>,
    preset: Option<Preset>,
    doc: &mut Document<'_>,
) -> Option<Install> {
    let mut section = root.table("install", doc);
    let expected = "\"script\", \"settings\" or \"command\"";
    let word = match section.take("by", doc) {
        Some(entry) => entry.text(doc, expected, |text| {
            ["script", "settings", "command"].into_iter().find(|word| *word == text)
        }),
        None => Some(if preset == Some(Preset::OpenSource) { "settings" } else { "script" }),
    };
    let written = section.take("command", doc);
    let by = match (word, written) {
        (Some("command"), Some(entry)) => command(&entry, doc).map(By::Command),
        (Some("command"), None) => {
            section.missing("command", doc, super::runner::COMMAND);
            None
        }
        (Some(word), entry) => {
            if let Some(entry) = entry {
                entry.wrong(doc, "nothing: this key belongs to by = \"command\"");
            }
            Some(if word == "script" { By::Script } else { By::Settings })
        }
        (None, _) => None,
    };
    let environmentpath = section.take("environmentpath", doc).map(|entry| entry.folder(doc));
    section.finish(doc);
    let environmentpath = match environmentpath {
        Some(written) => Some(written?),
        None => None,
    };
    Some(Install { by: by?, environmentpath })
}
