//! Masters that a firewall isolates, and the host outside that is to test it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use stagedoor_config::master::{Isolation, Kind};
use stagedoor_config::proxy::Settings;
use stagedoor_config::roster::Roster;

use super::Found;

#[derive(Debug, thiserror::Error)]
#[error("{}: expected a program that this user may run, by its path", .0.display())]
struct NoProgram(PathBuf);

impl Found {
    /// Holds the roster against `[outside]`. Nobody is asked.
    pub(super) fn outside(&mut self, settings: &Settings, roster: &Roster) {
        let firewall = Kind::Sealed { isolation: Isolation::Firewall };
        let isolated = roster.masters.iter().find(|master| master.kind == firewall);
        match (settings.outside.first(), isolated) {
            (None, Some(master)) => self.warn(
                "roster.file",
                format!(
                    "{} is isolated by a firewall and no host outside can test that: it is used and shown as untested; \
                     name a command in [outside]",
                    master.certname
                ),
            ),
            (Some(program), _) => {
                let program = Path::new(program);
                let runs = program.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
                if !runs {
                    self.error("outside.command", &NoProgram(program.to_owned()));
                }
            }
            (None, None) => {}
        }
    }
}
