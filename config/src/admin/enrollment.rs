//! How an enrollment goes, as its enroller tells each door: for whoever looks at the door's page. No door does anything
//! because of it.
#![deny(clippy::disallowed_methods)]

use serde::{Deserialize, Serialize};

use crate::certname::Certname;

/// The most steps that one procedure has.
pub const MOST_STEPS: usize = 32;
/// The longest words for a step, and for why one failed, in bytes.
pub const LONGEST_WORDS: usize = 500;
/// The most enrollments that a door remembers.
pub const MOST: usize = 50;

/// One procedure: how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrollment {
    /// The master.
    pub certname: Certname,
    /// When this was told, in seconds since 1970, by the door's clock; whatever is asked for is not taken.
    #[serde(default)]
    pub at: u64,
    /// What is done with it: `enroll`, `adopt` or `retire`.
    pub procedure: String,
    /// Each step in its order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The word that the enroller has for it.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// Why it failed or what it waits for; absent where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not begun.
    Waits,
    /// Under way.
    Begun,
    /// Done.
    Done,
    /// It failed, and the procedure with it.
    Failed,
}

impl Enrollment {
    /// Why a door will not remember it, in words; none where it will.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        if self.steps.len() > MOST_STEPS {
            return Some(format!("{} steps are more than {MOST_STEPS}", self.steps.len()));
        }
        let words = self.steps.iter().flat_map(|step| [Some(&step.name), step.why.as_ref()]);
        let longest = words.chain([Some(&self.procedure)]).flatten().map(String::len).max();
        longest
            .filter(|longest| *longest > LONGEST_WORDS)
            .map(|longest| format!("words of {longest} bytes are longer than {LONGEST_WORDS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"certname":"c3.example.com","at":7,"procedure":"enroll","steps":[{"name":"preflight","state":"done"},"#,
        r#"{"name":"ordered runs","state":"failed","why":"puppetdb: the run failed"},{"name":"seal","state":"waits"}]}"#
    );

    #[test]
    fn an_enrollment_looks_like_this_on_the_wire() {
        let told: Enrollment = serde_json::from_str(TEXT).unwrap();
        assert_eq!(serde_json::to_string(&told).unwrap(), TEXT);
        assert_eq!(told.mistake(), None);
        assert!(serde_json::from_str::<Enrollment>(&TEXT.replace("procedure", "proceeding")).is_err());
    }

    #[test]
    fn one_that_would_fill_a_doors_memory_is_a_mistake() {
        let told: Enrollment = serde_json::from_str(TEXT).unwrap();
        let mut long = told.clone();
        long.steps[0].why = Some("x".repeat(LONGEST_WORDS + 1));
        assert!(long.mistake().unwrap().contains("501"));
        let mut many = told;
        many.steps = vec![many.steps[0].clone(); MOST_STEPS + 1];
        assert!(many.mistake().unwrap().contains("33 steps"));
    }
}
