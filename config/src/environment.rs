//! The name of an environment.
//!
//! It stands in paths, queries and metrics, and becomes a folder on a master's disk, so it is checked once, here, and
//! carried as a type where it is passed on.
#![deny(clippy::disallowed_methods)]

use std::fmt;

use serde::{Deserialize, Serialize};

/// Puppet states no greatest length; branch names become environments, and no file system that holds one goes beyond.
const LONGEST: usize = 255;

/// A name that Puppet allows for an environment: letters, digits and `_`, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Environment(String);

/// A text that Puppet would not take for an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no environment: expected letters, digits and `_`, at most {LONGEST} of them")]
pub struct NoEnvironment(String);

impl Environment {
    /// An environment by its name.
    ///
    /// # Errors
    /// Puppet would not take it for one.
    pub fn parse(text: &str) -> Result<Self, NoEnvironment> {
        if is_legal(text) { Ok(Self(text.to_owned())) } else { Err(NoEnvironment(text.to_owned())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether Puppet allows this name for an environment.
#[must_use]
pub fn is_legal(name: &str) -> bool {
    matches!(name.len(), 1..=LONGEST) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl TryFrom<String> for Environment {
    type Error = NoEnvironment;

    fn try_from(text: String) -> Result<Self, NoEnvironment> {
        if is_legal(&text) { Ok(Self(text)) } else { Err(NoEnvironment(text)) }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_more_than_a_name_is_no_environment() {
        assert_eq!(Environment::parse("feature_42").unwrap().as_str(), "feature_42");
        assert!(Environment::parse(&"e".repeat(255)).is_ok());
        let longer = "e".repeat(256);
        for text in ["", "a b", "a-b", "a/b", "..", "a%20b", "a&environment=b", "ä", "a\n", longer.as_str()]
        {
            assert!(Environment::parse(text).is_err(), "{text:?}");
            assert!(serde_json::from_value::<Environment>(text.into()).is_err(), "{text:?}");
        }
    }
}
