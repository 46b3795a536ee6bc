//! The catalogs of one master: how many it compiled of late, for which environments and how quickly, and what became of
//! its canary's.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

/// What stands for environments beyond those that are counted by name, and for catalogs that named none. An environment
/// of this name is counted here as well.
pub const OTHER: &str = "other";

/// What one master made of agents' catalogs within the last minutes, as this door saw it. A canary's are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogs {
    /// How many minutes are looked back on; the present one, which is not over, is the last.
    pub minutes: u32,
    /// The busiest first; none that had no catalog within that time.
    pub environments: Vec<EnvironmentCatalogs>,
    /// Those that failed since it joined, whatever their environment: what an enrollment counts by.
    #[serde(default)]
    pub failed_in_all: u64,
}

/// What one master made of the catalogs of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentCatalogs {
    /// As the agents asked for it, or [`OTHER`].
    pub environment: String,
    /// Catalogs that it answered with 2xx.
    pub compiled: u64,
    /// Catalogs that it answered with 5xx of its own, unless it refused them before any work, or not at all although it
    /// was asked. What it answered with 4xx counts as neither.
    pub failed: u64,
    /// The mean time of those that were compiled, from when it was asked to the head of its answer, in milliseconds; 0
    /// where none was.
    pub mean_ms: u64,
}

/// What one master made of its canary's catalogs since it joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryCatalogs {
    /// As [`EnvironmentCatalogs::compiled`].
    pub compiled: u64,
    /// As [`EnvironmentCatalogs::failed`].
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_look_like_this_on_the_wire() {
        let text = r#"{"minutes":10,"environments":[{"environment":"production","compiled":12,"failed":1,"mean_ms":843}],"failed_in_all":7}"#;
        let catalogs: Catalogs = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&catalogs).unwrap(), text);
        let text = r#"{"compiled":3,"failed":1}"#;
        let canary: CanaryCatalogs = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&canary).unwrap(), text);
    }
}
