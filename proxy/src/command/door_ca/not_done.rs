//! Why the CA does not do what was asked: which file or name, what was expected, what to do.
//!
//! Nothing of a key is ever said, not even by the library's words on a broken one.
#![deny(clippy::disallowed_methods)]

use std::io;
use std::path::PathBuf;

use stagedoor_config::certname::Certname;
use stagedoor_config::read::{NotRead, NotReplaced};
use stagedoor_config::trust::{Refused, Untrusted};

use super::make::NotMade;
use super::records::Odd;

/// X.509 ends a common name here.
pub(super) const DOOR_LONGEST: usize = 64;

/// Why the CA does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDone {
    #[error(
        "{}: expected the folder of a door CA, and there is no ca.pem: name it with --folder, or make one with \
         `stagedoor door-ca init` (where ca.pem was lost, copy it back from a sealed master)", .0.display()
    )]
    NoAuthority(PathBuf),
    #[error(
        "{}: expected no CA here yet, and there is one: a second would shut out every door that has a certificate of \
         it; to replace it use `stagedoor door-ca renew`", .0.display()
    )]
    AlreadyThere(PathBuf),
    #[error(
        "{}: expected a folder that only its owner may write to, and its mode is {mode:03o}: chmod 700", .folder.display()
    )]
    Open { folder: PathBuf, mode: u32 },
    #[error("{}: expected to {step}: see what the system says", .path.display())]
    System {
        path: PathBuf,
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{}: another `stagedoor door-ca` works in this folder: wait until it has ended", .0.display())]
    Busy(PathBuf),
    #[error(transparent)]
    NotRead(#[from] NotRead),
    #[error(transparent)]
    NotReplaced(#[from] NotReplaced),
    #[error("{}: not understood", .path.display())]
    Odd {
        path: PathBuf,
        #[source]
        source: Odd,
    },
    #[error("{}: ca.pem and crl.pem do not go together: copy both back from a sealed master", .folder.display())]
    Untrusted {
        folder: PathBuf,
        #[source]
        source: Box<Untrusted>,
    },
    #[error(
        "{}: expected the private key of `{name}`, one P-256 key in PEM, and it is not: bring back the copy you keep", .path.display()
    )]
    Key { path: PathBuf, name: String },
    #[error(transparent)]
    NotMade(#[from] NotMade),
    #[error("the new certificate would be refused, so nothing was written: is this machine's clock right?")]
    Refused(#[source] Refused),
    #[error("expected a CA that has not ended, and `{name}` has: replace it with `stagedoor door-ca renew`")]
    Ended { name: String },
    #[error("the new files would be refused, so nothing was written: is this machine's clock right?")]
    WouldBeRefused(#[source] Box<Untrusted>),
    #[error(
        "{}: expected a folder for the door's certificate and key: create it, or name another with --out", .0.display()
    )]
    NoOut(PathBuf),
    #[error(
        "{}: expected another folder than the CA's own: what goes to a door is kept apart from what never leaves; \
         name one with --out", .0.display()
    )]
    OutIsTheFolder(PathBuf),
    #[error("expected a door's name of at most {DOOR_LONGEST} bytes: X.509 takes no longer common name")]
    NameTooLong,
    #[error("no certificate in {} was issued to {door}: `stagedoor door-ca show` lists those that were", .issued.display())]
    NeverIssued { issued: PathBuf, door: Certname },
    #[error(
        "the CA is being replaced already: issue to every door, then `stagedoor door-ca renew --finish`, before it is \
         replaced again"
    )]
    Renewing,
    #[error(
        "the CA is not being replaced, so there is nothing to finish: begin with `stagedoor door-ca renew`"
    )]
    NothingToFinish,
    #[error(
        "these doors have no certificate of the new CA and would be shut out: {}: issue to each of them and take the \
         certificates there first, or --force", .0.iter().map(Certname::as_str).collect::<Vec<_>>().join(", ")
    )]
    Behind(Vec<Certname>),
}
