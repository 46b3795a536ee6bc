//! The environment caches of masters: what is asked for after a deployment, and what became of it on each master.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

use crate::certname::Certname;
use crate::environment::Environment;

/// The most environments in one [`Flush`]: each is a request to each master, so beyond it is better to name none.
pub const MOST_ENVIRONMENTS: usize = 1000;

/// Have every master forget what it has read of these environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flush {
    /// Which ones, at most [`MOST_ENVIRONMENTS`]; none named means every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Environment>,
}

/// What became of a [`Flush`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Each master that was on the roster, in its order.
    pub masters: Vec<FlushedMaster>,
}

/// What became of a [`Flush`] on one master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedMaster {
    /// Which one.
    pub certname: Certname,
    /// How it ended.
    pub outcome: Outcome,
    /// The status of its answer; absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it is not flushed, with what to do; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a [`Flush`] ended on one master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has forgotten, and reads the environments anew when they are next asked for.
    Flushed,
    /// It is open: the door has no identity there, and whoever flushed it before still does.
    Open,
    /// It may still compile from what it had read.
    Failed,
}

impl Outcome {
    /// The word for it on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flushed => "flushed",
            Self::Open => "open",
            Self::Failed => "failed",
        }
    }
}

impl Flushed {
    /// Whether some master may still compile from what it had read, of those that the door can flush.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.masters.iter().any(|master| master.outcome == Outcome::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_and_what_became_of_it_look_like_this_on_the_wire() {
        assert_eq!(serde_json::to_string(&Flush::default()).unwrap(), "{}");
        let text = r#"{"environments":["production","feature_42"]}"#;
        let asked: Flush = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&asked).unwrap(), text);
        let told = r#"{"masters":[{"certname":"m1","outcome":"flushed","status":204},{"certname":"m2","outcome":"failed","why":"cannot connect"},{"certname":"m3","outcome":"open","why":"ask it"}]}"#;
        let flushed: Flushed = serde_json::from_str(told).unwrap();
        assert!(flushed.failed());
        assert_eq!(serde_json::to_string(&flushed).unwrap(), told);
        for outcome in [Outcome::Flushed, Outcome::Open, Outcome::Failed] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }

    #[test]
    fn a_mistyped_field_or_a_name_that_is_none_is_refused() {
        for text in [
            r#"{"environment":"production"}"#,
            r#"{"environments":["a&b"]}"#,
            r#"{"environments":[""]}"#,
            r#"{"environments":"production"}"#,
        ] {
            assert!(serde_json::from_str::<Flush>(text).is_err(), "{text}");
        }
    }
}
