//! `POST /v1/hold`: catalogs are kept in the queue for a moment.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

/// The longest that catalogs are kept, however often it is asked for: half of what the oldest agents wait for one.
pub const LONGEST_SECONDS: u16 = 60;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// From now on; 0 lets them go.
    pub seconds: u16,
}

/// What is so from now on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// How much longer they are kept; 0 where they are not.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_looks_like_this_on_the_wire() {
        assert_eq!(serde_json::to_string(&Hold { seconds: 60 }).unwrap(), r#"{"seconds":60}"#);
        assert_eq!(serde_json::to_string(&Holding { seconds: 59.5 }).unwrap(), r#"{"seconds":59.5}"#);
        assert!(serde_json::from_str::<Hold>(r#"{"seconds":60,"for":1}"#).is_err());
    }
}
