//! What happened of late, for whoever looks at the page: masters that were put out and came back, what was refused, how the
//! roster changed, how enrollments go. The log has all of it and keeps it; this is forgotten with the process.
//!
//! Each list is bounded: nobody outside can make it grow.
#![deny(clippy::disallowed_methods)]

use std::collections::VecDeque;

use stagedoor_config::admin::enrollment::{self, Enrollment};
use stagedoor_config::admin::overview::{Event, Refused, RosterChange};
use stagedoor_config::master::Master;
use stagedoor_config::roster::Roster;

/// The most events, and changes of the roster.
const MOST: usize = 50;
/// The most kinds of refusals: classes times reasons are more, and no site has seen them all.
const KINDS: usize = 200;
/// The most kinds of refusals that are told: the latest.
const TOLD: usize = 30;

/// What happened of late.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    refusals: Vec<Refused>,
    roster: VecDeque<RosterChange>,
    enrollments: Vec<Enrollment>,
}

impl History {
    /// A master was put out, or came back. Nobody comes back who was not out: the first good check of a door that has just
    /// been started is no event.
    pub fn happened(&mut self, event: Event) {
        let before = self.events.iter().rev().find(|one| one.master == event.master);
        if !event.back || before.is_some_and(|one| !one.back) {
            push(&mut self.events, event);
        }
    }

    /// Something was refused, for a reason that is a word of the program. To whom is for the access log, which not every user
    /// of the machine may read.
    pub fn refused(&mut self, at: u64, class: &'static str, reason: &'static str) {
        let known = self.refusals.iter_mut().find(|one| one.class == class && one.reason == reason);
        if let Some(known) = known {
            known.at = at;
            known.count += 1;
        } else if self.refusals.len() < KINDS {
            let (class, reason) = (class.to_owned(), reason.to_owned());
            self.refusals.push(Refused { at, class, reason, count: 1 });
        }
    }

    /// The roster is another one from now on.
    pub fn roster_changed(&mut self, at: u64, before: &Roster, after: &Roster) {
        let changes = changes(before, after);
        if !changes.is_empty() {
            push(&mut self.roster, RosterChange { at, generation: after.generation, changes });
        }
    }

    /// An enroller told how far it is with a master.
    pub fn enrolls(&mut self, enrollment: Enrollment) {
        self.enrollments.retain(|known| known.certname != enrollment.certname);
        self.enrollments.insert(0, enrollment);
        self.enrollments.truncate(enrollment::MOST);
    }

    /// Masters that were put out and came back, the latest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().rev().cloned().collect()
    }

    /// What was refused, by kind, the latest first.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refused> {
        let mut refusals = self.refusals.clone();
        refusals.sort_by_key(|one| std::cmp::Reverse(one.at));
        refusals.truncate(TOLD);
        refusals
    }

    /// How the roster changed, the latest first.
    #[must_use]
    pub fn roster(&self) -> Vec<RosterChange> {
        self.roster.iter().rev().cloned().collect()
    }

    /// How enrollments go, the one first that was told of last.
    #[must_use]
    pub fn enrollments(&self) -> Vec<Enrollment> {
        self.enrollments.clone()
    }
}

fn push<T>(to: &mut VecDeque<T>, what: T) {
    if to.len() >= MOST {
        to.pop_front();
    }
    to.push_back(what);
}

/// What is different, a few words for each master.
fn changes(before: &Roster, after: &Roster) -> Vec<String> {
    let find = |roster: &Roster, master: &Master| {
        roster.masters.iter().find(|one| one.certname == master.certname).cloned()
    };
    let mut changes = Vec::new();
    for master in &after.masters {
        match find(before, master) {
            None => changes.push(format!("{} {}", master.certname, master.standing.name())),
            Some(was) if was.standing != master.standing => {
                changes.push(format!(
                    "{} {}, was {}",
                    master.certname,
                    master.standing.name(),
                    was.standing.name()
                ));
            }
            Some(was) if was != *master => changes.push(format!("{} changed", master.certname)),
            Some(_) => {}
        }
    }
    let gone = before.masters.iter().filter(|master| find(after, master).is_none());
    changes.extend(gone.map(|master| format!("{} retired", master.certname)));
    changes
}

#[cfg(test)]
mod tests {
    use stagedoor_config::certname::Certname;
    use stagedoor_config::master::{JETTY_HEADER_LIMIT, Kind, Standing};

    use super::*;

    fn name(text: &str) -> Certname {
        Certname::parse(text).unwrap()
    }

    fn roster(generation: u64, masters: &[(&str, Standing)]) -> Roster {
        let master = |&(certname, standing): &(&str, Standing)| Master {
            certname: name(certname),
            address: format!("{certname}:8140"),
            kind: Kind::SEALED,
            standing,
            header_limit: JETTY_HEADER_LIMIT,
            jrubies: None,
        };
        Roster { generation, masters: masters.iter().map(master).collect() }
    }

    #[test]
    fn a_change_of_the_roster_is_told_in_words_and_one_of_nothing_is_not() {
        let mut history = History::default();
        let before = roster(1, &[("c1", Standing::Admitted), ("c2", Standing::Admitted)]);
        let after = roster(2, &[("c1", Standing::Draining), ("c3", Standing::Warm)]);
        history.roster_changed(7, &before, &after);
        history.roster_changed(8, &after, &roster(3, &[("c1", Standing::Draining), ("c3", Standing::Warm)]));
        let changes = ["c1 draining, was admitted", "c3 warm", "c2 retired"].map(str::to_owned).to_vec();
        assert_eq!(history.roster(), [RosterChange { at: 7, generation: 2, changes }]);
    }

    #[test]
    fn a_master_comes_back_only_where_it_was_out() {
        let mut history = History::default();
        let event = |at, back| Event { at, master: name("c1"), back, why: "x".to_owned() };
        for (at, back) in [(1, true), (2, false), (3, true), (4, true)] {
            history.happened(event(at, back));
        }
        let told: Vec<u64> = history.events().iter().map(|one| one.at).collect();
        assert_eq!(told, [3, 2]);
    }

    #[test]
    fn refusals_of_a_kind_are_counted_together_and_the_latest_is_first() {
        let mut history = History::default();
        history.refused(1, "catalog", "no_certificate");
        history.refused(2, "report", "shed");
        history.refused(3, "catalog", "no_certificate");
        let told = history.refusals();
        assert_eq!((told.len(), told[0].count, told[0].at), (2, 2, 3));
    }

    #[test]
    fn whatever_happens_the_lists_stay_short() {
        let mut history = History::default();
        for at in 0..1000 {
            let why = "no answer in time".to_owned();
            history.happened(Event { at, master: name("c1"), back: false, why });
            let certname = name(&format!("c{at}"));
            history.enrolls(Enrollment { certname, at, procedure: "enroll".to_owned(), steps: Vec::new() });
            history.refused(at, "catalog", Box::leak(format!("reason{at}").into_boxed_str()));
        }
        assert_eq!((history.events().len(), history.events()[0].at), (MOST, 999));
        assert_eq!((history.enrollments().len(), history.enrollments()[0].at), (enrollment::MOST, 999));
        assert_eq!((history.refusals().len(), history.refusals.len()), (TOLD, KINDS));
    }
}
