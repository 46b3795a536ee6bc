//! `stagedoor door-ca show`: what there is, and the days that are left of it.

use std::fmt::Write as _;

use rustls_pki_types::UnixTime;
use serde::Serialize;

use super::folder::{Content, Folder};
use super::not_done::NotDone;
use super::words::{date, days, left};

/// The folder, for programs. Dates are days in UTC, `2036-11-20`.
#[derive(Debug, Serialize)]
pub(super) struct View {
    folder: String,
    /// The one that signs first.
    authorities: Vec<AuthorityView>,
    /// In the order of doors' names.
    doors: Vec<DoorView>,
    /// What should not be so, in words.
    warnings: Vec<String>,
    #[serde(skip)]
    now: Option<UnixTime>,
}

#[derive(Debug, Serialize)]
struct AuthorityView {
    name: String,
    /// Whether it is the one that issues.
    signs: bool,
    not_after: String,
    days_left: i64,
    crl: CrlView,
    #[serde(skip)]
    ends: UnixTime,
}

#[derive(Debug, Serialize)]
struct CrlView {
    next_update: String,
    days_left: i64,
    revoked: usize,
    #[serde(skip)]
    ends: UnixTime,
}

#[derive(Debug, Serialize)]
struct DoorView {
    door: String,
    serial: String,
    /// The name of its CA; null where that was dropped.
    authority: Option<String>,
    not_after: String,
    days_left: i64,
    standing: &'static str,
    #[serde(skip)]
    ends: UnixTime,
}

impl View {
    pub(super) fn of(folder: &Folder, content: &Content, now: UnixTime) -> Result<Self, NotDone> {
        let mut warnings = Vec::new();
        for authority in &content.authorities {
            match folder.key_exposed(authority) {
                Ok(None) => {}
                Ok(Some(exposed)) => warnings.push(exposed.to_string()),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        for path in folder.leftovers(content)? {
            warnings.push(format!(
                "{}: the key of no CA in ca.pem, left by a command that was interrupted: remove it",
                path.display()
            ));
        }
        let authorities = content.authorities.iter().zip(&content.lists).enumerate();
        let authorities = authorities.map(|(at, (authority, list))| AuthorityView {
            name: authority.name.clone(),
            signs: at == 0,
            not_after: date(authority.not_after),
            days_left: days(authority.not_after, now),
            crl: CrlView {
                next_update: date(list.next_update),
                days_left: days(list.next_update, now),
                revoked: list.revoked.len(),
                ends: list.next_update,
            },
            ends: authority.not_after,
        });
        let name =
            |id: &String| content.authorities.iter().find(|one| one.id == *id).map(|one| one.name.clone());
        let mut issued: Vec<_> = content.issued.iter().collect();
        issued.sort_by_key(|one| (one.door.clone(), std::cmp::Reverse(one.not_after)));
        let doors = issued.into_iter().map(|one| DoorView {
            door: one.door.to_string(),
            serial: one.serial.to_string(),
            authority: one.authority.as_ref().and_then(name),
            not_after: date(one.not_after),
            days_left: days(one.not_after, now),
            standing: one.standing.name(),
            ends: one.not_after,
        });
        Ok(Self {
            folder: folder.path.display().to_string(),
            authorities: authorities.collect(),
            doors: doors.collect(),
            warnings,
            now: Some(now),
        })
    }

    /// For a person.
    pub(super) fn table(&self) -> String {
        let left = |until| self.now.map_or_else(String::new, |now| left(until, now));
        let mut out = String::new();
        // Writing to a string cannot fail.
        for authority in &self.authorities {
            let role = if authority.signs { "signs" } else { "is being replaced" };
            writeln!(out, "{} ({role}): {}", authority.name, left(authority.ends)).ok();
            let (revoked, ends) = (authority.crl.revoked, left(authority.crl.ends));
            writeln!(out, "  its list of {revoked} revoked certificates: {ends}").ok();
        }
        if self.doors.is_empty() {
            out.push_str("no door has a certificate; `stagedoor door-ca issue DOOR` makes one\n");
        }
        let width = self.doors.iter().map(|door| door.door.len()).max().unwrap_or_default();
        for door in &self.doors {
            let (name, standing, ends) = (&door.door, door.standing, left(door.ends));
            let authority = door.authority.as_deref().unwrap_or("a CA that was dropped");
            writeln!(out, "{name:width$}  {standing:10}  {ends}; of {authority}, serial {}", door.serial)
                .ok();
        }
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}").ok();
        }
        out
    }
}
