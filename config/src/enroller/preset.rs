//! What goes without saying in each kind of installation.
#![deny(clippy::disallowed_methods)]

use super::Place;
use crate::master::{Check, Kind};

/// A kind of installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Puppet Enterprise 3.x.
    Pe3,
    /// Puppet Enterprise 2015.3 to 2018.1.
    Pe2015,
    /// Puppet Enterprise 2019 and later.
    Pe2019,
    /// Puppet Server without Puppet Enterprise, or OpenVox.
    OpenSource,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::Pe3, Self::Pe2015, Self::Pe2019, Self::OpenSource];

    /// The word for it in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pe3 => "pe-3",
            Self::Pe2015 => "pe-2015",
            Self::Pe2019 => "pe-2019",
            Self::OpenSource => "open-source",
        }
    }

    /// Whether there is a console with a classifier.
    #[must_use]
    pub const fn has_console(self) -> bool {
        !matches!(self, Self::OpenSource)
    }

    /// Whether there are RBAC tokens and an orchestrator: from 2015.3 on.
    #[must_use]
    pub const fn has_tokens(self) -> bool {
        matches!(self, Self::Pe2015 | Self::Pe2019)
    }

    /// Whether its servers run Java 7, which has no cipher suite in common with this program or with the door.
    #[must_use]
    pub const fn is_java_7(self) -> bool {
        matches!(self, Self::Pe3)
    }

    /// The runners that it can have, the usual one first.
    #[must_use]
    pub const fn runners(self) -> &'static [&'static str] {
        match self {
            // Its PuppetDB does not say of a report what has to be known, and a machine has but its latest.
            Self::Pe3 => &["mcollective", "ssh", "command"],
            Self::Pe2015 => &["orchestrator", "mcollective", "ssh", "command", "observe"],
            Self::Pe2019 => &["orchestrator", "ssh", "command", "observe"],
            Self::OpenSource => &["ssh", "command", "observe"],
        }
    }

    /// The documented order of the runs.
    #[must_use]
    pub(super) fn stages(self, puppetdb: bool) -> Vec<Vec<Place>> {
        let places = match self {
            Self::Pe3 => vec![Place::Master, Place::Puppetdb, Place::Console],
            // On one machine these three are one run, at its end.
            Self::Pe2015 | Self::Pe2019 => {
                vec![Place::Master, Place::Puppetdb, Place::Console, Place::Mom]
            }
            Self::OpenSource if puppetdb => vec![Place::Master, Place::Puppetdb],
            Self::OpenSource => vec![Place::Master],
        };
        places.into_iter().map(|place| vec![place]).collect()
    }

    /// What a new master is admitted as.
    #[must_use]
    pub(super) const fn kind(self) -> Kind {
        if self.is_java_7() { Kind::Open { check: Check::Tcp } } else { Kind::SEALED }
    }

    /// The extensions that a new master's certificate must have.
    #[must_use]
    pub(super) const fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Pe2019 => &["pp_auth_role=pe_compiler"],
            Self::Pe3 | Self::Pe2015 | Self::OpenSource => &[],
        }
    }

    /// Where the `puppet` program is.
    #[must_use]
    pub(super) const fn puppet(self) -> &'static str {
        match self {
            Self::Pe3 => "/opt/puppet/bin/puppet",
            Self::Pe2015 | Self::Pe2019 | Self::OpenSource => "/opt/puppetlabs/bin/puppet",
        }
    }
}
