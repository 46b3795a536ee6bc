//! The `puppet` program of a machine: its settings, its certificate request, its runs and what they change elsewhere.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{All, Said, failed, said};
use crate::answer::{Act, Answer};
use crate::identity::{Identity, KeyKind, Leaf};
use crate::installation::{CONSOLE, PUPPETDB};
use crate::listening::Speaks;
use crate::master::Master;

impl All {
    pub(super) fn puppet(&self, host: &str, words: &[&str]) -> Said {
        match words {
            ["config", "set", name, value, "--section", "main"] => {
                self.machine(host, |machine| {
                    machine.installed = true;
                    machine.settings.insert((*name).to_owned(), (*value).to_owned());
                });
                said(0, "")
            }
            ["stand-in", "extension", oid, value] => {
                self.machine(host, |machine| {
                    machine.attributes.push(((*oid).to_owned(), (*value).to_owned()));
                });
                said(0, "")
            }
            ["config", "print", rest @ ..] => {
                let names = match rest {
                    ["--section", _, names @ ..] => names,
                    [names @ .., "--section", _] => names,
                    names => names,
                };
                let value = |name: &str| self.printed(host, name);
                match names {
                    [name] => said(0, format!("{}\n", value(name))),
                    names => said(
                        0,
                        names.iter().map(|name| format!("{name} = {}\n", value(name))).collect::<String>(),
                    ),
                }
            }
            ["ssl", "submit_request", ..] => self.submit(host),
            ["agent", "--disable", ..] => {
                self.machine(host, |machine| machine.disabled = true);
                fs::write(self.file(host, "agent_disabled_lockfile"), "{}").expect("a file of our own");
                said(0, "")
            }
            ["agent", ..] => self.agent_runs(host),
            words => self
                .old_puppet(host, words)
                .unwrap_or_else(|| failed(1, format!("puppet {}: not in this stand-in\n", words.join(" ")))),
        }
    }

    pub(super) fn file(&self, host: &str, name: &str) -> PathBuf {
        self.folder.join(format!("{host}.{name}"))
    }

    pub(super) fn printed(&self, host: &str, name: &str) -> String {
        let file = |name: &str| self.file(host, name).display().to_string();
        match name {
            "lastrunreport"
            | "hostcert"
            | "hostprivkey"
            | "csr_attributes"
            | "localcacert"
            | "agent_disabled_lockfile"
            | "agent_catalog_run_lockfile" => file(name),
            "noop" => "false".to_owned(),
            "certname" => host.to_owned(),
            "environmentpath" => self.folder.join(format!("{host}.environments")).display().to_string(),
            name => {
                let set = self.machine(host, |machine| machine.settings.get(name).cloned());
                set.unwrap_or_else(|| if name == "server" { "puppet".to_owned() } else { String::new() })
            }
        }
    }

    /// Makes a key where there is none, and hands in a request.
    fn submit(&self, host: &str) -> Said {
        let attributes = fs::read_to_string(self.file(host, "csr_attributes")).unwrap_or_default();
        let (request, key) = self.machine(host, |machine| {
            let names = machine.settings.get("dns_alt_names").cloned().unwrap_or_default();
            let mut leaf = Leaf::node(host);
            let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
            if !names.is_empty() {
                leaf = names.iter().fold(leaf.alt_name(host), |leaf, name| leaf.alt_name(name));
            }
            for line in attributes.lines().filter_map(|line| line.strip_prefix("  ")) {
                if let Some((oid, value)) = line.split_once(": ") {
                    leaf = leaf.extension(oid, value.trim_matches('\''));
                }
            }
            for (oid, value) in &machine.attributes {
                leaf = leaf.extension(oid, value);
            }
            let key = machine.key.get_or_insert_with(|| KeyKind::P256.generate());
            (leaf.request_pem(key), key.serialize_pem())
        });
        fs::write(self.file(host, "hostprivkey"), &key).expect("a file of our own");
        // An agent fetches the CA's certificates before it asks for its own.
        fs::write(self.file(host, "localcacert"), self.mom.bundle_pem()).expect("a file of our own");
        self.mom.hand_in(host, &request);
        said(0, "Notice: Submitted certificate request\n")
    }

    /// A run, as far as it has effects on others.
    pub(super) fn agent_runs(&self, host: &str) -> Said {
        self.agent_runs_with(host, &json!({}))
    }

    /// The same, with further fields of its report.
    pub(super) fn agent_runs_with(&self, host: &str, more: &Value) -> Said {
        if self.machine(host, |machine| machine.disabled) {
            return said(
                1,
                "Notice: Skipping run of Puppet configuration client; administratively disabled\n",
            );
        }
        if let Some(master) = self.masters.get(host) {
            let Some(pem) = self.mom.signed(host) else {
                self.submit(host);
                return failed(1, "Exiting; no certificate found and waitforcert is disabled\n");
            };
            self.lay_out(host, master, &pem);
            self.puppetdb.exported(host);
        }
        if host == PUPPETDB {
            self.puppetdb.took_up();
        }
        if host == CONSOLE {
            *self.console.lock().unwrap() = self.puppetdb.collected().into_iter().collect();
        }
        self.run_reports(host, "changed", more)
    }

    /// The end of a run: its report, on the machine and in PuppetDB.
    pub(super) fn run_reports(&self, host: &str, status: &str, more: &Value) -> Said {
        let number = self.transactions.fetch_add(1, Ordering::Relaxed);
        let transaction = format!("00000000-0000-4000-8000-{number:012}");
        self.puppetdb.report(host, status, &transaction, more);
        let field = |name: &str, usual: &str| {
            let value = more.get(name).map(|value| value.to_string().trim_matches('"').to_owned());
            value.unwrap_or_else(|| usual.to_owned())
        };
        let text = format!(
            "---\nhost: {host}\nstatus: {status}\ntransaction_uuid: {transaction}\nnoop: {}\ncached_catalog_status: {}\n",
            field("noop", "false"),
            field("cached_catalog_status", "not_used")
        );
        fs::write(self.file(host, "lastrunreport"), text).expect("a file of our own");
        self.machine(host, |machine| {
            machine.last_report = Some(json!({ "status": status }));
            machine.runs += 1;
        });
        self.runs.lock().unwrap().push(host.to_owned());
        match status {
            "failed" => failed(4, "Error: /Stage[main]/Main/Exec[x]: change failed\n"),
            "unchanged" => said(0, "Notice: Applied catalog in 0.10 seconds\n"),
            _ => said(2, "Notice: Applied catalog in 0.20 seconds\n"),
        }
    }

    /// What a run makes of a new machine: a Puppet Server, sealed as site data says.
    fn lay_out(&self, host: &str, master: &Master, pem: &str) {
        let (sealed, key) = self.machine(host, |machine| {
            let key = machine.key.as_ref().map(KeyPair::serialize_pem);
            (machine.sealed, key.expect("whoever has a certificate has a key"))
        });
        let key = KeyPair::from_pem(&key).expect("our own key");
        let identity = Identity::from_pem(host, pem, &key).expect("the CA's certificate");
        let is_new = master.lay_out(&identity, sealed, &self.door_ca);
        if self.java_7.lock().unwrap().is_some() {
            master.listening().speak(Speaks::Java7);
        }
        if is_new {
            // Its catalogs need PuppetDB, which lets in those whose names its own run has written.
            let (puppetdb, name) = (self.puppetdb.clone(), host.to_owned());
            let refused = "Server Error: Failed to submit 'replace facts' command to PuppetDB: 403: The client certificate name \
                           doesn't appear in the certificate allowlist.";
            master.script_where(
                move |head| head.path().contains("/catalog/") && !puppetdb.lets_in(&name),
                Act::Answer(Answer::text(500, refused)),
            );
        }
    }
}
