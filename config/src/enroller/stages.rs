//! The order of the runs, and whether it can work.
//!
//! A new master's own run says who it is; PuppetDB's and the console's runs take that up into their lists. A list
//! that is made before knows nothing of the new master, which then answers every catalog with an error. So the new
//! master stands alone in the first stage, and a host that is named twice counts where it is named last.
#![deny(clippy::disallowed_methods)]

use super::Server;
use crate::certname::Certname;
use crate::document::{Document, Section};

/// The most stages; the documented orders have four.
const MOST_STAGES: usize = 16;
/// The most hosts of one stage: as many as a large site has replicas of PuppetDB, and room.
const MOST_HOSTS: usize = 32;

/// Who runs in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// The master that is enrolled: `{master}`.
    Master,
    /// The Master of Masters: `{mom}`.
    Mom,
    /// `{puppetdb}`.
    Puppetdb,
    /// `{console}`.
    Console,
    /// Another node, by its certname.
    Node(Certname),
}

impl Place {
    /// Braces cannot stand in a host name, so a place is never taken for a node of that name.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "{master}" => Some(Self::Master),
            "{mom}" => Some(Self::Mom),
            "{puppetdb}" => Some(Self::Puppetdb),
            "{console}" => Some(Self::Console),
            _ => Certname::parse_host(text).ok().map(Self::Node),
        }
    }
}

/// The machines that places stand for, as far as the settings could be read.
#[derive(Clone, Copy)]
pub(super) struct Machines<'s> {
    pub(super) mom: Option<&'s Server>,
    pub(super) puppetdb: Option<&'s Server>,
    pub(super) console: Option<&'s Server>,
}

/// `stages` as written; none where it is not written, or where something in it is wrong.
pub(super) fn written(section: &mut Section<'_>, doc: &mut Document<'_>) -> Option<Vec<Vec<Place>>> {
    let expected = "\"{master}\", \"{puppetdb}\", \"{console}\", \"{mom}\" or a node's certname";
    let entry = section.take("stages", doc)?;
    let stages = entry.lists(
        doc,
        "a list of stages, such as [[\"{master}\"], [\"{puppetdb}\"], [\"{console}\"]]",
        MOST_STAGES,
    )?;
    let written = stages.len();
    let read: Vec<Vec<Place>> = stages
        .into_iter()
        .filter_map(|stage| {
            let hosts = stage.texts(doc, expected, MOST_HOSTS, Place::parse)?;
            if hosts.is_empty() {
                stage.wrong(doc, "at least one host in each stage");
            }
            Some(hosts)
        })
        .collect();
    (read.len() == written).then_some(read)
}

/// What is wrong with the order, if something is.
pub(super) fn wrong(stages: &[Vec<Place>], machines: Machines<'_>) -> Option<String> {
    if stages.first().map(Vec::as_slice) != Some(&[Place::Master]) {
        return Some(
            "{master} alone in the first stage: its run says who it is, and the runs after it take that up"
                .to_owned(),
        );
    }
    if stages.iter().skip(1).flatten().any(|place| *place == Place::Master) {
        return Some(
            "{master} in the first stage only: a host that is named twice runs at its last".to_owned(),
        );
    }
    for (place, there, table) in [
        (Place::Puppetdb, machines.puppetdb.is_some(), "puppetdb"),
        (Place::Console, machines.console.is_some(), "console"),
    ] {
        if !there && stages.iter().flatten().any(|named| *named == place) {
            return Some(format!("no {{{table}}}: there is no [{table}]"));
        }
    }
    let last = |server: &Server| {
        stages
            .iter()
            .rposition(|stage| stage.iter().any(|place| machines.certname(place) == Some(&server.certname)))
    };
    let puppetdb = match machines.puppetdb.map(|server| (server, last(server))) {
        Some((server, None)) => {
            return Some(format!(
                "{{puppetdb}} ({}) in a stage after {{master}}: until its run, it refuses what the new master asks",
                server.certname
            ));
        }
        Some((_, found)) => found,
        None => None,
    };
    let server = machines.console?;
    match last(server) {
        None => Some(format!(
            "{{console}} ({}) in a stage after {{puppetdb}}: until its run, it refuses what the new master asks",
            server.certname
        )),
        Some(console) if Some(console) < puppetdb => {
            Some("{console} not before {puppetdb}: its lists are made of what PuppetDB holds".to_owned())
        }
        Some(_) => None,
    }
}

impl<'s> Machines<'s> {
    fn certname<'p>(self, place: &'p Place) -> Option<&'p Certname>
    where
        's: 'p,
    {
        match place {
            Place::Master => None,
            Place::Mom => self.mom.map(|server| &server.certname),
            Place::Puppetdb => self.puppetdb.map(|server| &server.certname),
            Place::Console => self.console.map(|server| &server.certname),
            Place::Node(certname) => Some(certname),
        }
    }
}
