//! What is said after each step: what happened, which file goes where, and what comes next.

use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;

use super::folder::{Folder, New};
use super::records::Authority;

/// A date for people: `2036-11-20`.
pub(super) fn date(at: UnixTime) -> String {
    let at =
        Timestamp::from_second(i64::try_from(at.as_secs()).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%d").to_string()
}

/// Whole days that are left; negative when it has ended.
pub(super) fn days(until: UnixTime, now: UnixTime) -> i64 {
    const DAY: i64 = 24 * 3600;
    let seconds = |at: UnixTime| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    seconds(until).saturating_sub(seconds(now)).div_euclid(DAY)
}

pub(super) fn made(folder: &Folder, authority: &Authority, now: UnixTime) -> String {
    let at = folder.path.display();
    let (name, ends, left) = (&authority.name, date(authority.not_after), days(authority.not_after, now));
    let key = folder.key_file(&authority.id);
    let key = key.display();
    format!(
        "\
The CA `{name}` is made. It ends on {ends}, in {left} days, and so does its list of revoked certificates.

{key}
    Its key (mode 400). Whoever has it can make doors, and a door can be any node. Keep this folder on a machine that
    is no door and no master, and a copy of it in a place as safe.
{at}/ca.pem
    Goes to every sealed master (ssl-ca-cert in webserver.conf) and to every door (`ca` under [masters]).
{at}/crl.pem
    Goes to every sealed master (ssl-crl-path in webserver.conf) and to every door (`crl` under [masters]). It is empty
    and has to be there.

Next, once for each door and again each year: stagedoor door-ca issue DOOR --folder {at}
"
    )
}

pub(super) fn issued(door: &Certname, new: &New, now: UnixTime) -> String {
    let (name, ends, left) = (&new.authority.name, date(new.not_after), days(new.not_after, now));
    let (certificate, key) = (new.certificate.display(), new.key.display());
    let mut words = format!(
        "\
{door} has a certificate of `{name}`. It ends on {ends}, in {left} days.

{certificate}
    Goes to {door} alone (`certificate` under [masters]).
{key}
    Its key (mode 600). Goes to {door} alone (`key` under [masters]); then remove it here.

The door takes both as soon as both are there; nothing has to be restarted.
"
    );
    if new.earlier > 0 {
        let (them, they) = match new.earlier {
            1 => ("The certificate that it had stays".to_owned(), "it"),
            count => (format!("The {count} certificates that it had stay"), "them"),
        };
        words.push_str(&format!(
            "{them} valid to the end, unless `stagedoor door-ca revoke {door}` takes {they} back, and this one with \
             {they}.\n"
        ));
    }
    if new.cut_short {
        words.push_str(
            "It ends with its CA, sooner than a year: replace the CA now with `stagedoor door-ca renew`.\n",
        );
    }
    words
}

pub(super) fn revoked(folder: &Folder, door: &Certname, count: usize) -> String {
    let at = folder.path.display();
    let what = match count {
        0 => format!("Every certificate of {door} was taken back before; nothing has changed."),
        1 => format!("The one certificate of {door} is taken back."),
        count => format!("All {count} certificates of {door} are taken back."),
    };
    format!(
        "\
{what}

{at}/crl.pem
    Take it to every sealed master, which goes on letting {door} in until it has it (Puppet Server reloads the file by
    itself), and to every door.

If {door} is to go on, make it a new certificate: stagedoor door-ca issue {door} --folder {at}
"
    )
}

pub(super) fn renewed(folder: &Folder, both: &[Authority], now: UnixTime) -> String {
    let at = folder.path.display();
    let name = |which: Option<&Authority>| which.map_or_else(String::new, |one| one.name.clone());
    let ends = both.first().map_or(now, |new| new.not_after);
    let (new, old, ends) = (name(both.first()), name(both.get(1)), date(ends));
    format!(
        "\
The CA `{new}` stands beside `{old}` and signs from now on. It ends on {ends}.

Nobody is shut out in this order:
 1. Take {at}/ca.pem and {at}/crl.pem, which hold both CAs now, to every sealed master and every door.
    Restart each master's puppetserver, one by one and drained: it reads ssl-ca-cert at its start.
 2. For each door: stagedoor door-ca issue DOOR --folder {at}, and take the two files there.
 3. stagedoor door-ca renew --finish --folder {at} drops the old CA. It refuses while a door has no
    certificate of the new one.
"
    )
}

pub(super) fn finished(folder: &Folder, new: &Authority, old: &Authority, behind: &[Certname]) -> String {
    let at = folder.path.display();
    let mut words = format!(
        "\
The CA `{old}` is dropped and its key removed; `{new}` is the only one.

{at}/ca.pem
{at}/crl.pem
    Take both to every sealed master and every door. A master goes on taking certificates of the old CA until it has
    them and has restarted: destroy the copies of the old CA's key as well.
",
        old = old.name,
        new = new.name,
    );
    for door in behind {
        words.push_str(&format!(
            "{door} has no certificate of the new CA and is shut out where the new ca.pem is in force.\n"
        ));
    }
    words
}

/// Time that is left, as people say it.
pub(super) fn left(until: UnixTime, now: UnixTime) -> String {
    match days(until, now) {
        days if days < 0 => format!("ended on {}", date(until)),
        days => format!("{days} days, until {}", date(until)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn days_are_counted_down_and_below_nothing_when_it_has_ended() {
        let day = 24 * 3600;
        assert_eq!(days(at(10 * day), at(day)), 9);
        assert_eq!(days(at(2 * day - 1), at(day)), 0);
        assert_eq!(days(at(day - 1), at(day)), -1);
        assert_eq!(left(at(day), at(3 * day)), "ended on 1970-01-02");
        assert_eq!(left(at(40 * day), at(0)), "40 days, until 1970-02-10");
        assert!(date(at(u64::MAX)).starts_with("9999"));
    }
}
