//! `stagedoor roster`: the roster, asked of the running door, which is its only writer.

use std::num::NonZero;
use std::path::Path;

use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stagedoor_config::admin::{Admit, KindName, MastersView, Move, Retire, RosterView, Seal};
use stagedoor_config::certname::{Certname, NotACertname};
use stagedoor_config::master::{Check as CheckBy, Isolation};

use super::ask::{NoAnswer, ask};
use super::at::{At, json};
use super::table::{self, Cell};
use super::{Failure, say};

#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show who is on the roster, and how each does.
    Show,
    /// Let a compile master take requests: one that comes, or one that is warm.
    Admit(Comes),
    /// Put a compile master on the roster that gets no request of any agent but its canary until it is admitted.
    Warm(Comes),
    /// Let a master finish what it has and send it nothing new.
    Drain {
        #[command(flatten)]
        one: One,
    },
    /// Let a draining master take requests again.
    Undrain {
        #[command(flatten)]
        one: One,
    },
    /// Take a drained master, or a warm one, off the roster.
    Retire {
        #[command(flatten)]
        one: One,
        /// Also one that still takes requests: it gets nothing new at once, and finishes what it has.
        #[arg(long)]
        force: bool,
    },
}

/// A master that comes, as it is.
#[derive(Debug, Clone, Args)]
struct Comes {
    #[command(flatten)]
    one: One,
    /// Where it is reached [default: its certname on port 8140].
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The most bytes of request head that it reads (webserver.conf's request-header-max-size) [default: 8192].
    #[arg(long, value_name = "BYTES")]
    header_limit: Option<usize>,
    /// It ends agents' TLS itself and believes no identity headers: it is passed bytes.
    #[arg(long)]
    open: bool,
    /// How an open master is asked whether it is fit: "tcp" for Puppet Enterprise 3.x [default: status].
    #[arg(long, value_name = "CHECK", value_parser = check, requires = "open")]
    check: Option<CheckBy>,
    /// What keeps everybody but the doors away from a sealed one: "door-ca" or "firewall" [default: door-ca].
    #[arg(long, value_name = "ISOLATION", value_parser = isolation, conflicts_with = "open")]
    isolation: Option<Isolation>,
    /// How many catalogs it compiles at once (max-active-instances) [default: not said].
    #[arg(long, value_name = "NUMBER")]
    jrubies: Option<NonZero<u16>>,
}

#[derive(Debug, Clone, Args)]
struct One {
    /// The master, by the name in its certificate.
    #[arg(value_name = "CERTNAME", value_parser = certname)]
    certname: Certname,
    /// Refuse if the roster is no longer at this generation.
    #[arg(long, value_name = "NUMBER")]
    generation: Option<u64>,
}

fn certname(text: &str) -> Result<Certname, NotACertname> {
    Certname::parse_host(text)
}

fn check(text: &str) -> Result<CheckBy, &'static str> {
    let known = CheckBy::ALL.into_iter().find(|check| check.name() == text);
    known.ok_or("expected \"status\" or \"tcp\"")
}

fn isolation(text: &str) -> Result<Isolation, &'static str> {
    let known = Isolation::ALL.into_iter().find(|isolation| isolation.name() == text);
    known.ok_or("expected \"door-ca\" or \"firewall\"")
}

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        let socket = self.at.socket()?;
        match self.what.ask(&socket, self.at.json) {
            Ok(words) => say(&words),
            Err(why) => Err(self.at.unanswered(why)),
        }
    }
}

impl What {
    /// What to say of the answer.
    fn ask(&self, socket: &Path, as_json: bool) -> Result<String, NoAnswer> {
        let (one, roster, now) = match self {
            Self::Show if as_json => return Ok(json(&get::<RosterView>(socket, "/v1/roster")?)),
            Self::Show => return Ok(table(&get(socket, "/v1/masters")?)),
            Self::Admit(master) => {
                (&master.one, post(socket, "/v1/roster/admit", &master.body())?, "is admitted")
            }
            Self::Warm(master) => (&master.one, post(socket, "/v1/roster/warm", &master.body())?, "is warm"),
            Self::Drain { one } => (one, post(socket, "/v1/roster/drain", &one.moved())?, "is draining"),
            Self::Undrain { one } => {
                (one, post(socket, "/v1/roster/undrain", &one.moved())?, "takes requests again")
            }
            Self::Retire { one, force } => {
                let One { certname, generation } = one.clone();
                let body = Retire { certname, force: *force, generation };
                (one, post(socket, "/v1/roster/retire", &body)?, "is off the roster")
            }
        };
        if as_json {
            return Ok(json(&roster));
        }
        Ok(format!("{} {now}; the roster is at generation {}", one.certname, roster.generation))
    }
}

impl Comes {
    fn body(&self) -> Admit {
        let Self { one, address, header_limit, open, check, isolation, jrubies } = self.clone();
        Admit {
            address,
            header_limit,
            kind: open.then_some(KindName::Open),
            check,
            isolation,
            jrubies,
            generation: one.generation,
            ..Admit::of(one.certname)
        }
    }
}

impl One {
    fn moved(&self) -> Move {
        Move { certname: self.certname.clone(), generation: self.generation }
    }
}

fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, NoAnswer> {
    ask(socket, Method::GET, path, None::<&()>)
}

fn post(socket: &Path, path: &str, body: &impl Serialize) -> Result<RosterView, NoAnswer> {
    ask(socket, Method::POST, path, Some(body))
}

fn table(view: &MastersView) -> String {
    let mut rows =
        vec![["CERTNAME", "ADDRESS", "STANDING", "FIT", "SEAL", "IN FLIGHT"].map(Cell::plain).to_vec()];
    for master in &view.masters {
        let because = |word: &str, why: &Option<String>| match why {
            Some(why) => format!("{word} ({why})"),
            None => word.to_owned(),
        };
        rows.push(vec![
            Cell::plain(master.certname.as_str()),
            Cell::plain(master.address.as_str()),
            Cell::plain(master.standing.name()),
            Cell::plain(because(master.fit.name(), &master.why)),
            Cell::plain(because(master.seal.map_or("-", Seal::name), &master.seal_why)),
            Cell::plain(master.in_flight.to_string()),
        ]);
    }
    let mut out = format!("generation {}\n", view.generation);
    if view.masters.is_empty() {
        out.push_str("no compile master is on it; `stagedoor roster admit CERTNAME` admits one\n");
    } else {
        out.push_str(&table::table(&rows, false));
    }
    out
}

#[cfg(test)]
mod tests {
    use stagedoor_config::admin::{Fit, MasterView};
    use stagedoor_config::master::{Kind, Standing};

    use super::*;

    #[test]
    fn a_roster_is_shown_with_how_each_master_does() {
        let master = |name: &str, standing, fit, why: Option<&str>| MasterView {
            certname: certname(name).unwrap(),
            address: format!("{name}:8140"),
            kind: Kind::SEALED,
            standing,
            fit,
            why: why.map(str::to_owned),
            seal: why.is_none().then_some(Seal::Unsealed),
            seal_why: why.is_none().then(|| "gets no request: it answers 200".to_owned()),
            seats: None,
            in_flight: 12,
            catalogs: None,
            canary: None,
        };
        let view = MastersView {
            generation: 4,
            masters: vec![
                master("compile1.example.com", Standing::Admitted, Fit::Fit, None),
                master("c2", Standing::Draining, Fit::Unfit, Some("no answer within 5s")),
            ],
        };
        let expected = "\
generation 4
CERTNAME              ADDRESS                    STANDING  FIT                          SEAL                                        IN FLIGHT
compile1.example.com  compile1.example.com:8140  admitted  fit                          unsealed (gets no request: it answers 200)  12
c2                    c2:8140                    draining  unfit (no answer within 5s)  -                                           12
";
        assert_eq!(table(&view), expected);
        assert!(table(&MastersView { generation: 0, masters: Vec::new() }).contains("roster admit"));
    }
}
