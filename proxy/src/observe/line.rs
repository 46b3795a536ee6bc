//! One access line: a record of a request or of a passed connection as JSON, nothing but printable ASCII.
//!
//! Text from agents is escaped twice over: JSON's own escapes keep a line one line, and everything outside printable
//! ASCII becomes `\uXXXX`, so that a path cannot paint a terminal when somebody reads the file with `tail`.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use super::passed::{self, Passed};
use super::record::{Asked, Record};

/// The keys of a line, in this order. What did not take place is absent.
#[derive(Serialize)]
struct Line<'a> {
    time: Stamp,
    id: &'a str,
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    certname: Option<&'a str>,
    tls: &'static str,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    method: &'static str,
    path: &'a str,
    /// `master`, `mom`, or `door` when nobody was asked.
    answered_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<&'a str>,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    attempts: u32,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_seconds: Option<Seconds>,
    total_seconds: Seconds,
}

/// Appends the line and its line feed.
///
/// # Errors
/// None that a vector can raise; the caller counts what it cannot explain.
pub(super) fn append(to: &mut Vec<u8>, record: &Record) -> Result<(), serde_json::Error> {
    let (answered_by, master) = match &record.asked {
        Asked::Nobody => ("door", None),
        Asked::Master(master) => ("master", Some(master.certname().as_str())),
        Asked::Mom => ("mom", None),
    };
    let line = Line {
        time: Stamp(record.began),
        id: record.id.as_str(),
        peer: record.peer,
        certname: record.certname.as_ref().map(AsRef::as_ref),
        tls: record.tls.name(),
        class: record.class.map_or("none", |class| class.name()),
        environment: record.environment.as_deref(),
        method: record.method,
        path: &record.path,
        answered_by,
        master,
        status: record.status,
        outcome: record.outcome.name(),
        reason: record.reason,
        attempts: record.attempts,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        body_seconds: record.phases.body.map(Seconds),
        queue_seconds: record.phases.queue.map(Seconds),
        connect_seconds: record.phases.connect.map(Seconds),
        first_byte_seconds: record.phases.first_byte.map(Seconds),
        transfer_seconds: record.phases.transfer.map(Seconds),
        total_seconds: Seconds(record.phases.total),
    };
    write(to, &line)
}

/// The keys of a passed connection's line, in this order.
#[derive(Serialize)]
struct PassedLine<'a> {
    time: Stamp,
    peer: SocketAddr,
    /// What tells these lines from those of requests.
    way: &'static str,
    why: &'static str,
    tls: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<&'a str>,
    outcome: &'static str,
    attempts: u32,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_seconds: Option<Seconds>,
    total_seconds: Seconds,
}

/// Appends the line of a passed connection and its line feed.
///
/// # Errors
/// As [`append`].
pub(super) fn append_passed(to: &mut Vec<u8>, passed: &Passed) -> Result<(), serde_json::Error> {
    let line = PassedLine {
        time: Stamp(passed.began),
        peer: passed.peer,
        way: "pass",
        why: passed.why.name(),
        tls: passed::offered(passed.offered),
        master: passed.master.as_ref().map(|master| master.certname().as_str()),
        outcome: passed.outcome.name(),
        attempts: passed.attempts,
        bytes_in: passed.bytes_in,
        bytes_out: passed.bytes_out,
        connect_seconds: passed.connect.map(Seconds),
        total_seconds: Seconds(passed.total),
    };
    write(to, &line)
}

fn write(to: &mut Vec<u8>, line: &impl Serialize) -> Result<(), serde_json::Error> {
    line.serialize(&mut serde_json::Serializer::with_formatter(&mut *to, Printable))?;
    to.push(b'\n');
    Ok(())
}

/// UTC to the microsecond, as RFC 3339 writes it.
struct Stamp(SystemTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::try_from(self.0) {
            Ok(time) => to.collect_str(&format_args!("{time:.6}")),
            // A clock beyond the year 9999; the rest of the line is still worth having.
            Err(_) => to.serialize_none(),
        }
    }
}

/// Seconds to the microsecond.
struct Seconds(Duration);

impl Serialize for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 microseconds, which is 285 years")]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_micros() as f64 / 1e6)
    }
}

struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                write!(writer, "{character}")?;
                continue;
            }
            for unit in character.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::Observe;
    use super::super::record::{ENVIRONMENT, Outcome, PATH, Phases, clip};
    use super::super::tests::{certname, compiled, passed, record};
    use super::*;

    fn line(record: &Record) -> String {
        let mut bytes = Vec::new();
        append(&mut bytes, record).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_passed_connections_line_says_why_it_was_passed_to_whom_and_how_much() {
        let observe = Observe::new(7);
        let mut bytes = Vec::new();
        append_passed(&mut bytes, &passed(&observe)).unwrap();
        let expected = concat!(
            r#"{"time":"2025-12-20T23:44:19.123000Z","peer":"192.0.2.7:50123","way":"pass","why":"old_tls","#,
            r#""tls":"1.0","master":"compile1.example.com","outcome":"done","attempts":2,"bytes_in":1234,"#,
            r#""bytes_out":56789,"connect_seconds":0.0015,"total_seconds":7.0}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_line_says_who_asked_what_of_whom_and_where_the_time_went() {
        let observe = Observe::new(7);
        let record = compiled(
            &observe,
            Phases {
                connect: Some(Duration::from_micros(1_500)),
                first_byte: Some(Duration::from_nanos(6_123_456_789)),
                total: Duration::from_secs(7),
                ..Phases::default()
            },
        );
        let expected = format!(
            concat!(
                r#"{{"time":"2025-12-20T23:44:19.123000Z","id":"{}","peer":"192.0.2.7:50123","#,
                r#""certname":"web01.example.com","tls":"1.3","class":"catalog","environment":"production","#,
                r#""method":"POST","path":"/puppet/v3/catalog/web01.example.com","answered_by":"master","#,
                r#""master":"compile1.example.com","status":200,"outcome":"answered","attempts":1,"bytes_in":512000,"#,
                r#""bytes_out":90000,"connect_seconds":0.0015,"first_byte_seconds":6.123456,"total_seconds":7.0}}"#,
                "\n"
            ),
            record.id
        );
        assert_eq!(line(&record), expected);
    }

    #[test]
    fn a_line_of_a_refused_request_has_no_certname_and_no_master() {
        let observe = Observe::new(7);
        let refused = Record { reason: Some("path"), outcome: Outcome::Refused, ..record(&observe, "//x") };
        let value: Value = serde_json::from_str(&line(&refused)).unwrap();
        assert_eq!((&value["class"], &value["answered_by"]), (&"none".into(), &"door".into()));
        assert!(value.get("certname").is_none() && value.get("master").is_none());
    }

    proptest! {
        #[test]
        fn no_path_can_write_a_second_line_or_reach_the_terminal(
            path in ".{0,40}|\\PC{0,1500}|[\u{0}-\u{9f}\"\\\\\u{202e}\u{2028}😀]{0,60}",
            environment in proptest::option::of("(?s).{0,200}"),
            name in "[ -.0-@\\[-~]{1,60}",
            total in any::<u64>(),
        ) {
            let observe = Observe::new(total);
            let mut one = record(&observe, &path);
            one.method = super::super::record::method(&Method::from_bytes(b"BREW").unwrap());
            one.certname = Some(certname(&name));
            one.environment = environment.as_deref().map(|e| clip(e, ENVIRONMENT));
            one.phases.total = Duration::from_nanos(total);
            let text = line(&one);
            prop_assert!(text.ends_with('\n'));
            let body = &text[..text.len() - 1];
            prop_assert!(body.bytes().all(|b| matches!(b, b' '..=b'~')), "{body:?}");
            let value: Value = serde_json::from_str(body).unwrap();
            prop_assert_eq!(value["path"].as_str().unwrap(), &*clip(&path, PATH));
            prop_assert_eq!(value["certname"].as_str().unwrap(), name);
            prop_assert_eq!(value["method"].as_str().unwrap(), "OTHER");
            prop_assert_eq!(value.get("environment").and_then(Value::as_str), one.environment.as_deref());
            let seconds = value["total_seconds"].as_f64().unwrap();
            prop_assert!((seconds - one.phases.total.as_secs_f64()).abs() <= 1e-6 * seconds.max(1.0));
        }
    }
}
