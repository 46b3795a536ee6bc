//! Who may ask the console and the orchestrator, by token or by certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::json;

use super::ENROLLER;
use crate::answer::Answer;
use crate::record::Seen;

/// Tokens, certificates and permissions.
pub struct Rights {
    book: Mutex<Book>,
}

struct Book {
    /// Valid tokens, and for how many questions more where that is bounded.
    tokens: BTreeMap<String, Option<usize>>,
    /// Certnames on `rbac-certificate-allowlist`.
    listed: BTreeSet<String>,
    /// Parts of paths that nobody's permissions are for.
    forbidden: Vec<String>,
}

impl Default for Rights {
    fn default() -> Self {
        let listed = BTreeSet::from([ENROLLER.to_owned()]);
        Self { book: Mutex::new(Book { tokens: BTreeMap::new(), listed, forbidden: Vec::new() }) }
    }
}

impl Rights {
    /// This token is valid.
    pub fn accept(&self, token: &str) {
        self.book.lock().unwrap().tokens.insert(token.to_owned(), None);
    }

    /// This token ends after so many questions.
    pub fn expire_after(&self, token: &str, questions: usize) {
        self.book.lock().unwrap().tokens.insert(token.to_owned(), Some(questions));
    }

    /// This certname is on the list.
    pub fn list(&self, certname: &str) {
        self.book.lock().unwrap().listed.insert(certname.to_owned());
    }

    /// This certname is on no list.
    pub fn unlist(&self, certname: &str) {
        self.book.lock().unwrap().listed.remove(certname);
    }

    /// Nobody has the permission for paths that hold this.
    pub fn forbid(&self, part: &str) {
        self.book.lock().unwrap().forbidden.push(part.to_owned());
    }

    /// Everybody who is known has every permission again.
    pub fn allow_all(&self) {
        self.book.lock().unwrap().forbidden.clear();
    }

    /// The answer to who may not ask this.
    pub(super) fn refuse(&self, seen: &Seen) -> Option<Answer> {
        let mut book = self.book.lock().unwrap();
        let known = match seen.head.get("x-authentication") {
            Some(token) => match book.tokens.get_mut(token) {
                None | Some(Some(0)) => {
                    return Some(error(401, "token-expired", "The provided token has expired."));
                }
                Some(left) => {
                    *left = left.map(|left| left - 1);
                    true
                }
            },
            None => seen.peer.as_ref().is_some_and(|peer| book.listed.contains(peer)),
        };
        if !known {
            return Some(error(401, "user-unauthenticated", "Route requires authentication"));
        }
        let path = seen.path();
        book.forbidden.iter().any(|part| path.contains(part)).then(|| {
            error(
                403,
                "permission-denied",
                &format!("Sorry, but you don't have permission to do that: {path}"),
            )
        })
    }
}

/// An error in the form that all of these have.
pub(super) fn error(status: u16, kind: &str, msg: &str) -> Answer {
    let mut answer = Answer::json(&json!({ "kind": kind, "msg": msg, "details": null }));
    answer.status = status;
    answer
}
