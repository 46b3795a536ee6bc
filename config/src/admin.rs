//! What the admin doors answer and what they are asked: JSON on the wire, the same types at both ends.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /ready` | | [`Ready`], 200 or 503 |
//! | `GET /v1/roster` | | [`RosterView`] |
//! | `GET /v1/masters` | | [`MastersView`] |
//! | `GET /v1/queue` | | [`seats::Queue`] |
//! | `GET /v1/overview` | | [`overview::Overview`] |
//! | `POST /v1/roster/admit`, `/warm` | [`Admit`] | [`RosterView`] |
//! | `POST /v1/roster/drain`, `/undrain` | [`Move`] | [`RosterView`] |
//! | `POST /v1/roster/retire` | [`Retire`] | [`RosterView`] |
//! | `GET /v1/masters/NAME/status?level=LEVEL` | | the master's own, 200 or 503 |
//! | `POST /v1/flush` | [`flush::Flush`] | [`flush::Flushed`], 200, or 502 where a master failed |
//! | `POST /v1/hold` | [`hold::Hold`] | [`hold::Holding`] |
//! | `POST /v1/enrollments` | [`enrollment::Enrollment`] | the same, with when it was told |
//! | `POST /v1/judge` | [`judge::Judge`] | [`judge::Judged`] |
//!
//! Anything refused is a [`Refusal`]. Answers may gain fields, so readers ignore those they do not know; requests
//! with an unknown field are refused, since a mistyped `generation` would otherwise be a change without its guard.
#![deny(clippy::disallowed_methods)]

pub mod catalogs;
pub mod enrollment;
pub mod flush;
pub mod hold;
pub mod judge;
pub mod overview;
pub mod seats;

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use self::catalogs::{CanaryCatalogs, Catalogs};
use self::seats::Seats;
use crate::certname::Certname;
use crate::master::{Check, Isolation, JETTY_HEADER_LIMIT, Kind, Master, Standing};
use crate::proxy::PUPPET_PORT;
use crate::roster::{Roster, RosterRefusal};

/// Whether agents should be sent to this door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// True while a request that compiles would find a master.
    pub ready: bool,
    /// Each reason why not, as a sentence with what to do; empty when ready.
    pub why: Vec<String>,
}

/// The roster in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterView {
    /// Counts up by one with every change; a change may name it, to be refused if somebody was faster.
    pub generation: u64,
    /// In the order they came.
    pub masters: Vec<RosterEntry>,
}

/// One master as the roster has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The name its certificate must carry.
    pub certname: Certname,
    /// `host:port` to connect to.
    pub address: String,
    /// How it is protected: `kind`, and `isolation` of a sealed one or `check` of an open one.
    #[serde(flatten)]
    pub kind: Kind,
    /// Whether it takes new requests.
    pub standing: Standing,
    /// The most bytes of request head that it reads.
    pub header_limit: usize,
    /// How many catalogs it compiles at once; absent where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jrubies: Option<NonZero<u16>>,
}

impl From<&Master> for RosterEntry {
    fn from(master: &Master) -> Self {
        let Master { certname, address, kind, standing, header_limit, jrubies } = master.clone();
        Self { certname, address, kind, standing, header_limit, jrubies }
    }
}

impl From<&Roster> for RosterView {
    fn from(roster: &Roster) -> Self {
        let masters = roster.masters.iter().map(RosterEntry::from).collect();
        Self { generation: roster.generation, masters }
    }
}

/// Every master on the roster as the door sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MastersView {
    /// The roster's.
    pub generation: u64,
    /// In the roster's order.
    pub masters: Vec<MasterView>,
}

/// One master as the door sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterView {
    /// The name its certificate must carry.
    pub certname: Certname,
    /// `host:port` to connect to.
    pub address: String,
    /// How it is protected: `kind`, and `isolation` of a sealed one or `check` of an open one.
    #[serde(flatten)]
    pub kind: Kind,
    /// Whether the roster lets it take new requests.
    pub standing: Standing,
    /// What its health checks say.
    pub fit: Fit,
    /// Why it is unfit, in words; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it answers strangers; absent where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// Why it is not known to be sealed, in words, and whether it is used all the same; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_why: Option<String>,
    /// Requests that this door has at it now; connections, where it is open.
    pub in_flight: u32,
    /// Its JRubies; absent where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<Seats>,
    /// What it made of agents' catalogs lately; absent where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogs: Option<Catalogs>,
    /// What it made of its canary's catalogs; absent where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryCatalogs>,
}

/// What a master's health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// It answers that it is running.
    Fit,
    /// It does not.
    Unfit,
    /// Nobody knows yet.
    Unknown,
}

impl Fit {
    /// The word for it on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Unfit => "unfit",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a sealed master answers connections that show no certificate of a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seal {
    /// The last test was refused.
    Sealed,
    /// It answered: it gets no request.
    Unsealed,
    /// Nobody knows. It gets no request, except where nobody can test it.
    Untested,
}

impl Seal {
    /// The word for it on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Unsealed => "unsealed",
            Self::Untested => "untested",
        }
    }
}

/// The two kinds by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindName {
    /// Believes identity headers, and is reached by doors alone.
    Sealed,
    /// Ends agents' TLS itself.
    Open,
}

/// Let a master take requests, or put it on the roster to be warmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admit {
    /// The name its certificate must carry.
    pub certname: Certname,
    /// `host:port` to connect to; absent, its certname on Puppet's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Absent, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindName>,
    /// What keeps everybody but doors away from a sealed one; absent, the door CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// How an open one is asked whether it is fit; absent, by its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// The most bytes of request head that it reads; absent, Jetty's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_limit: Option<usize>,
    /// How many catalogs it compiles at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jrubies: Option<NonZero<u16>>,
    /// The generation that the asker looked at; absent, the roster is taken as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Admit {
    /// A master of this name with everything as it is unless said otherwise.
    #[must_use]
    pub const fn of(certname: Certname) -> Self {
        Self {
            certname,
            address: None,
            kind: None,
            isolation: None,
            check: None,
            header_limit: None,
            jrubies: None,
            generation: None,
        }
    }

    /// The master that is to be admitted or warmed.
    ///
    /// # Errors
    /// It is said to be both sealed and open.
    pub fn master(&self) -> Result<Master, RosterRefusal> {
        let kind = match (self.kind.unwrap_or(KindName::Sealed), self.isolation, self.check) {
            (KindName::Sealed, isolation, None) => Kind::Sealed { isolation: isolation.unwrap_or_default() },
            (KindName::Open, None, check) => Kind::Open { check: check.unwrap_or_default() },
            _ => return Err(RosterRefusal::TwoKinds),
        };
        Ok(Master {
            certname: self.certname.clone(),
            address: self.address.clone().unwrap_or_else(|| format!("{}:{PUPPET_PORT}", self.certname)),
            kind,
            standing: Standing::Admitted,
            header_limit: self.header_limit.unwrap_or(JETTY_HEADER_LIMIT),
            jrubies: self.jrubies,
        })
    }
}

/// Drain a master, or let it take requests again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Which one.
    pub certname: Certname,
    /// The generation that the asker looked at; absent, the roster is taken as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Take a master off the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Which one.
    pub certname: Certname,
    /// Also one that still takes requests; what it is doing is cut off.
    #[serde(default)]
    pub force: bool,
    /// The generation that the asker looked at; absent, the roster is taken as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Why something that was asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, in words.
    pub error: String,
    /// What was expected, or what to do.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_looks_like_this_on_the_wire() {
        let admit: Admit = serde_json::from_str(r#"{"certname":"compile1.example.com"}"#).unwrap();
        let roster = Roster::default().admit(admit.master().unwrap(), None).unwrap();
        assert_eq!(
            serde_json::to_string(&RosterView::from(&roster)).unwrap(),
            r#"{"generation":1,"masters":[{"certname":"compile1.example.com","address":"compile1.example.com:8140","kind":"sealed","isolation":"door-ca","standing":"admitted","header_limit":8192}]}"#
        );
    }

    #[test]
    fn a_warm_master_and_what_it_compiled_look_like_this_on_the_wire() {
        let text = r#"{"certname":"compile1","address":"compile1:8140","kind":"sealed","isolation":"door-ca","standing":"warm","fit":"fit","seal":"sealed","in_flight":0,"catalogs":{"minutes":10,"environments":[],"failed_in_all":0},"canary":{"compiled":3,"failed":0}}"#;
        let view: MasterView = serde_json::from_str(text).unwrap();
        assert_eq!((view.standing, view.canary.unwrap().compiled), (Standing::Warm, 3));
        assert_eq!(serde_json::to_string(&view).unwrap(), text);
        for standing in Standing::ALL {
            assert_eq!(serde_json::to_value(standing).unwrap(), standing.name());
        }
    }

    #[test]
    fn a_mistyped_field_of_a_change_is_refused_and_a_new_field_of_an_answer_is_not() {
        let typed = r#"{"certname":"a","generatoin":3}"#;
        assert!(serde_json::from_str::<Admit>(typed).is_err());
        assert!(serde_json::from_str::<Move>(typed).is_err());
        assert!(serde_json::from_str::<Retire>(typed).is_err());
        assert!(serde_json::from_str::<Ready>(r#"{"ready":true,"why":[],"since":1}"#).is_ok());
    }

    #[test]
    fn a_master_that_is_to_be_both_sealed_and_open_is_refused() {
        for both in [
            r#"{"certname":"a","check":"tcp"}"#,
            r#"{"certname":"a","kind":"sealed","check":"status"}"#,
            r#"{"certname":"a","kind":"open","isolation":"firewall"}"#,
        ] {
            let admit: Admit = serde_json::from_str(both).unwrap();
            assert_eq!(admit.master(), Err(RosterRefusal::TwoKinds), "{both}");
        }
        let open: Admit = serde_json::from_str(r#"{"certname":"a","kind":"open","jrubies":4}"#).unwrap();
        assert_eq!(open.master().unwrap().kind, Kind::Open { check: Check::Status });
        assert!(serde_json::from_str::<Admit>(r#"{"certname":"a","jrubies":0}"#).is_err());
    }

    #[test]
    fn a_master_is_told_without_what_is_not_known() {
        let view = MasterView {
            certname: Certname::parse_host("compile1").unwrap(),
            address: "compile1:8140".into(),
            kind: Kind::SEALED,
            standing: Standing::Draining,
            fit: Fit::Unknown,
            why: None,
            seal: Some(Seal::Untested),
            seal_why: None,
            in_flight: 3,
            seats: None,
            catalogs: None,
            canary: None,
        };
        let text = r#"{"certname":"compile1","address":"compile1:8140","kind":"sealed","isolation":"door-ca","standing":"draining","fit":"unknown","seal":"untested","in_flight":3}"#;
        assert_eq!(serde_json::to_string(&view).unwrap(), text);
        assert_eq!(serde_json::from_str::<MasterView>(text).unwrap(), view);
        for fit in [Fit::Fit, Fit::Unfit, Fit::Unknown] {
            assert_eq!(serde_json::to_value(fit).unwrap(), fit.name());
        }
        for seal in [Seal::Sealed, Seal::Unsealed, Seal::Untested] {
            assert_eq!(serde_json::to_value(seal).unwrap(), seal.name());
        }
    }
}
