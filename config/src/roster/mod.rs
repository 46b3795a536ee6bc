//! The roster: the admitted compile masters, and those that are warmed for it, under a generation number.
//!
//! It is a value. Every change makes a new one whose generation is one higher, so that two operators cannot undo
//! each other unseen: whoever names the generation they looked at is refused once it has moved on. A change that
//! would change nothing gives the same roster back, so that asking twice is harmless.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the roster and what may be done to it |
//! | `file` | the file's text, both ways |
#![deny(clippy::disallowed_methods)]

mod file;
#[cfg(test)]
mod tests;

use std::num::NonZero;

use crate::certname::Certname;
use crate::master::{HEADER_LIMITS, Kind, MOST_JRUBIES, Master, Standing, is_host_and_port};
use crate::nearest::nearest;

/// The version of the file format this program reads and writes.
pub const VERSION: u64 = 1;

/// The most masters on one roster. The largest known installations have a few dozen; each costs a health check
/// every few seconds and a place in every decision.
pub const MOST_MASTERS: usize = 1_000;

/// The compile masters that agents are sent to, those that they will be sent to, and those that finish what they have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// Counts up by one with every change.
    pub generation: u64,
    /// In the order they came; no certname twice.
    pub masters: Vec<Master>,
}

/// Why a change was refused. [`RosterRefusal::hint`] says the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterRefusal {
    /// Somebody else changed the roster since it was looked at.
    #[error("the roster is at generation {found}, not at {expected}")]
    MovedOn {
        /// What the asker had looked at.
        expected: u64,
        /// What is in force.
        found: u64,
    },
    /// No such master.
    #[error("{certname} is not on the roster")]
    Unknown {
        /// Who was named.
        certname: Certname,
        /// Who may have been meant.
        nearest: Option<Certname>,
    },
    /// A master of this name is there with another address, kind or header limit.
    #[error("{} is on the roster already, otherwise: {}", .there.certname, as_it_stands(.there))]
    Differs {
        /// As it stands on the roster.
        there: Box<Master>,
    },
    /// An operator drains it; admitting it again would undo that unseen.
    #[error("{certname} is draining")]
    Draining {
        /// Who was named.
        certname: Certname,
    },
    /// It still takes requests.
    #[error("{certname} is admitted and may have requests under way")]
    NotDrained {
        /// Who was named.
        certname: Certname,
    },
    /// It is past being warmed: agents are sent to it, or were.
    #[error("{certname} is {}: only a master that is not on the roster can be warmed", .standing.name())]
    PastWarm {
        /// Who was named.
        certname: Certname,
        /// How it stands.
        standing: Standing,
    },
    /// There is nothing to drain: no agent is sent to it.
    #[error("{certname} is warm and takes no requests")]
    Warm {
        /// Who was named.
        certname: Certname,
    },
    /// [`MOST_MASTERS`] are there.
    #[error("the roster holds {MOST_MASTERS} masters, the most it may")]
    Full,
    /// A master is connected to by name, so its certname must be a host name.
    #[error("{certname} is no host name")]
    NotAHostName {
        /// Who was named.
        certname: Certname,
    },
    /// Nothing can be connected to there.
    #[error("{address:?} is no address")]
    Address {
        /// What was given.
        address: String,
    },
    /// Another name at the same address is of the other kind.
    #[error("{address} is {}'s, which is {}", .there, .kind.name())]
    Both {
        /// What was given.
        address: String,
        /// Who stands there already.
        there: Certname,
        /// As what.
        kind: Kind,
    },
    /// A sealed master was said to have a check, or an open one to be isolated.
    #[error("a master cannot be both sealed and open")]
    TwoKinds,
    /// More JRubies than [`MOST_JRUBIES`].
    #[error("{jrubies} JRubies are out of range")]
    Jrubies {
        /// What was given.
        jrubies: NonZero<u16>,
    },
    /// A header limit outside [`HEADER_LIMITS`].
    #[error("a header limit of {header_limit} bytes is out of range")]
    HeaderLimit {
        /// What was given.
        header_limit: usize,
    },
}

impl RosterRefusal {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::MovedOn { found, .. } => {
                format!("look at it again with `stagedoor roster show`, then ask with generation {found}")
            }
            Self::Unknown { nearest: Some(near), .. } => format!("did you mean {near}?"),
            Self::Unknown { nearest: None, .. } => "see who is there with `stagedoor roster show`".to_owned(),
            Self::Differs { there } if there.standing == Standing::Warm => {
                "to change it, retire it, which nothing has to be drained for, and put it there anew"
                    .to_owned()
            }
            Self::Differs { .. } => "to change it, drain it, retire it and admit it anew".to_owned(),
            Self::Draining { certname } => {
                format!("to let it take requests again, `stagedoor roster undrain {certname}`")
            }
            Self::NotDrained { certname } => format!(
                "drain it first with `stagedoor roster drain {certname}` and see it finish, or retire it with --force: it \
                 finishes what it has unseen"
            ),
            Self::PastWarm { certname, .. } => {
                format!(
                    "to warm it anew, drain it and retire it with `stagedoor roster retire {certname}` first"
                )
            }
            Self::Warm { certname } => format!(
                "let it take requests with `stagedoor roster admit {certname}`, or take it off the roster with \
                 `stagedoor roster retire {certname}`"
            ),
            Self::Full => "retire a master first".to_owned(),
            Self::NotAHostName { .. } => "letters, digits, `-`, `_` and `.`, in lower case".to_owned(),
            Self::Address { .. } => "a host and a port, such as \"compile1.example.com:8140\"".to_owned(),
            Self::Both { there, .. } => format!(
                "a master is sealed or open, never both: retire {there} first, or correct the address"
            ),
            Self::TwoKinds => "an isolation goes with a sealed master, a check with an open one".to_owned(),
            Self::Jrubies { .. } => format!("from 1 to {MOST_JRUBIES}"),
            Self::HeaderLimit { .. } => {
                format!("from {} to {} bytes", HEADER_LIMITS.start(), HEADER_LIMITS.end())
            }
        }
    }
}

impl Roster {
    /// The master of this name.
    #[must_use]
    pub fn master(&self, certname: &Certname) -> Option<&Master> {
        self.masters.iter().find(|master| master.certname == *certname)
    }

    /// Lets a master take requests, one that is warm or one that comes.
    ///
    /// # Errors
    /// It is there otherwise or is draining, the roster is full or has moved on, or the master's fields are wrong.
    pub fn admit(&self, master: Master, generation: Option<u64>) -> Result<Self, RosterRefusal> {
        match self.alike(&master)? {
            None => self.join(Master { standing: Standing::Admitted, ..master }, generation),
            Some(Standing::Admitted) => Ok(self.clone()),
            Some(Standing::Warm) => self.stand(&master.certname, Standing::Admitted, generation),
            Some(Standing::Draining) => Err(RosterRefusal::Draining { certname: master.certname }),
        }
    }

    /// Puts a master on the roster that gets no request of any agent until it is admitted.
    ///
    /// # Errors
    /// It is there otherwise or is past that, the roster is full or has moved on, or the master's fields are wrong.
    pub fn warm(&self, master: Master, generation: Option<u64>) -> Result<Self, RosterRefusal> {
        match self.alike(&master)? {
            None => self.join(Master { standing: Standing::Warm, ..master }, generation),
            Some(Standing::Warm) => Ok(self.clone()),
            Some(standing) => Err(RosterRefusal::PastWarm { certname: master.certname, standing }),
        }
    }

    /// How the master of this name stands, whose entry is the same otherwise; none where there is none.
    fn alike(&self, master: &Master) -> Result<Option<Standing>, RosterRefusal> {
        match self.master(&master.certname) {
            None => Ok(None),
            Some(there) if *there == (Master { standing: there.standing, ..master.clone() }) => {
                Ok(Some(there.standing))
            }
            Some(there) => Err(RosterRefusal::Differs { there: Box::new(there.clone()) }),
        }
    }

    fn join(&self, master: Master, generation: Option<u64>) -> Result<Self, RosterRefusal> {
        self.is_at(generation)?;
        if Certname::parse_host(master.certname.as_str()).is_err() {
            return Err(RosterRefusal::NotAHostName { certname: master.certname });
        }
        if !is_host_and_port(&master.address) {
            return Err(RosterRefusal::Address { address: master.address });
        }
        if !HEADER_LIMITS.contains(&master.header_limit) {
            return Err(RosterRefusal::HeaderLimit { header_limit: master.header_limit });
        }
        if let Some(jrubies) = master.jrubies.filter(|jrubies| jrubies.get() > MOST_JRUBIES) {
            return Err(RosterRefusal::Jrubies { jrubies });
        }
        if let Some(there) = self.of_other_kind(&master) {
            let (kind, there) = (there.kind, there.certname.clone());
            return Err(RosterRefusal::Both { address: master.address, there, kind });
        }
        if self.masters.len() >= MOST_MASTERS {
            return Err(RosterRefusal::Full);
        }
        let mut next = self.next();
        next.masters.push(master);
        Ok(next)
    }

    /// Lets a master finish what it has and take nothing new.
    ///
    /// # Errors
    /// It is not there or is warm, or the roster has moved on.
    pub fn drain(&self, certname: &Certname, generation: Option<u64>) -> Result<Self, RosterRefusal> {
        self.is_not_warm(certname)?;
        self.stand(certname, Standing::Draining, generation)
    }

    /// Lets a draining master take requests again.
    ///
    /// # Errors
    /// It is not there or is warm, or the roster has moved on.
    pub fn undrain(&self, certname: &Certname, generation: Option<u64>) -> Result<Self, RosterRefusal> {
        self.is_not_warm(certname)?;
        self.stand(certname, Standing::Admitted, generation)
    }

    fn is_not_warm(&self, certname: &Certname) -> Result<(), RosterRefusal> {
        match self.known(certname)?.standing {
            Standing::Warm => Err(RosterRefusal::Warm { certname: certname.clone() }),
            Standing::Admitted | Standing::Draining => Ok(()),
        }
    }

    /// Takes a master off the roster: one that is draining or warm, or with `force` any.
    ///
    /// # Errors
    /// It is not there, it still takes requests, or the roster has moved on.
    pub fn retire(
        &self,
        certname: &Certname,
        force: bool,
        generation: Option<u64>,
    ) -> Result<Self, RosterRefusal> {
        let there = self.known(certname)?;
        self.is_at(generation)?;
        if there.standing == Standing::Admitted && !force {
            return Err(RosterRefusal::NotDrained { certname: certname.clone() });
        }
        let mut next = self.next();
        next.masters.retain(|master| master.certname != *certname);
        Ok(next)
    }

    /// Who stands at this master's address as the other kind.
    fn of_other_kind(&self, master: &Master) -> Option<&Master> {
        self.masters.iter().find(|there| {
            there.address.eq_ignore_ascii_case(&master.address)
                && there.kind.is_sealed() != master.kind.is_sealed()
        })
    }

    fn stand(
        &self,
        certname: &Certname,
        standing: Standing,
        generation: Option<u64>,
    ) -> Result<Self, RosterRefusal> {
        if self.known(certname)?.standing == standing {
            return Ok(self.clone());
        }
        self.is_at(generation)?;
        let mut next = self.next();
        for master in next.masters.iter_mut().filter(|master| master.certname == *certname) {
            master.standing = standing;
        }
        Ok(next)
    }

    /// The master of this name, or who may have been meant.
    ///
    /// # Errors
    /// [`RosterRefusal::Unknown`].
    pub fn known(&self, certname: &Certname) -> Result<&Master, RosterRefusal> {
        self.master(certname).ok_or_else(|| {
            let near = nearest(certname.as_str(), self.masters.iter().map(|master| master.certname.as_str()));
            let near = self.masters.iter().find(|master| Some(master.certname.as_str()) == near);
            RosterRefusal::Unknown {
                certname: certname.clone(),
                nearest: near.map(|master| master.certname.clone()),
            }
        })
    }

    /// Whoever names no generation takes the roster as it is.
    fn is_at(&self, generation: Option<u64>) -> Result<(), RosterRefusal> {
        match generation {
            Some(expected) if expected != self.generation => {
                Err(RosterRefusal::MovedOn { expected, found: self.generation })
            }
            _ => Ok(()),
        }
    }

    fn next(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), masters: self.masters.clone() }
    }
}

/// For a refusal: everything in which an entry may differ.
fn as_it_stands(master: &Master) -> String {
    let Master { address, kind, header_limit, jrubies, .. } = master;
    let kind = match kind {
        Kind::Sealed { isolation } => format!("sealed by {}", isolation.name()),
        Kind::Open { check } => format!("open with a {} check", check.name()),
    };
    let jrubies = jrubies.map(|jrubies| format!(", {jrubies} JRubies")).unwrap_or_default();
    format!("{address}, {kind}, a header limit of {header_limit} bytes{jrubies}")
}
