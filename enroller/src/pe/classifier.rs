//! The console's classifier: its groups are looked at, and changed one thing at a time, each after a fresh look.
//!
//! A change names the group's serial number, where there is one, so that nobody's change is undone unseen; where it has
//! changed meanwhile, it is looked at anew.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use stagedoor_config::enroller::{Preset, Server};

use super::groups::{Change, Compared, Group, Refusal};
use super::rights::Service;
use crate::ask::{Answer, Question};
use crate::pipeline::{Stop, StopKind};
use crate::site::Site;

/// The most changes of one enrollment: as many as the procedures have, and as many again that somebody was faster with.
const MOST_CHANGES: usize = 24;
/// How often somebody else may be faster.
const MOST_CONFLICTS: usize = 5;

const VIEW: &str = "Node groups: View";
const RULES: &str =
    "Node groups: Create, edit, and delete child groups (or Edit child group rules) on PE Infrastructure";
const CLASSES: &str = "Node groups: Edit classes, parameters, and variables (and Edit configuration data)";

/// The classifier of an installation.
#[derive(Debug, Clone, Copy)]
pub struct Classifier<'s> {
    service: Service<'s>,
}

/// What became of one change.
enum Told {
    /// It is in force.
    Done,
    /// The group has changed since it was looked at.
    Conflict,
    /// The classifier does not know what is referred to.
    Unknown(String),
}

/// An error as the classifier tells it.
#[derive(Debug, Default, Deserialize)]
struct Error {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    details: Value,
}

impl<'s> Classifier<'s> {
    /// The installation's, where it has a console.
    #[must_use]
    pub fn of(site: &'s Site) -> Option<Self> {
        let server: &Server = site.settings.console.as_ref()?;
        let log = match site.settings.preset {
            Preset::Pe3 => "/var/log/pe-console-services",
            _ => "/var/log/puppetlabs/console-services",
        };
        Some(Self { service: Service { site, server, what: "the classifier", log } })
    }

    /// Every group.
    ///
    /// # Errors
    /// The classifier cannot be asked, or refuses.
    pub async fn groups(&self) -> Result<Vec<Group>, Stop> {
        let answer = self.service.ask(Question::get("/classifier-api/v1/groups"), VIEW).await?;
        if !answer.status.is_success() {
            return Err(self.service.odd(&answer));
        }
        Ok(answer.read(&self.service.server.address)?)
    }

    /// Makes the first of the changes that `compare` wants of the groups as they are, looks anew, and so on until it wants
    /// none; gives what was done, in words.
    ///
    /// # Errors
    /// The classifier cannot be asked or refuses, or `compare` does.
    pub async fn settle(
        &self,
        compare: impl Fn(&[Group]) -> Result<Compared, Refusal> + Send,
    ) -> Result<Vec<String>, Stop> {
        let (mut done, mut conflicts, mut has_updated) = (Vec::new(), 0, false);
        while done.len() < MOST_CHANGES {
            let compared = compare(&self.groups().await?)?;
            let Some(change) = compared.changes.first() else { return Ok(done) };
            match self.make(change).await? {
                Told::Done => done.push(change.words()),
                Told::Conflict if conflicts < MOST_CONFLICTS => conflicts += 1,
                Told::Conflict => {
                    let reason = format!("somebody else changes the console's groups: {}", change.words());
                    return Err(Stop::new(StopKind::Failed, reason, "wait until that is over, then resume"));
                }
                // It learns of classes from a master's code now and then, and at once when it is told to.
                Told::Unknown(_) if !has_updated => {
                    self.update_classes().await?;
                    has_updated = true;
                }
                Told::Unknown(words) => return Err(self.unknown(&words)),
            }
        }
        let reason = format!("the console's groups do not stay as they are changed: {}", done.join("; "));
        Err(Stop::new(StopKind::Failed, reason, "see who or what changes them back, then resume"))
    }

    async fn make(&self, change: &Change) -> Result<Told, Stop> {
        let groups = "/classifier-api/v1/groups";
        match change {
            Change::Create { body, .. } => {
                // It answers with a redirection to what it has created.
                self.told(Question::of(Method::POST, groups).json(body), RULES).await
            }
            Change::Pin { id, node, delta, .. } => self.pinned("pin", id, node, delta).await,
            Change::Unpin { id, node, delta, .. } => self.pinned("unpin", id, node, delta).await,
            Change::Update { id, delta, .. } => {
                let permission = if delta.get("rule").is_some() { RULES } else { CLASSES };
                self.told(Question::of(Method::POST, format!("{groups}/{id}")).json(delta), permission).await
            }
        }
    }

    /// Pins or unpins; by the group's rule in a version that has no endpoint for it, as before 2016.
    async fn pinned(&self, word: &str, id: &str, node: &str, delta: &Value) -> Result<Told, Stop> {
        let group = format!("/classifier-api/v1/groups/{id}");
        let question =
            Question::of(Method::POST, format!("{group}/{word}")).json(&json!({ "nodes": [node] }));
        let answer = self.service.ask(question, RULES).await?;
        match answer.status {
            // Of the endpoint or of the group: the group's own endpoint tells which.
            StatusCode::NOT_FOUND => self.told(Question::of(Method::POST, group).json(delta), RULES).await,
            _ => self.judged(&answer),
        }
    }

    async fn told(&self, question: Question, permission: &str) -> Result<Told, Stop> {
        self.judged(&self.service.ask(question, permission).await?)
    }

    fn judged(&self, answer: &Answer) -> Result<Told, Stop> {
        let error: Error = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            StatusCode::SEE_OTHER => Ok(Told::Done),
            status if status.is_success() => Ok(Told::Done),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Told::Conflict),
            // Somebody has created a group of this name meanwhile.
            StatusCode::UNPROCESSABLE_ENTITY if error.kind == "uniqueness-violation" => Ok(Told::Conflict),
            StatusCode::UNPROCESSABLE_ENTITY if error.kind == "missing-referents" => {
                Ok(Told::Unknown(error.missing().unwrap_or_else(|| answer.words())))
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                let way_out = "put that right in the console, then resume";
                Err(Stop::new(StopKind::Refused, self.service.answered(answer), way_out))
            }
            _ => Err(self.service.odd(answer)),
        }
    }

    async fn update_classes(&self) -> Result<(), Stop> {
        let question = Question::of(Method::POST, "/classifier-api/v1/update-classes");
        let answer = self.service.ask(question, CLASSES).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.service.odd(&answer)) }
    }

    fn unknown(&self, words: &str) -> Stop {
        let Server { certname, address } = self.service.server;
        let reason =
            format!("the classifier ({address}) does not know {words}, also after it read the classes anew");
        let way_out = format!(
            "have that environment's modules hold it on the master that {certname} reads classes from, and its group \
             stand in an environment that has it; then resume"
        );
        Stop::new(StopKind::Refused, reason, way_out)
    }
}

impl Error {
    /// What is missing, each with where.
    fn missing(&self) -> Option<String> {
        let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
        let missing = self.details.as_array()?.iter().filter_map(|one| {
            let kind = if text(one, "kind")? == "missing-parameter" { "the parameter" } else { "the class" };
            let place = text(one, "environment").map(|name| format!(" in the environment {name}"));
            let group = text(one, "group").map(|name| format!(" (group {name})"));
            Some(format!(
                "{kind} {}{}{}",
                text(one, "missing")?,
                place.unwrap_or_default(),
                group.unwrap_or_default()
            ))
        });
        // A person sees what it is about from a few.
        let missing: Vec<String> = missing.take(5).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::new(StopKind::Refused, refusal.reason, refusal.way_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_classifier_does_not_know_is_told_with_its_place() {
        let text = r#"{"kind":"missing-referents","msg":"The following classes and class parameters do not exist","details":[
            {"kind":"missing-class","missing":"pe_repo","environment":"production","group":"PE Master","defined_by":"PE Master"},
            {"kind":"missing-parameter","missing":"master","environment":"test"},{"kind":"odd"}]}"#;
        let error: Error = serde_json::from_str(text).unwrap();
        assert_eq!(
            error.missing().unwrap(),
            "the class pe_repo in the environment production (group PE Master), the parameter master in the environment test"
        );
        assert_eq!(serde_json::from_str::<Error>("{}").unwrap().missing(), None);
    }
}
