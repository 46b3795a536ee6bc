//! The orchestrator: a job really has the machine's agent run, and is over when that is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::rights::error;
use super::{Rights, Version, mom};
use crate::answer::{Answer, Script};
use crate::ca::{DoorCa, PuppetCa};
use crate::http1::Head;
use crate::identity::Leaf;
use crate::installation::Machines;
use crate::listening::Listening;
use crate::record::{Record, Seen};
use crate::serving::{Role, serve};
use crate::tls;

const JOBS: &str = "/orchestrator/v1/jobs";

/// A running orchestrator.
pub struct Orchestrator {
    listening: Listening,
    desk: Arc<Desk>,
}

struct Desk {
    rights: Arc<Rights>,
    machines: Machines,
    version: Version,
    address: Mutex<String>,
    jobs: Mutex<Vec<Job>>,
    next: Mutex<BTreeMap<String, Vec<Next>>>,
    unplugged: Mutex<BTreeSet<String>>,
    record: Record,
    script: Script,
}

struct Job {
    body: Value,
    node: String,
    state: &'static str,
    node_state: &'static str,
    message: String,
}

/// What becomes of the next job for a node.
#[derive(Debug, Clone)]
pub enum Next {
    /// No run, for this reason.
    Errored(String),
    /// No run, since it was passed over for this reason.
    Skipped(String),
    /// Somebody stops it before it runs.
    Stopped,
    /// It runs, and its report says `failed`.
    Failed,
    /// It runs, and is shown as running for so many looks.
    Runs(usize),
    /// It is for more nodes than it was asked for.
    Wider,
}

impl Orchestrator {
    pub(super) fn start(
        ca: &PuppetCa,
        rights: Arc<Rights>,
        machines: Machines,
        version: Version,
    ) -> Arc<Self> {
        let identity = ca.issue(&Leaf::server(mom::NAME));
        let desk = Arc::new(Desk {
            rights,
            machines,
            version,
            address: Mutex::default(),
            jobs: Mutex::default(),
            next: Mutex::default(),
            unplugged: Mutex::default(),
            record: Record::default(),
            script: Script::default(),
        });
        let shared = desk.clone();
        let listening = Listening::start(
            tls::wanting(&identity, ca, &DoorCa::new()),
            Arc::new(move |conn, id| Box::pin(serve(shared.clone(), conn, id))),
        );
        *desk.address.lock().unwrap() = listening.address().to_string();
        Arc::new(Self { listening, desk })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Every request it has seen.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.desk.record
    }

    /// What is to be answered otherwise.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.desk.script
    }

    /// What becomes of the next job for this node.
    pub fn next(&self, node: &str, next: Next) {
        self.desk.next.lock().unwrap().entry(node.to_owned()).or_default().push(next);
    }

    /// A node's agent loses its connection.
    pub fn unplug(&self, node: &str) {
        self.desk.unplugged.lock().unwrap().insert(node.to_owned());
    }

    /// ... and has it again.
    pub fn plug(&self, node: &str) {
        self.desk.unplugged.lock().unwrap().remove(node);
    }

    /// Every job's node, in order.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        self.desk.jobs.lock().unwrap().iter().map(|job| job.node.clone()).collect()
    }

    /// Every job's description, in order.
    #[must_use]
    pub fn descriptions(&self) -> Vec<String> {
        let jobs = self.desk.jobs.lock().unwrap();
        jobs.iter().map(|job| job.body["description"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The states of a node's jobs, in order.
    #[must_use]
    pub fn states(&self, node: &str) -> Vec<&'static str> {
        let jobs = self.desk.jobs.lock().unwrap();
        jobs.iter().filter(|job| job.node == node).map(|job| job.state).collect()
    }
}

impl Desk {
    fn deploy(&self, body: Value) -> Answer {
        let nodes = &body["scope"]["nodes"];
        let Some(node) = nodes.get(0).and_then(Value::as_str).filter(|_| nodes.get(1).is_none()) else {
            return error(400, "puppetlabs.orchestrator/empty-target", "a scope of one node was expected");
        };
        let knows = match body["environment"].as_str() {
            Some("") => self.version == Version::V2019 && body["enforce_environment"] == false,
            Some("production") => true,
            _ => false,
        };
        if !knows {
            return error(404, "puppetlabs.orchestrator/unknown-environment", "Unknown environment");
        }
        let node = node.to_owned();
        let mut jobs = self.jobs.lock().unwrap();
        let name = (81 + jobs.len()).to_string();
        let next =
            self.next.lock().unwrap().get_mut(&node).filter(|all| !all.is_empty()).map(|all| all.remove(0));
        let mut job = Job {
            body,
            node: node.clone(),
            state: "finished",
            node_state: "finished",
            message: String::new(),
        };
        let run = |status: &str| self.machines.runs_by_job(&node, status, &name);
        match next {
            None => job.ended(run("changed")),
            Some(Next::Failed) => job.ended(run("failed")),
            Some(Next::Runs(looks)) => {
                job.ended(run("changed"));
                job.body["looks"] = json!(looks);
            }
            Some(Next::Errored(words)) => job.without("errored", words),
            Some(Next::Skipped(words)) => job.without("skipped", words),
            Some(Next::Stopped) => (job.state, job.node_state) = ("stopped", "new"),
            Some(Next::Wider) => {
                (job.state, job.node_state) = ("running", "ready");
                job.body["wider"] = json!(true);
            }
        }
        jobs.push(job);
        let id = format!("https://{}{JOBS}/{name}", self.address.lock().unwrap());
        let mut answer = Answer::json(&json!({ "job": { "id": id, "name": name } }));
        answer.status = 202;
        answer
    }

    fn stop(&self, body: &Value) -> Answer {
        let mut jobs = self.jobs.lock().unwrap();
        let name = body["job"].as_str().unwrap_or_default();
        let Some(job) = place(name).and_then(|place| jobs.get_mut(place)) else { return unknown_job() };
        if job.state == "running" {
            job.state = "stopped";
        }
        let mut answer = Answer::json(&json!({ "job": { "name": name, "nodes": {} } }));
        answer.status = 202;
        answer
    }

    fn list(&self) -> Answer {
        let jobs = self.jobs.lock().unwrap();
        let items: Vec<Value> = jobs.iter().enumerate().rev().map(|(place, job)| job.listed(place)).collect();
        Answer::json(
            &json!({ "items": items, "pagination": { "limit": 50, "offset": 0, "total": jobs.len() } }),
        )
    }

    fn about(&self, path: &str) -> Answer {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let mut jobs = self.jobs.lock().unwrap();
        let place = place(name);
        let Some((place, job)) = place.and_then(|place| Some((place, jobs.get_mut(place)?))) else {
            return unknown_job();
        };
        // A look at it is one at its nodes and one at itself.
        let looks = job.body["looks"].as_u64().unwrap_or_default();
        let is_running = looks > 0;
        if rest == "nodes" {
            let state = if is_running { "running" } else { job.node_state };
            let mut items = vec![json!({
                "name": job.node, "state": state, "details": { "message": job.message }, "result": {},
            })];
            if job.body["wider"] == true {
                items.push(json!({ "name": "web01.example.com", "state": "ready", "details": {} }));
            }
            return Answer::json(&json!({ "next-events": { "event": "10" }, "items": items }));
        }
        job.body["looks"] = json!(looks.saturating_sub(1));
        let mut own = job.listed(place);
        let state = if is_running { "running" } else { job.state };
        if let Some(fields) = own.as_object_mut() {
            fields.remove("state");
            let states = json!([{ "state": "new", "exit_time": "x" }, { "state": state, "exit_time": null }]);
            fields.insert("status".to_owned(), states);
        }
        Answer::json(&own)
    }
}

impl Job {
    fn ended(&mut self, code: i32) {
        match code {
            0 | 2 => self.message = "Finished puppet run - Success!".to_owned(),
            _ => {
                (self.state, self.node_state) = ("failed", "failed");
                self.message = "Finished puppet run - Failed! Exec[x] failed".to_owned();
            }
        }
    }

    fn without(&mut self, state: &'static str, words: String) {
        (self.state, self.node_state, self.message) = ("failed", state, words);
    }

    fn listed(&self, place: usize) -> Value {
        let body = &self.body;
        json!({
            "id": format!("https://o{JOBS}/{}", 81 + place), "name": (81 + place).to_string(),
            "state": if body["looks"].as_u64().is_some_and(|looks| looks > 0) { "running" } else { self.state },
            "command": "deploy", "node_count": if body["wider"] == true { 2 } else { 1 },
            "options": {
                "scope": body["scope"], "description": body["description"], "environment": body["environment"],
                "enforce_environment": body["enforce_environment"], "noop": false,
            },
            "owner": { "login": "enroller" }, "timestamp": "2026-11-29T12:00:00Z",
        })
    }
}

fn place(name: &str) -> Option<usize> {
    name.parse::<usize>().ok()?.checked_sub(81)
}

fn unknown_job() -> Answer {
    error(404, "puppetlabs.orchestrator/unknown-job", "Unknown job")
}

impl Role for Desk {
    type Held = ();

    async fn hold(&self, _: &Head) {}

    async fn answer(&self, seen: &Seen, body: &[u8]) -> Option<Answer> {
        if let Some(refused) = self.rights.refuse(seen) {
            return Some(refused);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let path = seen.path();
        let inventory =
            path.strip_prefix("/orchestrator/v1/inventory/").filter(|_| self.version != Version::V2015);
        Some(match (seen.head.method(), path) {
            ("GET", _) if inventory.is_some() => {
                let node = inventory.unwrap_or_default();
                let connected = self.machines.has_run(node) && !self.unplugged.lock().unwrap().contains(node);
                Answer::json(&json!({ "name": node, "connected": connected, "broker": "pcp://mom/server" }))
            }
            ("POST", "/orchestrator/v1/command/deploy") => self.deploy(body),
            ("POST", "/orchestrator/v1/command/stop") => self.stop(&body),
            ("GET", JOBS) => self.list(),
            ("GET", path) => match path.strip_prefix(JOBS) {
                Some(rest) => self.about(rest.trim_start_matches('/')),
                None => error(404, "puppetlabs.orchestrator/not-found", "Not Found"),
            },
            _ => error(404, "puppetlabs.orchestrator/not-found", "Not Found"),
        })
    }

    fn wants_whole_body(&self, _: &Head) -> bool {
        true
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn keeps_records(&self) -> bool {
        true
    }

    fn script(&self) -> &Script {
        &self.script
    }
}
