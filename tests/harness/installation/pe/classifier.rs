//! The console's classifier.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::rights::error;
use super::{CONSOLE, Rights, Version, mom};
use crate::answer::{Answer, Body, Script};
use crate::ca::{DoorCa, PuppetCa};
use crate::http1::Head;
use crate::identity::Leaf;
use crate::listening::Listening;
use crate::record::{Record, Seen};
use crate::serving::{self, Role, serve};
use crate::tls;

const GROUPS: &str = "/classifier-api/v1/groups";
const ROOT: &str = "00000000-0000-4000-8000-000000000000";

/// A running classifier.
pub struct Classifier {
    listening: Listening,
    desk: Arc<Desk>,
}

struct Desk {
    rights: Arc<Rights>,
    version: Version,
    groups: Mutex<Vec<Value>>,
    /// Classes that it knows, and those that it would know if it looked.
    classes: Mutex<(BTreeSet<String>, BTreeSet<String>)>,
    record: Record,
    script: Script,
}

impl Classifier {
    pub(super) fn start(ca: &PuppetCa, rights: Arc<Rights>, version: Version) -> Arc<Self> {
        let identity = ca.issue(&Leaf::server(CONSOLE));
        let known: BTreeSet<String> = CLASSES.iter().map(|class| (*class).to_owned()).collect();
        let desk = Arc::new(Desk {
            rights,
            version,
            groups: Mutex::new(groups(version)),
            classes: Mutex::new((known.clone(), known)),
            record: Record::default(),
            script: Script::default(),
        });
        let shared = desk.clone();
        let listening = Listening::start(
            tls::wanting(&identity, ca, &DoorCa::new()),
            Arc::new(move |conn, id| Box::pin(serve(shared.clone(), conn, id))),
        );
        Arc::new(Self { listening, desk })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The listener.
    #[must_use]
    pub fn listening(&self) -> &Listening {
        &self.listening
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

    /// Every group, by name and content.
    #[must_use]
    pub fn groups(&self) -> Vec<Value> {
        self.desk.groups.lock().unwrap().clone()
    }

    /// The group of this name.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[must_use]
    pub fn group(&self, name: &str) -> Value {
        let mut all = self.groups();
        all.retain(|group| group["name"] == name);
        assert_eq!(all.len(), 1, "groups of the name {name}");
        all.remove(0)
    }

    /// How often a group's rule names a node by a branch of its own.
    #[must_use]
    pub fn times_named(&self, group: &str, node: &str) -> usize {
        let own = json!(["=", "name", node]);
        let rule = self.group(group)["rule"].clone();
        rule.as_array().map_or(0, |branches| branches.iter().filter(|one| **one == own).count())
    }

    /// Changes a group as somebody does in the console.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut groups = self.desk.groups.lock().unwrap();
        let group = groups.iter_mut().find(|group| group["name"] == name);
        let group = group.unwrap_or_else(|| panic!("no group {name}"));
        change(group);
        edited(group);
    }

    /// It has not looked for classes since this one came, which is there.
    pub fn has_not_seen(&self, class: &str) {
        self.desk.classes.lock().unwrap().0.remove(class);
    }

    /// No code has this class.
    pub fn lacks(&self, class: &str) {
        let mut classes = self.desk.classes.lock().unwrap();
        classes.0.remove(class);
        classes.1.remove(class);
    }

    pub(in super::super) async fn ask(
        &self,
        peer: Option<CertificateDer<'static>>,
        head: Head,
        body: &[u8],
    ) -> Option<Answer> {
        serving::answer(&*self.desk, peer, head, body).await
    }
}

const CLASSES: [&str; 8] = [
    "puppet_enterprise",
    "puppet_enterprise::profile::agent",
    "puppet_enterprise::profile::master",
    "puppet_enterprise::profile::master::mcollective",
    "puppet_enterprise::profile::mcollective::peadmin",
    "puppet_enterprise::profile::puppetdb",
    "pe_repo",
    "pe_repo::platform::debian_12_amd64",
];

/// As an installation of this version has them at first.
fn groups(version: Version) -> Vec<Value> {
    let id = |number: u32| format!("0000000{number}-0efa-4365-b367-b5401c0711d3");
    let group = |number: u32, name: &str, parent: &str, rule: Value, classes: Value| {
        let mut group = json!({
            "id": if number == 0 { ROOT.to_owned() } else { id(number) }, "name": name, "parent": parent,
            "environment": "production", "environment_trumps": false, "rule": rule, "classes": classes,
            "variables": {},
        });
        if !matches!(version, Version::V3 | Version::V2015) {
            group["serial_number"] = json!(1);
            group["config_data"] = json!({});
        }
        group
    };
    let mom = json!(["or", ["=", "name", mom::NAME]]);
    let mut of_master = json!({ "puppet_enterprise::profile::master": {}, "pe_repo": {} });
    if version != Version::V2019 {
        of_master["puppet_enterprise::profile::mcollective::peadmin"] = json!({});
        of_master["puppet_enterprise::profile::master::mcollective"] = json!({});
    }
    let mut all = vec![
        group(0, "All Nodes", ROOT, json!(["and", ["~", "name", ".*"]]), json!({})),
        group(1, "PE Infrastructure", ROOT, Value::Null, json!({ "puppet_enterprise": {} })),
        group(2, "PE Master", &id(1), mom.clone(), of_master),
    ];
    if version == Version::V2019 {
        let agent = json!({ "puppet_enterprise::profile::agent": {} });
        let role = json!(["and", ["=", ["trusted", "extensions", "pp_auth_role"], "pe_compiler"]]);
        let of_compiler =
            json!({ "puppet_enterprise::profile::master": {}, "puppet_enterprise::profile::puppetdb": {} });
        all.push(group(3, "PE Agent", &id(1), json!(["and", ["~", "name", ".*"]]), agent.clone()));
        all.push(group(4, "PE Infrastructure Agent", &id(3), mom, agent));
        all.push(group(5, "PE Compiler", &id(2), role, of_compiler));
    }
    all
}

fn edited(group: &mut Value) {
    if let Some(serial) = group["serial_number"].as_u64() {
        group["serial_number"] = json!(serial + 1);
    }
}

impl Desk {
    fn create(&self, body: &Value) -> Answer {
        let mut groups = self.groups.lock().unwrap();
        if ["name", "parent", "classes"].iter().any(|key| body.get(*key).is_none()) {
            return error(400, "schema-violation", "a key is missing");
        }
        if groups.iter().any(|group| group["name"] == body["name"]) {
            return error(422, "uniqueness-violation", "A group of that name exists in that environment");
        }
        if !groups.iter().any(|group| group["id"] == body["parent"]) {
            return error(422, "missing-parent", "The parent does not exist");
        }
        if let Some(missing) = self.missing(body) {
            return missing;
        }
        let mut group = body.clone();
        let id = format!("000000{:02}-0efa-4365-b367-b5401c0711d3", groups.len() + 10);
        group["id"] = json!(id);
        for (key, usual) in [("rule", Value::Null), ("variables", json!({}))] {
            if group.get(key).is_none() {
                group[key] = usual;
            }
        }
        if !matches!(self.version, Version::V3 | Version::V2015) {
            group["serial_number"] = json!(1);
        }
        groups.push(group);
        let body = Body::Bytes(bytes::Bytes::new());
        Answer { status: 303, headers: Vec::new(), body }.header("Location", format!("{GROUPS}/{id}"))
    }

    fn update(&self, id: &str, delta: &Value) -> Answer {
        let mut groups = self.groups.lock().unwrap();
        let Some(group) = groups.iter_mut().find(|group| group["id"] == id) else { return not_found() };
        if delta.get("serial_number").is_some_and(|serial| *serial != group["serial_number"]) {
            return error(409, "serial-number-conflict", "The group has changed since it was looked at");
        }
        if let Some(missing) = self.missing(delta) {
            return missing;
        }
        for key in ["classes", "config_data", "variables"] {
            for (class, parameters) in delta[key].as_object().into_iter().flatten() {
                let there = &mut group[key][class];
                match parameters.as_object() {
                    None => *there = parameters.clone(),
                    Some(parameters) => {
                        for (name, value) in parameters {
                            there[name] = value.clone();
                        }
                    }
                }
            }
        }
        for key in ["rule", "name", "parent"] {
            if let Some(value) = delta.get(key) {
                group[key] = value.clone();
            }
        }
        edited(group);
        Answer::json(group)
    }

    fn pin(&self, id: &str, is_pinned: bool, body: &Value) -> Answer {
        let mut groups = self.groups.lock().unwrap();
        let Some(group) = groups.iter_mut().find(|group| group["id"] == id) else { return not_found() };
        for node in body["nodes"].as_array().into_iter().flatten() {
            let own = json!(["=", "name", node]);
            let mut branches = match &group["rule"] {
                Value::Null => vec![json!("or")],
                Value::Array(all) if all[0] == "or" => all.clone(),
                rule => vec![json!("or"), rule.clone()],
            };
            branches.retain(|one| *one != own);
            if is_pinned {
                branches.push(own);
            }
            group["rule"] = if branches.len() == 1 { Value::Null } else { Value::Array(branches) };
        }
        edited(group);
        Answer { status: 204, headers: Vec::new(), body: Body::Bytes(bytes::Bytes::new()) }
    }

    /// Classes that a group is to have and that are not known.
    fn missing(&self, body: &Value) -> Option<Answer> {
        let classes = self.classes.lock().unwrap();
        let named = body["classes"].as_object()?;
        let missing: Vec<Value> = named
            .keys()
            .filter(|class| !classes.0.contains(*class))
            .map(|class| json!({ "kind": "missing-class", "missing": class, "environment": "production" }))
            .collect();
        if missing.is_empty() {
            return None;
        }
        let mut answer = Answer::json(&json!({
            "kind": "missing-referents", "msg": "The following classes do not exist", "details": missing,
        }));
        answer.status = 422;
        Some(answer)
    }
}

fn not_found() -> Answer {
    error(404, "not-found", "The resource could not be found.")
}

impl Role for Desk {
    type Held = ();

    async fn hold(&self, _: &Head) {}

    async fn answer(&self, seen: &Seen, body: &[u8]) -> Option<Answer> {
        if let Some(refused) = self.rights.refuse(seen) {
            return Some(refused);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let pins = !matches!(self.version, Version::V3 | Version::V2015);
        let path = seen.path();
        Some(match (seen.head.method(), path.strip_prefix(GROUPS)) {
            ("GET", Some("")) => Answer::json(&Value::Array(self.groups.lock().unwrap().clone())),
            ("POST", Some("")) => self.create(&body),
            ("POST", Some(rest)) => match rest.trim_start_matches('/').split_once('/') {
                None => self.update(rest.trim_start_matches('/'), &body),
                Some((id, word @ ("pin" | "unpin"))) if pins => self.pin(id, word == "pin", &body),
                Some(_) => not_found(),
            },
            ("POST", None) if path == "/classifier-api/v1/update-classes" => {
                let mut classes = self.classes.lock().unwrap();
                classes.0 = classes.1.clone();
                Answer { status: 201, headers: Vec::new(), body: Body::Bytes(bytes::Bytes::new()) }
            }
            _ => not_found(),
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
