//! A master's seats, and the queue for them.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

/// How many requests one master serves at once, and who has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    /// How many JRubies it has.
    pub jrubies: u32,
    /// Who says so.
    pub known: Known,
    /// How many of them are this door's.
    pub ours: u32,
    /// How many requests of this door's hold one.
    pub taken: u32,
    /// How many others have borrowed, as it said last.
    pub others: u32,
    /// Whether its pool is locked, as for a deploy: it is given nothing until it is unlocked.
    pub locked: bool,
}

/// Who says how many JRubies a master has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// The roster.
    Roster,
    /// Its own gauges.
    Gauges,
    /// Nobody.
    Assumed,
}

/// `GET /v1/queue`: who waits for a seat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Requests that hold a seat for milliseconds.
    pub small: usize,
    /// Catalogs.
    pub catalogs: usize,
    /// How long the one has waited that has waited longest; absent where nobody waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<f64>,
    /// How long a catalog that came now would wait.
    pub expected_seconds: f64,
    /// How much longer catalogs are kept while PuppetDB restarts; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_and_queue_look_like_this_on_the_wire() {
        let text = r#"{"jrubies":4,"known":"gauges","ours":2,"taken":1,"others":2,"locked":false}"#;
        let seats: Seats = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&seats).unwrap(), text);
        let text = r#"{"small":2,"catalogs":7,"oldest_seconds":1.5,"expected_seconds":12.25}"#;
        let queue: Queue = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&queue).unwrap(), text);
    }
}
