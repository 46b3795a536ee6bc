//! `GET /v1/overview`: what the door's page and `stagedoor top` show, all of one moment.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

use super::enrollment::Enrollment;
use super::seats::Queue;
use super::{MastersView, Ready};
use crate::certname::Certname;

/// One door at one moment. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The program's.
    pub version: String,
    /// The moment.
    pub now: u64,
    /// When the door was started.
    pub started: u64,
    /// Whether agents should be sent to it.
    pub ready: Ready,
    /// Agent connections that are open.
    pub connections: u64,
    /// Every master on the roster.
    pub masters: MastersView,
    /// Who waits for a JRuby.
    pub queue: Queue,
    /// How catalogs went of late.
    pub compile: Compile,
    /// Masters that were put out and came back, the latest first.
    pub events: Vec<Event>,
    /// What the door refused of late, by why, the latest first.
    pub refusals: Vec<Refused>,
    /// How the roster changed since the door was started, the latest first.
    pub roster: Vec<RosterChange>,
    /// When certificates end and lists are due, the first first.
    pub expiry: Vec<Ends>,
    /// Enrollments that were told to this door, the latest first.
    pub enrollments: Vec<Enrollment>,
}

/// How catalogs went: one slot after the other, the oldest first, the last of them not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compile {
    /// All of them together.
    pub all: Slot,
    /// Catalogs that were compiled in each second of the last minute's slots that are over.
    pub per_second: f64,
    /// How long one slot is.
    pub slot_seconds: u32,
    /// Catalogs by when their answer had gone.
    pub slots: Vec<Slot>,
}

/// The catalogs of a few seconds, from their request's head to the last byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// How many were compiled.
    pub compiled: u32,
    /// How many a master could not make.
    pub failed: u32,
    /// Half of those that were compiled took no longer; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    /// 95 of 100 took no longer; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<f64>,
}

/// A master was put out, or came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: u64,
    /// Which master.
    pub master: Certname,
    /// Whether it gets requests again.
    pub back: bool,
    /// Why, in words.
    pub why: String,
}

/// What the door refused for one reason, all of its kind together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The latest.
    pub at: u64,
    /// What was asked for: a class, `none` where the request had none, `handshake` where it did not come to a request.
    pub class: String,
    /// Why, in the word that metrics and the access log have for it.
    pub reason: String,
    /// How many since the door was started.
    pub count: u64,
}

/// The roster changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterChange {
    /// When.
    pub at: u64,
    /// Its generation from then on.
    pub generation: u64,
    /// What is different, a few words for each.
    pub changes: Vec<String>,
}

/// Something ends on a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// The word that metrics have for it.
    pub what: String,
    /// Whether it is a list of revoked certificates, whose next one is due then.
    pub list: bool,
    /// When.
    pub at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_looks_like_this_on_the_wire() {
        let text = concat!(
            r#"{"version":"0.1.0","now":1800000000,"started":1790000000,"ready":{"ready":true,"why":[]},"connections":12,"#,
            r#""masters":{"generation":3,"masters":[]},"queue":{"small":0,"catalogs":0,"expected_seconds":0.0},"#,
            r#""compile":{"all":{"compiled":2,"failed":1,"p50_seconds":4.5,"p95_seconds":9.0},"per_second":0.2,"slot_seconds":10,"#,
            r#""slots":[{"compiled":0,"failed":0},"#,
            r#"{"compiled":2,"failed":1,"p50_seconds":4.5,"p95_seconds":9.0}]},"#,
            r#""events":[{"at":1799999000,"master":"c1","back":false,"why":"no answer in time"}],"#,
            r#""refusals":[{"at":1799999000,"class":"catalog","reason":"no_certificate","count":3}],"#,
            r#""roster":[{"at":1799999000,"generation":3,"changes":["c1 admitted"]}],"#,
            r#""expiry":[{"what":"puppet_ca","list":true,"at":1900000000}],"enrollments":[]}"#
        );
        let overview: Overview = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&overview).unwrap(), text);
    }
}
