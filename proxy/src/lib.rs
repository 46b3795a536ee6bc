//! stagedoor, the door: a TLS proxy on Puppet's port 8140.
//!
//! # The path of a request
//!
//! ```text
//! agent ─TCP 8140─► accept ─► hello ─► tls ─► identity ─► route ─┬─ compiles ──────────► body ─► pick ─► link ─► forward ─► compile master
//!                                                                ├─ CA, packages ──────► body ────────► link ─► forward ─► MoM
//!                                                                ├─ status ─► answer
//!                                                                └─ refused ─► answer
//! any failure ─► answer (one table: status, Retry-After, words)       every outcome ─► observe (one access line, counters, histograms)
//! beside it: probe ─► health ─► pool    resolve ─► pool    files watched, settings reloaded ─► one swap    admin ◄─ operator
//! ```

pub mod admin;
pub mod answer;
pub mod command;
pub mod headers;
pub mod hello;
pub mod identity;
pub mod observe;
pub mod retry;
pub mod route;
pub mod run;
pub mod tls;

mod accept;
mod attempt;
mod body;
mod certificates;
mod connection;
mod door;
mod forward;
mod link;
mod mom;
mod pace;
pub mod pool;
mod sources;
mod transfer;
