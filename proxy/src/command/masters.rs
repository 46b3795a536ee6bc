//! `stagedoor masters`: every master as the running door sees it.

use std::io::IsTerminal as _;

use clap::Args;
use stagedoor_config::admin::seats::{Known, Seats};
use stagedoor_config::admin::{Fit, MasterView, MastersView, Seal};
use stagedoor_config::master::{Kind, Standing};

use super::Failure;
use super::at::At;
use super::table::{Cell, Paint, table};

#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    at: At,
}

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.at.tell("/v1/masters", |view| words(view, std::io::stdout().is_terminal()))
    }
}

fn words(view: &MastersView, colours: bool) -> String {
    if view.masters.is_empty() {
        return "no compile master is on the roster; `stagedoor roster admit CERTNAME` admits one\n"
            .to_owned();
    }
    let head = ["CERTNAME", "KIND", "SEAL", "STANDING", "FIT", "SEATS", "IN FLIGHT", "WHY"].map(Cell::plain);
    let mut rows = vec![head.to_vec()];
    rows.extend(view.masters.iter().map(row));
    table(&rows, colours)
}

fn row(master: &MasterView) -> Vec<Cell> {
    let standing = match master.standing {
        Standing::Admitted => Paint::Plain,
        Standing::Warm | Standing::Draining => Paint::Odd,
    };
    let fit = match master.fit {
        Fit::Fit => Paint::Good,
        Fit::Unknown => Paint::Odd,
        Fit::Unfit => Paint::Bad,
    };
    let kind = match master.kind {
        Kind::Sealed { isolation } => format!("sealed by {}", isolation.name()),
        Kind::Open { .. } => "open".to_owned(),
    };
    let seal = match master.seal {
        Some(seal @ Seal::Sealed) => Cell::new(seal.name(), Paint::Good),
        Some(seal @ Seal::Untested) => Cell::new(seal.name(), Paint::Odd),
        Some(seal @ Seal::Unsealed) => Cell::new(seal.name(), Paint::Bad),
        None => Cell::plain("-"),
    };
    let why: Vec<&str> = [&master.seal_why, &master.why].into_iter().flatten().map(String::as_str).collect();
    vec![
        Cell::plain(master.certname.as_str()),
        Cell::plain(kind),
        seal,
        Cell::new(master.standing.name(), standing),
        Cell::new(master.fit.name(), fit),
        Cell::plain(master.seats.map_or_else(|| "-".to_owned(), seats)),
        Cell::plain(master.in_flight.to_string()),
        Cell::plain(why.join("; ")),
    ]
}

/// Taken of this door's, and what keeps others from being given.
fn seats(seats: Seats) -> String {
    let Seats { jrubies, known, ours, taken, others, locked } = seats;
    let mut words = format!("{taken} of {ours}");
    let more = [
        (ours != jrubies).then(|| format!("{jrubies} in all")),
        (known == Known::Assumed).then(|| "assumed".to_owned()),
        (others > 0).then(|| format!("others {others}")),
        locked.then(|| "locked".to_owned()),
    ];
    for more in more.into_iter().flatten() {
        words.push_str(", ");
        words.push_str(&more);
    }
    words
}

#[cfg(test)]
mod tests {
    use stagedoor_config::certname::Certname;
    use stagedoor_config::master::{Check, Isolation};

    use super::*;

    #[test]
    fn each_master_has_a_line_that_says_what_it_is_and_how_it_does() {
        let master = |name: &str, kind, standing, fit, why: Option<&str>, seal| MasterView {
            certname: Certname::parse_host(name).unwrap(),
            address: format!("{name}:8140"),
            kind,
            standing,
            fit,
            why: why.map(str::to_owned),
            seal,
            seal_why: (seal == Some(Seal::Unsealed)).then(|| "gets no request: it answers 200".to_owned()),
            in_flight: 12,
            seats: matches!(kind, Kind::Sealed { .. }).then_some(Seats {
                jrubies: 4,
                known: Known::Assumed,
                ours: 2,
                taken: 1,
                others: 1,
                locked: true,
            }),
            catalogs: None,
            canary: None,
        };
        let firewall = Kind::Sealed { isolation: Isolation::Firewall };
        let open = Kind::Open { check: Check::Status };
        let view = MastersView {
            generation: 4,
            masters: vec![
                master(
                    "compile1.example.com",
                    Kind::SEALED,
                    Standing::Admitted,
                    Fit::Fit,
                    None,
                    Some(Seal::Sealed),
                ),
                master(
                    "c2",
                    firewall,
                    Standing::Draining,
                    Fit::Unfit,
                    Some("no answer in time"),
                    Some(Seal::Unsealed),
                ),
                master("c3", open, Standing::Warm, Fit::Unknown, None, None),
            ],
        };
        let expected = "\
CERTNAME              KIND                SEAL      STANDING  FIT      SEATS                                        IN FLIGHT  WHY
compile1.example.com  sealed by door-ca   sealed    admitted  fit      1 of 2, 4 in all, assumed, others 1, locked  12
c2                    sealed by firewall  unsealed  draining  unfit    1 of 2, 4 in all, assumed, others 1, locked  12         gets no request: it answers 200; no answer in time
c3                    open                -         warm      unknown  -                                            12
";
        assert_eq!(words(&view, false), expected);
        assert!(words(&view, true).contains("\x1b[31munfit\x1b[0m"));
        assert!(words(&MastersView { generation: 0, masters: Vec::new() }, true).contains("roster admit"));
    }
}
