//! Having every master forget its environments: `DELETE /puppet-admin-api/v1/environment-cache`.
//!
//! Each master has a cache of its own and forgets only what it is told itself, so every one on the roster is told,
//! warm, draining and unfit ones too: they may be let in yet. A sealed master knows the door by the identity headers that
//! the door states of itself, from its own certificate. No agent can say the same: requests for the admin API end at
//! the door (`route`), and a sealed master answers nobody else.
//!
//! An open master believes no headers and may know no certificate of the door's, so it is named and left alone:
//! whatever flushed it before it had a door still can.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri};
use stagedoor_config::admin::flush::{Flushed, FlushedMaster, Outcome};
use stagedoor_config::certname::Certname;
use stagedoor_config::environment::Environment;
use stagedoor_config::master::Master;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::pick::hash;
use super::question::{Question, Questions, Unanswered};
use crate::door::Door;
use crate::headers;
use crate::observe::log::chain;

const PATH: &str = "/puppet-admin-api/v1/environment-cache";
/// Masters are told in the roster's order, so many at a time: one that does not answer keeps no other from compiling
/// the new code.
const AT_ONCE: usize = 8;
/// For one master, all its environments: the master only sets a mark for each.
const EACH: Duration = Duration::from_secs(10);
/// For all of them: some eighty masters that do not answer.
pub(crate) const WHOLE: Duration = Duration::from_secs(100);
/// A 204 has no body, a refusal a line.
const MOST: usize = 64 * 1024;

/// Why a master was not flushed.
#[derive(Debug, thiserror::Error)]
enum Unflushed {
    /// Its turn did not come, or it was not done.
    #[error("not within {} s: masters before it did not answer", WHOLE.as_secs())]
    NoTurn,
    /// The door's certificate names nobody.
    #[error(
        "the door has no name to state: the first certificate in masters.certificate must have one CN, a certname"
    )]
    Nameless,
    /// It left the roster while the others were told.
    #[error("it is no longer on the roster")]
    Gone,
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// Another answer than success.
    #[error("it answered {status}{meaning}")]
    Answered { status: StatusCode, meaning: String },
}

/// Tells every master; none named means every environment.
pub(crate) async fn flush(door: Arc<Door>, environments: Vec<Environment>) -> Flushed {
    let ends = Instant::now() + WHOLE;
    let targets: Arc<[Uri]> = targets(&environments).into();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let roster = Arc::clone(&door.snapshot.load().roster);
    let mut told = Vec::with_capacity(roster.masters.len());
    for master in &roster.masters {
        if !master.kind.is_sealed() {
            told.push(None);
            continue;
        }
        let place = timeout_at(ends, Arc::clone(&places).acquire_owned()).await;
        let (door, master, targets) = (Arc::clone(&door), master.clone(), Arc::clone(&targets));
        told.push(Some(tokio::spawn(async move {
            let Ok(Ok(place)) = place else { return Err(Unflushed::NoTurn) };
            let told = timeout(EACH, tell(&door, &master, &targets)).await;
            drop(place);
            told.unwrap_or(Err(Unflushed::Unanswered(Unanswered::Late)))
        })));
    }
    let hashes: Vec<u64> = environments.iter().map(|name| hash(name.as_str())).collect();
    let mut masters = Vec::with_capacity(told.len());
    for (master, told) in roster.masters.iter().zip(told) {
        let Some(told) = told else {
            masters.push(left_alone(master));
            continue;
        };
        // A task that panicked has said so in the log, and told nobody anything.
        let told = timeout_at(ends, told).await.ok().and_then(Result::ok);
        let told = told.unwrap_or(Err(Unflushed::NoTurn));
        if let Some(member) = door.pool.member(&master.certname) {
            let metrics = &member.metrics;
            if told.is_ok() { &metrics.flushed } else { &metrics.flush_failed }.inc();
            if told.is_ok() {
                door.pool.flushed(member.id, &hashes);
            }
        }
        masters.push(became(master, told));
    }
    Flushed { masters }
}

/// One master, on one connection.
async fn tell(door: &Door, master: &Master, targets: &[Uri]) -> Result<StatusCode, Unflushed> {
    let Some(member) = door.pool.member(&master.certname) else { return Err(Unflushed::Gone) };
    let snapshot = door.snapshot.load_full();
    let own = snapshot.own.as_ref().ok_or(Unflushed::Nameless)?;
    let mut headers = HeaderMap::new();
    headers::state(&mut headers, own.stated());
    let mut questions = Questions::new(door, &member, EACH);
    let mut last = StatusCode::NO_CONTENT;
    for target in targets {
        let (method, headers) = (Method::DELETE, headers.clone());
        let answer = questions.ask(Question { method, target, headers, most: MOST }).await?;
        last = answer.status;
        if !last.is_success() {
            return Err(Unflushed::Answered { status: last, meaning: meaning(last, own.certname()) });
        }
    }
    Ok(last)
}

/// One request for each environment, or one for all.
fn targets(environments: &[Environment]) -> Vec<Uri> {
    if environments.is_empty() {
        return vec![Uri::from_static(PATH)];
    }
    let mut names: Vec<_> = environments.iter().collect();
    names.sort_unstable();
    names.dedup();
    // An environment's name has no letter that a query would read otherwise.
    names.iter().filter_map(|name| format!("{PATH}?environment={name}").parse().ok()).collect()
}

/// What a refusal means, with what to do.
fn meaning(status: StatusCode, own: Option<&Certname>) -> String {
    let mut words = String::new();
    let own = own.map_or("this door", Certname::as_str);
    // Writing to a string cannot fail.
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => write!(
            words,
            ": its auth.conf does not let {own} delete {PATH}; put {own} among the `doors` of the Puppet module \
             stagedoor, or add the rule {{ match-request: {{ path: \"{PATH}\", type: path, method: delete }}, allow: \
             \"{own}\", sort-order: 300, name: \"stagedoor environment cache\" }}, and see that it has \
             allow-header-cert-info: true"
        ),
        StatusCode::NOT_FOUND => {
            write!(words, ": it has no {PATH}; see that its web-routes.conf has the puppet-admin service")
        }
        _ => write!(words, "; see its puppetserver.log"),
    }
    .ok();
    words
}

fn left_alone(master: &Master) -> FlushedMaster {
    let why = "it is passed through and the door has no identity there: flush it as before, by its own name";
    FlushedMaster {
        certname: master.certname.clone(),
        outcome: Outcome::Open,
        status: None,
        why: Some(why.to_owned()),
    }
}

fn became(master: &Master, told: Result<StatusCode, Unflushed>) -> FlushedMaster {
    let certname = master.certname.clone();
    match told {
        Ok(status) => {
            FlushedMaster { certname, outcome: Outcome::Flushed, status: Some(status.as_u16()), why: None }
        }
        Err(why) => {
            let status = match &why {
                Unflushed::Answered { status, .. } => Some(status.as_u16()),
                _ => None,
            };
            FlushedMaster { certname, outcome: Outcome::Failed, status, why: Some(chain(&why)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_environment_is_asked_for_once_and_none_means_all() {
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| Environment::parse(name).unwrap()).collect();
            targets(&names).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), ["/puppet-admin-api/v1/environment-cache"]);
        assert_eq!(
            of(&["test", "production", "test"]),
            [
                "/puppet-admin-api/v1/environment-cache?environment=production",
                "/puppet-admin-api/v1/environment-cache?environment=test"
            ]
        );
    }

    #[test]
    fn a_refusal_names_the_rule_that_is_missing_and_the_door() {
        let door = Certname::parse("door1.example.com").unwrap();
        let words = meaning(StatusCode::FORBIDDEN, Some(&door));
        for part in
            ["does not let door1.example.com", "`doors`", "method: delete", "allow: \"door1.example.com\""]
        {
            assert!(words.contains(part), "{words}");
        }
        assert!(!meaning(StatusCode::INTERNAL_SERVER_ERROR, Some(&door)).contains("auth.conf"));
    }
}
