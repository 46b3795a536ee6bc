//! What a real agent says in one run, byte for byte, taken from its own `--http_debug` output, and said again in
//! another agent's name. A real agent costs seconds of processor time for Ruby and facts; its requests cost none.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::agent::Agent;
use crate::lab::Lab;

#[derive(Debug, Clone)]
pub(crate) struct Recording {
    certname: String,
    transaction: String,
    pub(crate) requests: Vec<Recorded>,
}

#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Method and path without its query, for people.
    pub(crate) name: String,
    bytes: Vec<u8>,
}

/// The environment of the recorded run.
const ENVIRONMENT: &str = "production";

impl Recording {
    /// What a webserver says. Recorded once for all scenarios that are played: a new agent and its first run take half a
    /// minute, and say the same each time.
    pub(crate) fn of_a_webserver(lab: &Lab) -> Result<Self> {
        static RECORDED: OnceLock<Recording> = OnceLock::new();
        if let Some(recorded) = RECORDED.get() {
            return Ok(recorded.clone());
        }
        let recorded = Self::of(&Agent::enrolled(lab, "webserver")?)?;
        Ok(RECORDED.get_or_init(|| recorded).clone())
    }

    /// What the same agent would say in this environment, as far as its catalog. Its name is as long as the other's, so that
    /// no length in a request changes.
    pub(crate) fn in_environment(&self, name: &str) -> Result<Self> {
        ensure!(name.len() == ENVIRONMENT.len(), "{name:?} is longer or shorter than {ENVIRONMENT:?}");
        let mut moved = self.clone();
        let catalog = moved.requests.iter().position(Recorded::is_catalog).context("no catalog")?;
        moved.requests.truncate(catalog + 1);
        // The environment has no plugins, so nobody fetches any.
        moved.requests.retain(|request| !request.name.contains("/file_content/"));
        for request in &mut moved.requests {
            request.bytes = replace(&request.bytes, ENVIRONMENT.as_bytes(), name.as_bytes());
        }
        Ok(moved)
    }

    /// One run of an agent that has its certificate.
    fn of(agent: &Agent) -> Result<Self> {
        let run = agent.succeed(&["--http_debug"], &[])?;
        let mut requests: Vec<Recorded> = Vec::new();
        for line in run.errors.lines().filter_map(|line| line.strip_prefix("<- ")) {
            let bytes =
                unquote(line).with_context(|| format!("cannot read what the agent wrote: {line:.80}"))?;
            match name_of(&bytes) {
                Some(name) => requests.push(Recorded { name, bytes }),
                // A body, or a part of one.
                None => requests.last_mut().context("a body without a request")?.bytes.extend(bytes),
            }
        }
        let transaction = run
            .errors
            .split("transaction_uuid=")
            .nth(1)
            .and_then(|rest| rest.get(..36))
            .context("the run had no transaction_uuid")?
            .to_owned();
        if !requests.iter().any(Recorded::is_catalog) {
            bail!(
                "no catalog in what {} said: {:?}",
                agent.certname,
                requests.iter().map(|r| &r.name).collect::<Vec<_>>()
            );
        }
        Ok(Self { certname: agent.certname.clone(), transaction, requests })
    }

    /// The bytes of a request as another agent would send them in a run of its own. Names and transactions are of
    /// one length, so no length in the request changes.
    pub(crate) fn said_by(&self, request: &Recorded, certname: &str, transaction: &str) -> Vec<u8> {
        let renamed = replace(&request.bytes, self.certname.as_bytes(), certname.as_bytes());
        replace(&renamed, self.transaction.as_bytes(), transaction.as_bytes())
    }
}

impl Recorded {
    pub(crate) fn is_catalog(&self) -> bool {
        self.name.contains("/puppet/v3/catalog/")
    }
}

/// A transaction as an agent would draw it.
pub(crate) fn new_transaction() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

fn name_of(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if version != "HTTP/1.1" || !target.starts_with('/') {
        return None;
    }
    Some(format!("{method} {}", target.split('?').next()?))
}

/// Reads strings as Ruby's `String#dump` writes them, one after another.
fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(first) = rest.next() {
        if first != '"' {
            return None;
        }
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => escaped(&mut rest, &mut bytes)?,
                plain => push(&mut bytes, plain),
            }
        }
    }
    Some(bytes)
}

fn escaped(rest: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    match rest.next()? {
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'f' => bytes.push(0x0c),
        'v' => bytes.push(0x0b),
        'b' => bytes.push(0x08),
        'a' => bytes.push(0x07),
        'e' => bytes.push(0x1b),
        'x' => bytes.push(u8::try_from(hex(rest, 2)?).ok()?),
        'u' => {
            let mut ahead = rest.clone();
            if ahead.next()? == '{' {
                *rest = ahead;
                let digits: String = rest.by_ref().take_while(|digit| *digit != '}').collect();
                push(bytes, char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            } else {
                push(bytes, char::from_u32(hex(rest, 4)?)?);
            }
        }
        plain => push(bytes, plain),
    }
    Some(())
}

fn hex(rest: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    u32::from_str_radix(&rest.by_ref().take(digits).collect::<String>(), 16).ok()
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) => {
                replaced.extend_from_slice(to);
                rest = after;
            }
            None => {
                replaced.push(*first);
                rest = others;
            }
        }
    }
    replaced
}
