//! `stagedoor flush`: after a deployment, every master forgets what it has read of its environments.
//!
//! Made for r10k's `postrun`, which puts all environments that it deployed into one word, and an empty one where it
//! only removed some; through ssh they come as words of their own, or none.

use std::fmt::Write as _;

use clap::Args;
use stagedoor_config::admin::flush::{Flush, Flushed, Outcome};
use stagedoor_config::environment::{Environment, NoEnvironment};

use super::ask::ask_masters;
use super::at::{At, json};
use super::{Failure, say};

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Only these environments: several words, or one with spaces between, as r10k gives them. No word, or an empty one,
    /// means every environment.
    #[arg(long, value_name = "NAME", num_args = 0.., value_parser = environments)]
    environment: Vec<Names>,
    #[command(flatten)]
    at: At,
}

/// The environments in one word of the command line.
#[derive(Debug, Clone)]
struct Names(Vec<Environment>);

fn environments(word: &str) -> Result<Names, NoEnvironment> {
    word.split_ascii_whitespace().map(Environment::parse).collect::<Result<_, _>>().map(Names)
}

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        let socket = self.at.socket()?;
        let environments = self.environment.into_iter().flat_map(|names| names.0).collect();
        let asked = ask_masters::<Flushed>(&socket, "/v1/flush", &Flush { environments });
        let flushed = asked.map_err(|why| self.at.unanswered(why))?;
        say(&if self.at.json { json(&flushed) } else { lines(&flushed) })?;
        match flushed.masters.iter().filter(|master| master.outcome == Outcome::Failed).count() {
            0 => Ok(()),
            _ if self.at.json => Err(Failure::Told),
            failed => Err(anyhow::anyhow!(
                "{failed} of {} masters may still compile old code: see above, then flush again",
                flushed.masters.len()
            )
            .into()),
        }
    }
}

fn lines(flushed: &Flushed) -> String {
    let mut out = String::new();
    for master in &flushed.masters {
        let why = master.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        // Writing to a string cannot fail.
        writeln!(out, "{} {}{why}", master.certname, master.outcome.name()).ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use stagedoor_config::admin::flush::FlushedMaster;
    use stagedoor_config::certname::Certname;

    use super::*;

    #[test]
    fn one_word_may_hold_all_environments_that_r10k_deployed_or_none() {
        let of = |word: &str| -> Vec<String> {
            environments(word).unwrap().0.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("production"), ["production"]);
        assert_eq!(of("production  feature_42 test"), ["production", "feature_42", "test"]);
        assert_eq!(of(""), Vec::<String>::new());
        assert!(environments("production feature/42").is_err());
    }

    #[test]
    fn each_master_has_a_line() {
        let master = |name: &str, outcome, why: Option<&str>| FlushedMaster {
            certname: Certname::parse_host(name).unwrap(),
            outcome,
            status: None,
            why: why.map(str::to_owned),
        };
        let masters = vec![
            master("m1.example.com", Outcome::Flushed, None),
            master("m2", Outcome::Failed, Some("cannot connect")),
        ];
        assert_eq!(lines(&Flushed { masters }), "m1.example.com flushed\nm2 failed: cannot connect\n");
    }
}
