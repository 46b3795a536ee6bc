//! A master's own word on its JRubies: how many it has, how many are free, whether the pool is locked; and since when it has
//! been up.
//!
//! `GET /status/v1/services/jruby-metrics?level=debug`, and `/pe-jruby-metrics` where Puppet Enterprise calls it so. No
//! JRuby is needed to answer. The door's identity is stated, for masters that let nobody else ask. A master that does not
//! say has the seats that the roster says, or those that are assumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;

use super::probe::spread;
use super::question::{Question, Questions, Unanswered};
use super::seat::{ASSUMED, Gauges};
use crate::door::Door;
use crate::headers;
use crate::observe::log::chain;
use crate::pool::{Member, Pool};

/// Open-source Puppet Server.
const JRUBY: &str = "/status/v1/services/jruby-metrics?level=debug";
/// Puppet Enterprise.
const PE_JRUBY: &str = "/status/v1/services/pe-jruby-metrics?level=debug";
/// The process that it is.
const STATUS: &str = "/status/v1/services/status-service?level=debug";
/// A request that has waited so long while JRubies are free waits for a pool that is locked: Puppet Server says so of a lock
/// of Puppet Enterprise's, and not of one by which its pool is flushed. Less may be two numbers read one after the other.
const STUCK: u64 = 1_000;
/// Each request at work or waiting there is a few hundred bytes of it.
const MOST: usize = 4 << 20;

/// Asks one master again and again, until the task is ended because the master left.
pub(crate) async fn keep_asking(door: Arc<Door>, pool: Arc<Pool>, member: Arc<Member>) {
    let (mut path, mut said) = (JRUBY, None);
    loop {
        let health = door.snapshot.load().settings.health;
        pool.gauges_asked(member.id);
        let asked = tokio::time::timeout(health.timeout, ask(&door, &member, &mut path, health.timeout));
        let gauges = asked.await.unwrap_or(Err(Ungauged::Unanswered(Unanswered::Late)));
        match gauges {
            Ok((gauges, up)) => {
                if up.is_some_and(|(time, asked)| pool.has_been_up(member.id, time, asked)) {
                    restarted(&pool, &member);
                }
                pool.gauged(member.id, gauges, health.interval);
                said = None;
            }
            // Its health checks tell of a master that cannot be asked at all.
            Err(Ungauged::Unanswered(_)) => {}
            Err(why) => {
                let why = chain(&why);
                if said.as_ref() != Some(&why) {
                    tracing::warn!(
                        master = %member.peer.certname, why,
                        "it does not say how many JRubies it has: {ASSUMED} are assumed where the roster does not say \
                         (`stagedoor roster admit NAME --jrubies N`)"
                    );
                    said = Some(why);
                }
            }
        }
        tokio::time::sleep(spread(health.interval)).await;
    }
}

/// A master has been started anew, so quickly that no health check was missed: it begins with one seat, and its seal is tested
/// before it is used again, since it may have come back with other settings.
fn restarted(pool: &Arc<Pool>, member: &Member) {
    let master = &member.peer.certname;
    member.metrics.restarted.inc();
    tracing::info!(%master, "master has been started anew: it begins with one seat");
    if member.kind.is_sealed() {
        let _turn = pool.seal_lost(member, "it was started anew, and may have been changed");
    }
}

/// Why there are no gauges.
#[derive(Debug, thiserror::Error)]
enum Ungauged {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("what it answered is not what jruby-metrics says at level debug")]
    Unread(#[source] serde_json::Error),
}

async fn ask(
    door: &Door,
    member: &Member,
    path: &mut &'static str,
    patience: Duration,
) -> Result<(Gauges, Option<(Duration, Instant)>), Ungauged> {
    let mut headers = HeaderMap::new();
    if let Some(own) = &door.snapshot.load().own {
        headers::state(&mut headers, own.stated());
    }
    let mut questions = Questions::new(door, member, patience);
    let mut status = StatusCode::NOT_FOUND;
    for tried in [*path, if *path == JRUBY { PE_JRUBY } else { JRUBY }] {
        let target = Uri::from_static(tried);
        let question =
            Question { method: Method::GET, target: &target, headers: headers.clone(), most: MOST };
        let answer = questions.ask(question).await?;
        status = answer.status;
        match status {
            StatusCode::OK => {
                *path = tried;
                let gauges = read(&answer.body).map_err(Ungauged::Unread)?;
                return Ok((gauges, uptime(&mut questions, headers).await));
            }
            StatusCode::NOT_FOUND => {}
            _ => break,
        }
    }
    Err(Ungauged::Status(status))
}

/// For how long a master's process has been up, and when it was asked; none where it does not say, which some settings forbid.
async fn uptime(questions: &mut Questions<'_>, headers: HeaderMap) -> Option<(Duration, Instant)> {
    let asked = Instant::now();
    let target = Uri::from_static(STATUS);
    let question = Question { method: Method::GET, target: &target, headers, most: MOST };
    let answer = questions.ask(question).await.ok().filter(|answer| answer.status == StatusCode::OK)?;
    Some((read_uptime(&answer.body)?, asked))
}

fn read_uptime(body: &[u8]) -> Option<Duration> {
    let said: serde_json::Value = serde_json::from_slice(body).ok()?;
    let millis = said.pointer("/status/experimental/jvm-metrics/up-time-ms")?.as_u64()?;
    Some(Duration::from_millis(millis))
}

#[derive(Deserialize)]
struct Body {
    status: Told,
}

#[derive(Deserialize)]
struct Told {
    experimental: Experimental,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Experimental {
    /// Absent before Puppet Server 2.7.
    jruby_pool_lock_status: Option<Lock>,
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lock {
    current_state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metrics {
    num_jrubies: u32,
    num_free_jrubies: u32,
    /// Requests that wait for a JRuby.
    #[serde(default)]
    requested_instances: Vec<Waits>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Waits {
    #[serde(default)]
    duration_millis: u64,
}

fn read(body: &[u8]) -> Result<Gauges, serde_json::Error> {
    let Experimental { jruby_pool_lock_status, metrics } =
        serde_json::from_slice::<Body>(body)?.status.experimental;
    // A keyword of Clojure's, written with its colon.
    let free = |lock: &Lock| lock.current_state.trim_start_matches(':') == "not-in-use";
    let stuck = metrics.num_free_jrubies > 0
        && metrics.requested_instances.iter().any(|waits| waits.duration_millis >= STUCK);
    Ok(Gauges {
        jrubies: metrics.num_jrubies,
        free: metrics.num_free_jrubies,
        locked: stuck || jruby_pool_lock_status.is_some_and(|lock| !free(&lock)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Puppet Server 7.9.5 says it, shortened.
    const SAID: &str = r#"{"service_version":"7.9.5","service_status_version":1,"detail_level":"debug",
        "state":"running","status":{"experimental":{"jruby-pool-lock-status":{"current-state":":not-in-use",
        "last-change-time":"2026-01-01T00:00:00.000Z"},"metrics":{"average-lock-wait-time":0,"num-free-jrubies":3,
        "num-jrubies":4,"borrowed-instances":[]}}},"active_alerts":[],"service_name":"jruby-metrics"}"#;

    #[test]
    fn jrubies_and_the_lock_are_read_as_puppet_server_says_them() {
        assert_eq!(read(SAID.as_bytes()).unwrap(), Gauges { jrubies: 4, free: 3, locked: false });
        for state in [":requested", ":acquired"] {
            let locked = SAID.replace(":not-in-use", state);
            assert!(read(locked.as_bytes()).unwrap().locked, "{state}");
        }
    }

    #[test]
    fn the_uptime_is_read_as_puppet_server_says_it() {
        let said = r#"{"service_name":"status-service","status":{"experimental":{"jvm-metrics":{"up-time-ms":63250,
            "start-time-ms":1}}}}"#;
        assert_eq!(read_uptime(said.as_bytes()), Some(Duration::from_millis(63_250)));
        assert_eq!(read_uptime(said.replace("63250", "-1").as_bytes()), None);
        assert_eq!(read_uptime(b"{}"), None);
    }

    #[test]
    fn a_pool_whose_jrubies_are_free_and_given_to_nobody_is_locked() {
        let waits = |free: u32, millis: u32| {
            let waiting = format!(
                r#""num-free-jrubies":{free},"requested-instances":[{{"duration-millis":{millis},"reason":{{"request":
                {{"uri":"/puppet/v3/node/web1.example.com","request-method":"get","route-id":"puppet-v3-node"}}}},"time":1}}]"#
            );
            read(SAID.replace(r#""num-free-jrubies":3"#, &waiting).as_bytes()).unwrap().locked
        };
        assert!(waits(3, 1_000), "a flush");
        assert!(!waits(3, 999), "it is just being given one");
        assert!(!waits(0, 60_000), "all of them work");
    }

    #[test]
    fn an_answer_without_gauges_is_told_from_one_with_none_free() {
        for said in
            ["", "{}", r#"{"status":{}}"#, r#"{"status":{"experimental":{"metrics":{"num-jrubies":-1}}}}"#]
        {
            assert!(read(said.as_bytes()).is_err(), "{said}");
        }
    }
}
