//! What is written outside stagedoor's processes and read inside both, and what they say to each other.
//!
//! The proxy and the enroller import this crate and never each other: they meet on the wire.
//!
//! | module | holds |
//! |---|---|
//! | [`certname`] | the name in a certificate, checked once |
//! | [`environment`] | the name of an environment, checked once |
//! | [`class`] | the classes of requests: words shared by settings, wire and code |
//! | [`master`] | a compile master as it stands on the roster |
//! | [`roster`] | the admitted and the warm compile masters under a generation number, and what may be done to them |
//! | [`proxy`] | the door's settings and bounds, every mistake told in one reading |
//! | [`enroller`] | the enroller's settings and deadlines, likewise |
//! | [`bound`] | bounds and deadlines: a default, a range and a reason each |
//! | [`mistake`] | one mistake in a file: where, which key, which value, what was expected |
//! | [`quantity`] | counts, sizes and times as people write them |
//! | [`nearest`] | the known word nearest to a mistyped one |
//! | [`admin`] | what the admin doors answer |
//! | [`revocation`] | which certificates a certificate authority has taken back |
//! | [`subject`] | the one name in a certificate's subject |
//! | [`trust`] | the Puppet CA's bundle and lists of revoked certificates as one judge of both sides |
//! | [`read`] | reading and replacing files, the only place here that touches a disk |

pub mod admin;
pub mod bound;
pub mod certname;
pub mod class;
mod document;
pub mod enroller;
pub mod environment;
pub mod master;
pub mod mistake;
pub mod nearest;
pub mod network;
pub mod proxy;
pub mod quantity;
pub mod read;
pub mod revocation;
pub mod roster;
pub mod subject;
pub mod trust;
