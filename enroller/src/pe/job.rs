//! What a job of the orchestrator's and its one node come to.
#![deny(clippy::disallowed_methods)]

use serde::Deserialize;
use serde_json::{Value, json};

/// A job, as a list or a look at it shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Job {
    /// Its number.
    pub name: String,
    /// `new`, `ready`, `running`, `stopping`, `stopped`, `finished` or `failed`; a single job shows its states by time.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    status: Vec<State>,
    /// How it was started.
    #[serde(default)]
    options: Value,
    /// What was said of it; before 2018 nothing.
    #[serde(default)]
    description: Option<String>,
    /// How many nodes it concerns.
    #[serde(default)]
    pub node_count: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct State {
    #[serde(default)]
    state: String,
}

/// A node of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Node {
    /// Which.
    pub name: String,
    /// `new`, `ready`, `running`, `finished`, `failed`, `errored`, `skipped` or `stopped`.
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    details: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    message: Option<String>,
}

/// What a job comes to, for its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Waiting,
    /// The run is over, and its report says how.
    Over,
    /// The run failed, in words; there is a report.
    Failed(String),
    /// There was no run, since another was in progress.
    Busy,
    /// There was no run, in words.
    NoRun(String),
}

impl Job {
    /// Its state now.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().or_else(|| Some(self.status.last()?.state.as_str())).unwrap_or_default()
    }

    /// Whether nothing more comes of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state(), "stopped" | "finished" | "failed")
    }

    /// What was said of it when it was started.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        let said = self.options.get("description").and_then(Value::as_str).or(self.description.as_deref());
        said.filter(|said| !said.is_empty())
    }

    /// Whether it is for this node and no other.
    #[must_use]
    pub fn is_for(&self, node: &str) -> bool {
        self.options.pointer("/scope/nodes") == Some(&json!([node]))
    }

    /// What it comes to, by itself and its node; a node that is not among its nodes has not begun.
    #[must_use]
    pub fn outcome(&self, node: Option<&Node>) -> Outcome {
        let words = |fallback: &str| node.and_then(Node::words).unwrap_or_else(|| fallback.to_owned());
        match node.map(|node| node.state.as_str()).unwrap_or_default() {
            "finished" => Outcome::Over,
            "failed" => Outcome::Failed(words("the run failed")),
            "errored" => match words("it was not run") {
                said if is_busy(&said) => Outcome::Busy,
                said => Outcome::NoRun(said),
            },
            "skipped" => Outcome::NoRun(words("it was skipped")),
            "stopped" => Outcome::NoRun(words("it was stopped before it ran")),
            _ => match self.state() {
                "stopped" => Outcome::NoRun("somebody stopped the job before it ran".to_owned()),
                "failed" => Outcome::NoRun(words("the job failed before it ran")),
                "finished" => Outcome::NoRun("the job ended without it".to_owned()),
                _ => Outcome::Waiting,
            },
        }
    }
}

impl Node {
    /// What the orchestrator says of it.
    fn words(&self) -> Option<String> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        text(&self.details, "message")
            .or_else(|| text(&self.result, "msg"))
            .or_else(|| text(&self.result, "error"))
            .or_else(|| self.message.clone())
            .filter(|words| !words.trim().is_empty())
    }
}

/// As agents and the module that runs them for the orchestrator have said it over the years.
fn is_busy(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("already in progress")
        || words.contains("already running")
        || words.contains("already performing a run")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str) -> Job {
        Job { name: "81".into(), state: Some(state.into()), ..Job::default() }
    }

    fn node(state: &str, message: &str) -> Node {
        Node {
            name: "a".into(),
            state: state.into(),
            details: json!({ "message": message }),
            ..Node::default()
        }
    }

    #[test]
    fn what_a_node_says_counts_before_what_its_job_says() {
        let outcome = |state, node: Node| job(state).outcome(Some(&node));
        assert_eq!(outcome("running", node("running", "Started puppet run")), Outcome::Waiting);
        assert_eq!(outcome("running", node("finished", "Success!")), Outcome::Over);
        assert_eq!(outcome("failed", node("failed", "Failed!")), Outcome::Failed("Failed!".into()));
        assert_eq!(
            outcome("failed", node("errored", "not connected")),
            Outcome::NoRun("not connected".into())
        );
        assert_eq!(outcome("failed", node("skipped", "")), Outcome::NoRun("it was skipped".into()));
        for busy in [
            "Error running puppet on a: Puppet agent run is already in progress",
            "Puppet is already running",
            "Puppet agent is already performing a run",
        ] {
            assert_eq!(outcome("failed", node("errored", busy)), Outcome::Busy, "{busy}");
        }
        assert!(
            matches!(outcome("stopped", node("new", "")), Outcome::NoRun(said) if said.contains("somebody"))
        );
        assert!(matches!(outcome("stopped", node("stopped", "")), Outcome::NoRun(_)));
        assert!(matches!(outcome("finished", node("new", "")), Outcome::NoRun(_)));
        assert_eq!(job("new").outcome(None), Outcome::Waiting);
    }

    #[test]
    fn a_job_is_read_in_the_form_of_a_list_and_in_its_own() {
        let listed: Job = serde_json::from_value(json!({
            "id": "https://o:8143/orchestrator/v1/jobs/81", "name": "81", "state": "running", "node_count": 1,
            "options": { "scope": { "nodes": ["a"] }, "description": "said", "environment": "production" },
            "owner": { "login": "brian" }, "description": "said", "environment": { "name": "production" },
        }))
        .unwrap();
        assert!(listed.is_for("a") && !listed.is_for("b") && !listed.is_over());
        assert_eq!((listed.state(), listed.description()), ("running", Some("said")));
        let own: Job = serde_json::from_value(json!({
            "name": "81", "options": { "scope": { "nodes": ["a", "b"] } }, "description": "",
            "status": [{ "state": "new", "enter_time": "x", "exit_time": "x" }, { "state": "stopped", "exit_time": null }],
        }))
        .unwrap();
        assert!(own.is_over() && !own.is_for("a"));
        assert_eq!((own.state(), own.description()), ("stopped", None));
    }

    #[test]
    fn what_a_node_came_to_is_said_in_whatever_place() {
        let error: Node = serde_json::from_value(json!({
            "name": "a", "state": "errored", "details": {},
            "result": { "kind": "puppetlabs.orchestrator/execution-failure", "msg": "no route" },
        }))
        .unwrap();
        assert_eq!(job("failed").outcome(Some(&error)), Outcome::NoRun("no route".into()));
    }
}
