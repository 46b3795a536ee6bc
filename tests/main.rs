//! What operators are promised, one module for each area. Names of tests are promises.
//!
//! | module | promises about |
//! |---|---|
//! | `check` | `stagedoor check`: what a start would stumble over, told before it |
//! | `roster` | `stagedoor roster`: the roster by commands |
//! | `stand_ins` | the stand-ins themselves: that they refuse what real Puppet refuses |
//! | `wire` | raw bytes both ways: targets, framing, heads, the order of things on a connection |
// Everything here is a test or part of one: what was not foreseen ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod roster;
mod stand_ins;
mod wire;
