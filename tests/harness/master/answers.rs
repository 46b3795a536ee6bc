//! What a compile master answers, endpoint by endpoint, and to whom.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Believed, Desk, Health};
use crate::answer::{Answer, Body};
use crate::puppet::Asked;
use crate::record::Seen;

impl Desk {
    /// The packaged auth.conf, and a rule that lets doors flush environment caches: some things for the node itself,
    /// the rest for any node, nothing for nobody.
    pub(super) fn allows(&self, method: &str, asked: Asked<'_>, believed: &Believed) -> bool {
        let Some(certname) = believed.certname() else { return false };
        if asked.mount == "puppet-admin-api" {
            let rule = ("environment-cache", "DELETE");
            return (asked.what, method) == rule
                && self.doors.lock().unwrap().iter().any(|door| door == certname);
        }
        match asked.what {
            "catalog" | "node" | "report" | "facts" if asked.mount != "puppet" || !asked.key.is_empty() => {
                asked.key == certname
            }
            _ => true,
        }
    }

    /// `/status/v1/simple/ABOUT`, or every service as JSON.
    pub(super) fn status(&self, seen: &Seen, asked: Asked<'_>) -> Option<Answer> {
        let health = *self.health.lock().unwrap();
        if (asked.what, asked.key) == ("services", "jruby-metrics") {
            return (health != Health::Hanging).then(|| self.gauges());
        }
        if (asked.what, asked.key) == ("services", "status-service") {
            return (health != Health::Hanging).then(|| self.process());
        }
        if asked.what == "services" {
            return (health != Health::Hanging).then(|| self.services(seen.head.query("level"), health));
        }
        let about = asked.key;
        let known = matches!((about, health), ("server", h) if h != Health::MasterOnly) || about == "master";
        if !known && health != Health::Hanging {
            return Some(Answer::text(404, format!("not found: {about}")));
        }
        match health {
            Health::Running | Health::MasterOnly => Some(Answer::text(200, "running")),
            Health::Starting => Some(Answer::text(503, "starting")),
            Health::Failing => Some(Answer::text(503, "error")),
            Health::Hanging => None,
        }
    }

    /// As Puppet Server 7 says it, without what nobody reads.
    fn gauges(&self) -> Answer {
        let locked = self.locked.load(Ordering::Relaxed);
        let metrics =
            json!({ "num-jrubies": self.plan.jrubies, "num-free-jrubies": self.jrubies.available_permits() });
        Answer::json(&json!({
            "service_name": "jruby-metrics",
            "state": "running",
            "detail_level": "debug",
            "status": { "experimental": {
                "jruby-pool-lock-status": { "current-state": if locked { ":acquired" } else { ":not-in-use" } },
                "metrics": metrics,
            } },
        }))
    }

    fn process(&self) -> Answer {
        let up = self.started.lock().unwrap().elapsed().as_millis();
        Answer::json(&json!({
            "service_name": "status-service",
            "state": "running",
            "detail_level": "debug",
            "status": { "experimental": { "jvm-metrics": { "up-time-ms": u64::try_from(up).unwrap() } } },
        }))
    }

    fn services(&self, level: Option<&str>, health: Health) -> Answer {
        let level = level.unwrap_or("info");
        let running = matches!(health, Health::Running | Health::MasterOnly);
        let mut server = json!({ "state": if running { "running" } else { "error" }, "detail_level": level });
        if level == "debug" {
            server["status"] = json!({ "experimental": { "metrics": { "num-jrubies": self.plan.jrubies } } });
        }
        let mut answer = Answer::json(&json!({ "jruby-metrics": server }));
        answer.status = if running { 200 } else { 503 };
        answer
    }

    pub(super) fn reply(&self, seen: &Seen, asked: Asked<'_>, believed: &Believed, body: &[u8]) -> Answer {
        let method = seen.head.method();
        match (method, asked.what) {
            ("GET" | "POST", "catalog" | "compile") => self.catalog(believed),
            ("GET", "node") => Answer::json(&json!({ "name": asked.key, "environment": "production" })),
            ("GET", "file_metadatas") => {
                let entries: Vec<Value> = (0..8).map(|n| metadata(&format!("file-{n}.rb"))).collect();
                Answer::json(&Value::Array(entries))
            }
            ("GET", "file_metadata") => Answer::json(&metadata(asked.key)),
            ("GET", "file_content") => {
                let size = asked.key.rsplit_once("bytes-").and_then(|(_, size)| size.parse().ok());
                Answer::octets(Body::Pattern(size.unwrap_or(1024)))
                    .header("Last-Modified", "Sat, 14 Nov 2026 10:00:00 GMT")
            }
            ("GET", "static_file_content") => match seen.head.query("code_id") {
                Some(code) => Answer::octets(Body::Bytes(Bytes::from(format!("{} {code}", self.plan.name)))),
                None => Answer::text(400, "a code_id is missing"),
            },
            ("DELETE", "environment-cache") => {
                self.flushed.lock().unwrap().push(seen.head.query("environment").map(str::to_owned));
                Answer { status: 204, headers: Vec::new(), body: Body::Bytes(Bytes::new()) }
            }
            (_, "file_bucket_file") => self.bucket(method, asked.key, body),
            ("PUT", "report") => Answer::json(&json!([])),
            ("PUT", "facts") => Answer::text(200, ""),
            ("GET", "environment_classes") => {
                if seen.head.get("if-none-match") == Some("\"9f1e\"") {
                    return Answer { status: 304, headers: Vec::new(), body: Body::Bytes(Bytes::new()) };
                }
                Answer::json(&json!({ "name": "production", "files": [] })).header("ETag", "\"9f1e\"")
            }
            (
                "GET",
                "environments" | "environment_modules" | "environment_transports" | "tasks" | "plans",
            ) => Answer::json(&json!({ "served_by": self.plan.name })),
            _ => Answer::text(404, "Not Found"),
        }
    }

    fn catalog(&self, believed: &Believed) -> Answer {
        let name = believed.certname().unwrap_or_default();
        let catalog = catalog(name, believed.extensions(), &self.plan.name, self.plan.catalog_bytes);
        Answer::json(&catalog).header("X-Puppet-Compiler-Name", self.plan.name.clone())
    }

    fn bucket(&self, method: &str, key: &str, body: &[u8]) -> Answer {
        let sum = key.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        let mut files = self.bucket.lock().unwrap();
        match (method, files.get(&sum)) {
            ("PUT", _) => {
                files.insert(sum, Bytes::copy_from_slice(body));
                Answer::text(200, "")
            }
            ("GET", Some(file)) => Answer::octets(Body::Bytes(file.clone())),
            ("HEAD", Some(_)) => Answer::text(200, ""),
            _ => Answer::text(404, format!("Not Found: Could not find file_bucket_file {key}")),
        }
    }
}

/// A catalog of this node, as one server compiles it.
pub(crate) fn catalog(name: &str, extensions: &[(String, String)], server: &str, bytes: usize) -> Value {
    let extensions: serde_json::Map<String, Value> =
        extensions.iter().map(|(oid, text)| (oid.clone(), Value::String(text.clone()))).collect();
    json!({
        "name": name,
        "environment": "production",
        "version": 1_795_000_000,
        "code_id": "urn:puppet:code-id:1:4dd9a2e0;production",
        "compiled_by": server,
        "trusted": { "certname": name, "extensions": extensions },
        "resources": [{
            "type": "Notify",
            "title": "filler",
            "parameters": { "message": "x".repeat(bytes) },
        }, {
            "type": "File",
            "title": "/etc/motd",
            "parameters": { "content": format!("served by {server}") },
        }],
    })
}

fn metadata(path: &str) -> Value {
    json!({
        "path": "/etc/puppetlabs/code/environments/production/modules",
        "relative_path": path,
        "links": "manage",
        "owner": 0,
        "group": 0,
        "mode": 420,
        "checksum": { "type": "sha256", "value": "{sha256}9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15" },
        "type": "file",
        "destination": null,
    })
}
