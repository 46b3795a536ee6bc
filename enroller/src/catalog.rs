//! Two catalogs of one node, compiled by two masters: in what they differ.
//!
//! A new master that compiles something else than the Master of Masters has other code, other data or other modules.
//! What differs by nature is left out: times, identifiers, where a file of code lies, and each server's own name and
//! address inside values. A parameter may hold a password, so no value is told, nor anything made of it.
#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The most differences that are told: the first show what is wrong, and a journal's line has an end.
pub const MOST_TOLD: usize = 8;

/// What a catalog holds, as far as it must be the same everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    environment: String,
    classes: BTreeSet<String>,
    resources: BTreeMap<String, BTreeMap<String, Value>>,
    edges: BTreeSet<(String, String)>,
}

/// Bytes that are no catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a catalog: {why}")]
pub struct NotACatalog {
    why: String,
}

/// A server's own name or address, and the other server's in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// As it stands in the new master's catalog.
    pub masters: String,
    /// As it stands in the other.
    pub moms: String,
}

impl Catalog {
    /// Reads a catalog in JSON, as Puppet Server sends it in any of its formats.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Self, NotACatalog> {
        let wrong = |why: &str| NotACatalog { why: why.to_owned() };
        let read: Value =
            serde_json::from_slice(bytes).map_err(|error| NotACatalog { why: error.to_string() })?;
        // Puppet 3 wraps it.
        let catalog = read.get("data").filter(|data| data.get("resources").is_some()).unwrap_or(&read);
        let list = |key: &str| catalog.get(key).and_then(Value::as_array);
        let mut resources = BTreeMap::new();
        for resource in list("resources").ok_or_else(|| wrong("it has no resources"))? {
            let word = |key: &str| resource.get(key).and_then(Value::as_str);
            let (Some(kind), Some(title)) = (word("type"), word("title")) else {
                return Err(wrong("a resource has no type or no title"));
            };
            let mut parameters: BTreeMap<String, Value> = BTreeMap::new();
            if let Some(given) = resource.get("parameters").and_then(Value::as_object) {
                parameters.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            if resource.get("exported") == Some(&Value::Bool(true)) {
                parameters.insert("(exported)".to_owned(), Value::Bool(true));
            }
            resources.insert(format!("{kind}[{title}]"), parameters);
        }
        let edge = |edge: &Value| {
            let end = |key: &str| edge.get(key).and_then(Value::as_str).map(str::to_owned);
            Some((end("source")?, end("target")?))
        };
        Ok(Self {
            environment: catalog.get("environment").and_then(Value::as_str).unwrap_or_default().to_owned(),
            classes: list("classes")
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            resources,
            edges: list("edges").into_iter().flatten().filter_map(edge).collect(),
        })
    }

    /// How many resources it has.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.resources.len()
    }

    /// The same as the other server would have written it: its own names in place of this one's.
    #[must_use]
    pub fn under(self, own: &[Own]) -> Self {
        let text =
            |text: &str| own.iter().fold(text.to_owned(), |text, own| text.replace(&own.masters, &own.moms));
        let resources = self.resources.into_iter().map(|(name, parameters)| {
            let parameters = parameters.into_iter().map(|(name, value)| (name, each_text(value, &text)));
            (text(&name), parameters.collect())
        });
        Self {
            resources: resources.collect(),
            edges: self.edges.iter().map(|(from, to)| (text(from), text(to))).collect(),
            ..self
        }
    }

    /// The same without these resources, each named as `Type[title]`, or all of a type as `Type`.
    #[must_use]
    pub fn without(mut self, ignored: &[String]) -> Self {
        let is_ignored = |name: &str| {
            let kind = name.split('[').next().unwrap_or_default();
            ignored.iter().any(|ignored| ignored == name || ignored == kind)
        };
        self.resources.retain(|name, _| !is_ignored(name));
        self.edges.retain(|(from, to)| !is_ignored(from) && !is_ignored(to));
        self
    }

    /// In what the new master's catalog differs from the other, in words: at most [`MOST_TOLD`] and how many more.
    #[must_use]
    pub fn differences(&self, moms: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.environment != moms.environment {
            found.push(format!("its environment is {}, not {}", self.environment, moms.environment));
        }
        for (name, parameters) in &moms.resources {
            let Some(own) = self.resources.get(name) else {
                found.push(format!("{name} is missing"));
                continue;
            };
            let names: BTreeSet<&String> = parameters.keys().chain(own.keys()).collect();
            for parameter in names {
                let what = match (own.get(parameter), parameters.get(parameter)) {
                    (Some(own), Some(other)) if own == other => continue,
                    (Some(_), Some(_)) => "has another value",
                    (None, _) => "is missing",
                    (_, None) => "is there and should not be",
                };
                found.push(format!("{name}: {parameter} {what}"));
            }
        }
        let more = self.resources.keys().filter(|name| !moms.resources.contains_key(*name));
        found.extend(more.map(|name| format!("{name} is there and should not be")));
        found.extend(moms.classes.difference(&self.classes).map(|name| format!("class {name} is missing")));
        found.extend(
            self.classes
                .difference(&moms.classes)
                .map(|name| format!("class {name} is there and should not be")),
        );
        if found.is_empty() && self.edges != moms.edges {
            let edges: Vec<_> = self.edges.symmetric_difference(&moms.edges).collect();
            found.extend(edges.iter().map(|(from, to)| format!("the order of {from} and {to}")));
        }
        let more = found.len().saturating_sub(MOST_TOLD);
        found.truncate(MOST_TOLD);
        if more > 0 {
            found.push(format!("and {more} more"));
        }
        found
    }
}

fn each_text(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(all) => Value::Array(all.into_iter().map(|value| each_text(value, change)).collect()),
        Value::Object(all) => all
            .into_iter()
            .map(|(name, value)| (name, each_text(value, change)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn catalog(server: &str, resources: &Value) -> Catalog {
        let text = json!({
            "name": "canary.add.example.com", "environment": "production", "version": server.len(),
            "catalog_uuid": server, "code_id": null, "classes": ["settings", "stage"],
            "edges": [{"source": "Stage[main]", "target": "Class[Stage]"}], "resources": resources,
        });
        Catalog::read(text.to_string().as_bytes()).unwrap()
    }

    fn motd(content: &str, line: u32) -> Value {
        json!({"type": "File", "title": "/etc/motd", "file": "/a/site.pp", "line": line, "tags": ["x"],
               "parameters": {"content": content, "ensure": "file"}})
    }

    #[test]
    fn what_differs_by_nature_is_no_difference() {
        let add = catalog("add", &json!([motd("from add.example.com (10.0.0.7)", 3)]));
        let mom = catalog("mom.example.com", &json!([motd("from mom.example.com (10.0.0.1)", 9)]));
        let own = [
            Own { masters: "add.example.com".into(), moms: "mom.example.com".into() },
            Own { masters: "10.0.0.7".into(), moms: "10.0.0.1".into() },
        ];
        assert_eq!(add.clone().under(&own).differences(&mom), [""; 0]);
        assert_eq!(add.differences(&mom).len(), 1);
    }

    #[test]
    fn other_code_is_told_resource_by_resource_and_no_value_is_shown() {
        let old = json!([motd("hunter2", 1), {"type": "Service", "title": "ssh", "parameters": {"ensure": "running"}}]);
        let new = json!([motd("hunter3", 1), {"type": "Package", "title": "ssh"}]);
        let told = catalog("a", &old).differences(&catalog("b", &new));
        let expected = [
            "File[/etc/motd]: content has another value",
            "Package[ssh] is missing",
            "Service[ssh] is there and should not be",
        ];
        assert_eq!(told, expected);
        let left = |old: &Value| catalog("a", old).without(&["File[/etc/motd]".into(), "Service".into()]);
        assert_eq!(left(&old).differences(&left(&new).without(&["Package".into()])), [""; 0]);
    }

    #[test]
    fn many_differences_are_told_by_their_number() {
        let many: Vec<Value> =
            (0..50).map(|at| json!({"type": "File", "title": format!("/{at}"), "parameters": {}})).collect();
        let told = catalog("a", &json!([])).differences(&catalog("b", &json!(many)));
        assert_eq!((told.len(), told.last().map(String::as_str)), (MOST_TOLD + 1, Some("and 42 more")));
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        for bad in ["", "{}", "[]", "{\"resources\": 1}", "{\"resources\": [{\"type\": \"File\"}]}"] {
            assert!(Catalog::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let old = json!({"document_type": "Catalog", "data": {"resources": [motd("a", 1)], "environment": "production"}});
        assert_eq!(Catalog::read(old.to_string().as_bytes()).unwrap().resources(), 1);
    }

    proptest! {
        #[test]
        fn a_catalog_differs_from_another_exactly_when_a_resource_does(
            one in proptest::collection::btree_map("[a-c]", "[xy]", 0..4),
            other in proptest::collection::btree_map("[a-c]", "[xy]", 0..4),
        ) {
            let of = |all: &BTreeMap<String, String>| {
                let resources: Vec<Value> = all.iter().map(|(title, content)| {
                    json!({"type": "File", "title": title, "parameters": {"content": content}})
                }).collect();
                catalog("s", &json!(resources))
            };
            prop_assert_eq!(of(&one).differences(&of(&other)).is_empty(), one == other);
        }
    }
}
