//! One access line as words, for whoever greps: who, what, where, how it ended, and then the rest by name.
//!
//! ```text
//! 2026-03-01T10:00:07.123Z web01.example.com catalog production compile1.example.com 200 total=7.000 queue=0.512 …
//! ```
//!
//! Six words stand at fixed places, `-` where there is none; what follows has a name and is absent where it did not take
//! place. A word never holds a space or anything that could paint a terminal.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use super::passed::{self, Passed};
use super::record::{Asked, Record};

/// Appends the line of a request and its line feed.
pub(super) fn append(to: &mut Vec<u8>, record: &Record) {
    let (answered_by, master) = match &record.asked {
        Asked::Nobody => ("door", None),
        Asked::Master(master) => ("master", Some(master.certname().as_str())),
        Asked::Mom => ("mom", Some("mom")),
    };
    let mut line = Line::begin(record.ended());
    line.word(record.certname.as_ref().map(AsRef::as_ref));
    line.word(Some(record.class.map_or("none", |class| class.name())));
    line.word(record.environment.as_deref());
    line.word(master);
    line.shown(record.status);
    line.seconds("total", Some(record.phases.total));
    line.seconds("body", record.phases.body);
    line.seconds("queue", record.phases.queue);
    line.seconds("connect", record.phases.connect);
    line.seconds("first_byte", record.phases.first_byte);
    line.seconds("transfer", record.phases.transfer);
    line.named("in", record.bytes_in);
    line.named("out", record.bytes_out);
    line.named("outcome", record.outcome.name());
    if let Some(reason) = record.reason {
        line.named("reason", reason);
    }
    line.named("by", answered_by);
    line.named("attempts", record.attempts);
    line.named("tls", record.tls.name());
    line.named("id", record.id);
    line.named("peer", record.peer);
    line.word(Some(record.method));
    line.word(Some(&record.path));
    line.end(to);
}

/// Appends the line of a passed connection and its line feed: `pass` stands where a request has its class.
pub(super) fn append_passed(to: &mut Vec<u8>, passed: &Passed) {
    let mut line = Line::begin(passed.began + passed.total);
    line.word(None);
    line.word(Some("pass"));
    line.word(None);
    line.word(passed.master.as_ref().map(|master| master.certname().as_str()));
    line.word(None);
    line.seconds("total", Some(passed.total));
    line.seconds("connect", passed.connect);
    line.named("in", passed.bytes_in);
    line.named("out", passed.bytes_out);
    line.named("outcome", passed.outcome.name());
    line.named("why", passed.why.name());
    line.named("attempts", passed.attempts);
    line.named("tls", passed::offered(passed.offered));
    line.named("peer", passed.peer);
    line.end(to);
}

/// A line as it grows. Writing to a string cannot fail.
struct Line(String);

impl Line {
    /// Its time is when the answer had gone: lines stand in that order.
    fn begin(at: SystemTime) -> Self {
        let mut line = Self(String::with_capacity(320));
        match jiff::Timestamp::try_from(at) {
            Ok(time) => write!(line.0, "{time:.3}").unwrap_or_default(),
            // A clock beyond the year 9999; the rest of the line is still worth having.
            Err(_) => line.0.push('-'),
        }
        line
    }

    fn word(&mut self, word: Option<&str>) {
        self.0.push(' ');
        let start = self.0.len();
        for character in word.unwrap_or_default().chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '!'..='~' => self.0.push(character),
                _ => write!(self.0, "\\u{{{:x}}}", u32::from(character)).unwrap_or_default(),
            }
        }
        if self.0.len() == start {
            self.0.push('-');
        }
    }

    fn shown(&mut self, what: impl fmt::Display) {
        write!(self.0, " {what}").unwrap_or_default();
    }

    /// For values that are the program's own.
    fn named(&mut self, name: &str, what: impl fmt::Display) {
        write!(self.0, " {name}={what}").unwrap_or_default();
    }

    fn seconds(&mut self, name: &str, took: Option<Duration>) {
        if let Some(took) = took {
            write!(self.0, " {name}={:.3}", took.as_secs_f64()).unwrap_or_default();
        }
    }

    fn end(mut self, to: &mut Vec<u8>) {
        self.0.push('\n');
        to.extend_from_slice(self.0.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Observe;
    use super::super::record::{ENVIRONMENT, Outcome, PATH, Phases, clip};
    use super::super::tests::{compiled, passed, record};
    use super::*;

    fn line(record: &Record) -> String {
        let mut bytes = Vec::new();
        append(&mut bytes, record);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_begins_with_when_who_what_where_and_how_and_names_the_rest() {
        let observe = Observe::new(7);
        let record = compiled(
            &observe,
            Phases {
                queue: Some(Duration::from_millis(512)),
                first_byte: Some(Duration::from_nanos(6_123_456_789)),
                total: Duration::from_secs(7),
                ..Phases::default()
            },
        );
        let expected = format!(
            "2025-12-20T23:44:26.123Z web01.example.com catalog production compile1.example.com 200 total=7.000 queue=0.512 \
             first_byte=6.123 in=512000 out=90000 outcome=answered by=master attempts=1 tls=1.3 id={} \
             peer=192.0.2.7:50123 POST /puppet/v3/catalog/web01.example.com\n",
            record.id
        );
        assert_eq!(line(&record), expected);
        let refused = Record { reason: Some("path"), outcome: Outcome::Refused, status: 400, ..record };
        let refused =
            Record { certname: None, class: None, environment: None, asked: Asked::Nobody, ..refused };
        assert!(line(&refused).contains("Z - none - - 400 total="), "{}", line(&refused));
        assert!(line(&refused).contains(" outcome=refused reason=path by=door "), "{}", line(&refused));
    }

    #[test]
    fn a_passed_connections_line_has_its_words_at_the_same_places() {
        let observe = Observe::new(7);
        let mut bytes = Vec::new();
        append_passed(&mut bytes, &passed(&observe));
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "2025-12-20T23:44:26.123Z - pass - compile1.example.com - total=7.000 connect=0.002 in=1234 out=56789 \
             outcome=done why=old_tls attempts=2 tls=1.0 peer=192.0.2.7:50123\n"
        );
    }

    proptest! {
        #[test]
        fn no_path_or_environment_can_add_a_word_or_a_line(
            path in ".{0,40}|\\PC{0,1500}|[\u{0}-\u{9f}\"\\\\\u{202e}\u{2028} 😀]{0,60}",
            environment in proptest::option::of("(?s).{0,200}"),
        ) {
            let observe = Observe::new(7);
            let mut one = record(&observe, &path);
            one.environment = environment.as_deref().map(|e| clip(e, ENVIRONMENT));
            one.path = clip(&path, PATH);
            let text = line(&one);
            prop_assert!(text.ends_with('\n'));
            let body = &text[..text.len() - 1];
            prop_assert!(body.bytes().all(|b| matches!(b, b' '..=b'~')), "{body:?}");
            // time, certname, class, environment, master, status, total, in, out, outcome, by, attempts, tls, id, peer,
            // method, path
            prop_assert_eq!(body.split(' ').count(), 17, "{}", body);
        }
    }
}
