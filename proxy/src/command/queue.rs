//! `stagedoor queue`: who waits for a JRuby.

use clap::Args;
use stagedoor_config::admin::seats::Queue;

use super::Failure;
use super::at::At;

#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    at: At,
}

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.at.tell("/v1/queue", words)
    }
}

fn words(queue: &Queue) -> String {
    let Queue { small, catalogs, oldest_seconds, expected_seconds, held_seconds } = queue;
    let held = held_seconds.map_or_else(String::new, |left| {
        format!("catalogs are kept for {left:.0} s more, while PuppetDB restarts in an enrollment\n")
    });
    let Some(oldest) = oldest_seconds else { return held + "nobody waits for a JRuby\n" };
    held + &format!(
        "{catalogs} catalogs and {small} small requests wait for a JRuby, the oldest for {oldest:.1} s; a catalog that came \
         now would wait about {expected_seconds:.1} s\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_and_for_how_long_is_one_sentence() {
        let empty =
            Queue { small: 0, catalogs: 0, oldest_seconds: None, expected_seconds: 0.0, held_seconds: None };
        assert_eq!(words(&empty), "nobody waits for a JRuby\n");
        let some =
            Queue { catalogs: 7, small: 2, oldest_seconds: Some(3.04), expected_seconds: 12.25, ..empty };
        assert_eq!(
            words(&some),
            "7 catalogs and 2 small requests wait for a JRuby, the oldest for 3.0 s; a catalog that came now would wait \
             about 12.2 s\n"
        );
        let held = words(&Queue { held_seconds: Some(41.7), ..empty });
        assert!(held.starts_with("catalogs are kept for 42 s more"), "{held}");
    }
}
