//! What operators are promised, one module for each area. Names of tests are promises.
//!
//! | module | promises about |
//! |---|---|
//! | `bootstrap` | a brand-new agent, from nothing to its first catalog |
//! | `identity` | who an agent is taken for, whatever it says |
//! | `routes` | which request goes where, and what arrives there |
//! | `revocation` | the end of a certificate |
//! | `pass` | connections that are passed, byte for byte: which, what becomes of them, to whom; the PROXY protocol |
//! | `renewal` | an agent's certificate renewed by the CA, and nothing else under the door's name |
//! | `files` | files that change while the door runs |
//! | `health` | masters that fall, return, drain, join, or are not who they should be |
//! | `retry` | requests whose master fails them |
//! | `bodies` | large bodies and long silences |
//! | `bad_input` | files, limits and peers that are not what they should be |
//! | `admin` | the admin doors, the roster's file, metrics, the access log |
//! | `admin_tls` | the admin door for other machines: who may ask there, and how long |
//! | `openapi` | the file that describes the admin API |
//! | `flush` | environment caches flushed on every master, each master's own status relayed, `stagedoor masters` |
//! | `bad_days` | hangs, stalls, leavers, attackers: what stays up, and who is told what |
//! | `catalogs` | what each master made of catalogs, by environment, and its canary's |
//! | `check` | `stagedoor check`: what a start would stumble over, told before it |
//! | `door_ca` | `stagedoor door-ca`, and a door whose certificate of it is no good |
//! | `roster` | `stagedoor roster`: the roster by commands |
//! | `enroll` | a new master taken through the ordered runs, and what keeps it from being admitted |
//! | `seal` | sealed masters that strangers reach after all |
//! | `seats` | who waits for a JRuby, who is next, and what a master is never given |
//! | `stand_ins` | the stand-ins themselves: that they refuse what real Puppet refuses |
//! | `warm` | masters that are warmed before agents depend on them, and their canaries |
//! | `wire` | raw bytes both ways: targets, framing, heads, the order of things on a connection |
// Everything here is a test or part of one: what was not foreseen ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admin;
mod admin_tls;
mod bad_days;
mod bad_input;
mod bodies;
mod bootstrap;
mod catalogs;
mod check;
mod door_ca;
mod enroll;
mod files;
mod flush;
mod health;
mod identity;
mod openapi;
mod pass;
mod renewal;
mod retry;
mod revocation;
mod roster;
mod routes;
mod seal;
mod seats;
mod stand_ins;
mod warm;
mod wire;
