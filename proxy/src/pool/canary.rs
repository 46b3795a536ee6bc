//! The canary of a master: the one agent whose requests show whether that master compiles, before any other depends
//! on it.
//!
//! It is known by the certname that its handshake proved: `canary.` and the master's own. Its requests go to that
//! master, warm, draining or unfit, since what becomes of them is what somebody wants to know; and to no other, so that
//! whoever comes by such a certificate reaches one master alone. Two things are as for everybody: a master that is not
//! known to refuse strangers is sent nothing, and an open one knows its agents by their own TLS, which ends here.
//!
//! Certnames are lower case by their type, so they are compared as they are.
#![deny(clippy::disallowed_methods)]

use stagedoor_config::certname::Certname;

use super::seal::Seal;
use super::state::Live;

const PREFIX: &str = "canary.";

/// Why a canary's request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// Its master is open.
    IsOpen,
    /// Nobody knows yet whether its master refuses strangers.
    IsUntested,
    /// Its master answers strangers.
    IsUnsealed,
}

/// The name of the master whose canary an agent of this name would be; none for nearly every agent.
#[must_use]
pub fn master_of(agent: &Certname) -> Option<&str> {
    agent.as_str().strip_prefix(PREFIX)
}

/// The number of the one master that this agent's requests go to; none where it is no canary of a master that is there,
/// but an agent like any other.
///
/// # Errors
/// Why they may not go there, and so go nowhere.
#[must_use]
pub fn goes_to(agent: &Certname, masters: &[Live]) -> Option<Result<u32, Barred>> {
    let name = master_of(agent)?;
    let live = masters.iter().find(|live| live.master.certname.as_str() == name)?;
    Some(match &live.seal {
        None => Err(Barred::IsOpen),
        Some(seal) if seal.lets_in() => Ok(live.id),
        Some(Seal::Unsealed { .. }) => Err(Barred::IsUnsealed),
        Some(_) => Err(Barred::IsUntested),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use stagedoor_config::master::{Check, JETTY_HEADER_LIMIT, Kind, Master, Standing};

    use super::super::pick::Want;
    use super::super::seal::{At, Outcome};
    use super::super::state::State;
    use super::*;

    fn agent(name: &str) -> Certname {
        Certname::parse(name).expect("a certname")
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn only_the_whole_name_behind_the_prefix_is_a_masters() {
        for (name, master) in [
            ("canary.m1.example.com", Some("m1.example.com")),
            ("canary.canary.m1.example.com", Some("canary.m1.example.com")),
            ("canary.", Some("")),
            ("canary", None),
            ("canarym1.example.com", None),
            ("m1.example.com", None),
            ("x.canary.m1.example.com", None),
            (" canary.m1.example.com", None),
        ] {
            assert_eq!(master_of(&agent(name)), master, "{name}");
        }
        assert!(Certname::parse("Canary.m1.example.com").is_err(), "no other spelling is a certname");
    }

    /// What is known of a master's seal.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Known {
        Nothing,
        Refuses,
        Answers,
    }

    fn on_roster() -> impl Strategy<Value = (bool, Standing, Known, bool)> {
        let seals = prop::sample::select(vec![Known::Nothing, Known::Refuses, Known::Answers]);
        (any::<bool>(), prop::sample::select(&Standing::ALL[..]), seals, any::<bool>())
    }

    /// A name that is a canary's, or near it.
    fn any_name() -> impl Strategy<Value = String> {
        let before =
            prop::sample::select(vec!["canary.", "", "canary.canary.", "xcanary.", "canary..", "canary"]);
        let after = prop::sample::select(vec!["", ".", ".example.com", " "]);
        (before, 0_u32..6, after).prop_map(|(before, n, after)| format!("{before}m{n}{after}"))
    }

    proptest! {
        /// Whoever is on the roster and however each does: a canary reaches its master and nobody else, past no seal; and
        /// nobody but its canary reaches a warm master.
        #[test]
        fn a_canary_reaches_its_master_alone_and_nobody_else_reaches_a_warm_one(
            roster in prop::collection::vec(on_roster(), 0..5),
            names in prop::collection::vec(any_name(), 1..20),
            chance in any::<u64>(),
        ) {
            let now = start();
            let masters: Vec<Master> = roster.iter().enumerate().map(|(n, (open, standing, ..))| Master {
                certname: agent(&format!("m{n}")),
                address: format!("m{n}:8140"),
                kind: if *open { Kind::Open { check: Check::Status } } else { Kind::SEALED },
                standing: *standing,
                header_limit: JETTY_HEADER_LIMIT,
                jrubies: None,
            }).collect();
            let mut state = State::default();
            for (id, _) in state.reconcile(&masters, now).joined {
                let (_, _, known, fit) = roster[id as usize];
                let at = At { now, lasts: Duration::MAX };
                let _turn = match known {
                    Known::Nothing => None,
                    Known::Refuses => state.seal_tested(id, 0, Outcome::Refused, at),
                    Known::Answers => state.seal_tested(id, 0, Outcome::Answered("it answers".to_owned()), at),
                };
                let _flip = state.probed(id, (!fit).then(|| "ill".to_owned()), 1, 1);
            }
            for name in names {
                let own = (0..roster.len()).find(|n| name == format!("canary.m{n}"));
                let taken = state.take_canary(&agent(&name));
                prop_assert_eq!(taken.is_some(), own.is_some(), "{}", name);
                let (Some(own), Some(taken)) = (own, taken) else { continue };
                let (open, _, known, _) = roster[own];
                prop_assert_eq!(taken, match (open, known) {
                    (true, _) => Err(Barred::IsOpen),
                    (false, Known::Refuses) => Ok(u32::try_from(own).unwrap()),
                    (false, Known::Answers) => Err(Barred::IsUnsealed),
                    (false, Known::Nothing) => Err(Barred::IsUntested),
                });
            }
            let warm = |id: Option<u32>| id.is_some_and(|id| roster[id as usize].1 == Standing::Warm);
            for n in 0..6 {
                for want in [Want::LeastBusy, Want::Near(n), Want::Prefer(n), Want::Stay(n), Want::Rendezvous(chance)] {
                    prop_assert!(!warm(state.take(want, &[], now, chance)));
                    prop_assert!(!warm(state.take_leaving(want, &[], now, chance)));
                }
                prop_assert!(!warm(state.pass([192, 0, 2, n as u8].into(), &[], now, chance)));
            }
        }
    }
}
