//! What machines of Puppet Enterprise have beside others: commands of old versions, `curl` that speaks to servers on Java 7,
//! MCollective, and runs that the orchestrator starts.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::{All, Machines, Said, Turn, failed, said};
use crate::identity::Identity;
use crate::installation::pe::{self, Classifier};
use crate::installation::{CONSOLE, PUPPETDB};
use crate::mom;

impl Machines {
    /// Machines have the `puppet` program once an agent was installed there, and not before.
    pub(in super::super) fn have_no_agent_at_first(&self) {
        self.all.bare.store(true, Ordering::Relaxed);
    }

    /// A machine's own certificate with its key, and the CA's, where its agent keeps them.
    pub(in super::super) fn has_papers(&self, certname: &str, identity: &Identity, bundle: &str) {
        let write = |name, text: &str| {
            fs::write(self.all.file(certname, name), text).expect("a file of our own");
        };
        write("hostcert", &identity.certificate_pem);
        write("hostprivkey", &identity.key_pem);
        write("localcacert", bundle);
    }

    /// Servers run on Java 7: `curl` on their own machines reaches them.
    pub(in super::super) fn on_java_7(&self, classifier: Arc<Classifier>) {
        *self.all.java_7.lock().unwrap() = Some(classifier);
    }

    /// Has Puppet run on a host for a job; gives its exit code.
    pub(in super::super) fn runs_by_job(&self, host: &str, status: &str, job: &str) -> i32 {
        match status {
            "changed" => self.all.agent_runs_with(host, &json!({ "job_id": job })).code,
            status => self.all.run_reports(host, status, &json!({ "job_id": job })).code,
        }
    }

    /// Whether Puppet has run on a host, which is then known to its broker.
    #[must_use]
    pub fn has_run(&self, certname: &str) -> bool {
        [mom::NAME, PUPPETDB, CONSOLE].contains(&certname)
            || self.all.machines.lock().unwrap().get(certname).is_some_and(|machine| machine.runs > 0)
    }

    /// What `puppet infrastructure provision` was told, each time.
    #[must_use]
    pub fn provisioned(&self) -> Vec<String> {
        self.all.provisioned.lock().unwrap().clone()
    }
}

impl All {
    /// Asks a server on Java 7.
    pub(super) async fn curl_asks(&self, words: &[&str]) -> Said {
        let Some(asked) = pe::curl::read(words) else {
            return failed(2, "curl: a shape that this stand-in does not know\n");
        };
        if asked.believes != self.mom.bundle_pem() {
            return failed(
                60,
                "curl: (60) SSL certificate problem: unable to get local issuer certificate\n",
            );
        }
        let classifier = self.java_7.lock().unwrap().clone();
        let master = self.masters.get(&asked.host);
        let (head, peer, body) = (asked.head, asked.peer, &asked.body);
        let (address, answer) = match (asked.host.as_str(), classifier, master) {
            (mom::NAME, ..) => (self.mom.address(), self.mom.ask(peer, head, body).await),
            (PUPPETDB, ..) => (self.puppetdb.address(), self.puppetdb.ask(peer, head, body).await),
            (CONSOLE, Some(console), _) => (console.address(), console.ask(peer, head, body).await),
            (_, _, Some(master)) => (master.address(), master.ask(peer, head, body).await),
            (host, ..) => return failed(6, format!("curl: (6) Could not resolve host: {host}\n")),
        };
        match answer {
            Some(answer) if address.port().to_string() == asked.port => said(0, pe::curl::printed(&answer)),
            Some(_) => failed(7, "curl: (7) Failed to connect: Connection refused\n"),
            None => failed(52, "curl: (52) Empty reply from server\n"),
        }
    }

    /// MCollective, which hears of a machine once Puppet has run there.
    pub(super) fn mco(&self, words: &[&str]) -> Said {
        let Some((action, arguments, host)) = pe::mco::asked(words) else {
            return failed(1, "The rpc application failed to run\n");
        };
        let (runs, disabled) = self.machine(host, |machine| (machine.runs, machine.disabled));
        if runs == 0 && self.masters.contains_key(host) {
            return said(3, "[]\n");
        }
        match (action, arguments.as_slice()) {
            ("status", []) => {
                let data = pe::mco::status(false, disabled, runs);
                said(0, pe::mco::reply(action, host, 0, "OK", &data))
            }
            ("runonce", ["force=true"]) if disabled => {
                let words = "Puppet is disabled: 'by a test'";
                said(2, pe::mco::reply(action, host, 1, words, &json!({ "summary": words })))
            }
            ("runonce", ["force=true"]) => {
                // A run that fails ends as well, and its report says so.
                match self.scripted(host, "run", &["by", "mcollective"]) {
                    Some(Turn::Reports(status, more)) => drop(self.run_reports(host, status, &more)),
                    _ => drop(self.agent_runs(host)),
                }
                let data = json!({ "summary": "Signalled the running Puppet Daemon" });
                said(0, pe::mco::reply(action, host, 0, "OK", &data))
            }
            _ => failed(1, "The rpc application failed to run\n"),
        }
    }

    /// Commands of versions that have others now, and the vendor's own; none where it is none of them.
    pub(super) fn old_puppet(&self, host: &str, words: &[&str]) -> Option<Said> {
        let told = |done: Result<(), String>, what: &str, certname: &str| {
            done.map_or_else(|why| failed(24, why), |()| said(0, format!("Notice: {what} {certname}\n")))
        };
        match words {
            _ if host != mom::NAME => None,
            ["cert", "--allow-dns-alt-names", "sign", name] => {
                Some(told(self.mom.sign_waiting(name), "Signed", name))
            }
            ["cert", "revoke", name] => Some(told(self.mom.revoke_named(name), "Revoked", name)),
            ["infrastructure", "provision", "compiler", rest @ ..] => {
                self.provisioned.lock().unwrap().push(rest.join(" "));
                Some(said(0, "Success: the compiler was provisioned\n"))
            }
            _ => None,
        }
    }
}
