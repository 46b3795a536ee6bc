//! stagedoor, the door: a TLS proxy on Puppet's port 8140.
//!
//! # The path of a request
//!
//! ```text
//! agent ─TCP 8140─► accept ─► hello ─┬─ end-tls ─► tls ─► identity ─► route ─┬─ compiles ──► body ─► queue ─► pick ─► link ─► forward ─► compile master (sealed)
//!                                    │                                       ├─ CA, packages ► body ────────────────► link ─► forward ─► MoM
//!                                    │                                       ├─ renewal ───► renewal ───────────────► link ────────────► MoM's CA, under the door's name
//!                                    │                                       ├─ status ────► answer
//!                                    │                                       └─ refused ───► answer
//!                                    └─ pass ─► pick ─► bytes, untouched ────────────────────────────────────────────► compile master (open), other backends
//! any failure ─► answer (one table: status, Retry-After, words)       every outcome ─► observe (one access line, counters, histograms)
//! beside it: probe ─► health ─► pool    catalogs ─► ejection ─► pool    gauges ─► seat ─► pool    answers ─► speed, caches ─► pool    outsider ─► seal ─► pool    resolve ─► pool    files watched ─► one swap    admin ◄─ operator
//! ```
//!
//! Each step is a module of its name; queue, pick, probe, health, gauges, seat, speed, caches, outsider, seal and resolve are in
//! [`pool`], and canary, for the one agent whose master is not picked. What the steps share:
//!
//! | module | holds |
//! |---|---|
//! | `door` | the two kinds of state: the snapshot that is swapped, and what lives |
//! | `front`, [`proxy_protocol`] | a connection's first bytes, and a balancer's word on where it comes from |
//! | [`way`] | whether a connection ends here, is passed, or refused |
//! | `sources`, `certificates` | what one address, and one certificate, may have at once |
//! | `connection` | who an agent connection belongs to, and whether that still holds |
//! | [`headers`] | hygiene, both ways |
//! | `places` | what those without a certificate may have at work at once |
//! | `attempt`, [`retry`] | asking once; whether to ask again |
//! | `transfer` | the response on its way, and the line that is written when it is over |
//! | `pace` | the least rate |
//! | [`page`] | the page on the admin doors |
//! | [`run`] | everything composed once: files, threads, signals |
//! | [`command`] | the command line |

pub mod admin;
pub mod answer;
pub mod command;
pub mod headers;
pub mod hello;
pub mod identity;
pub mod observe;
pub mod page;
pub mod proxy_protocol;
pub mod retry;
pub mod route;
pub mod run;
pub mod tls;
pub mod way;

mod accept;
mod attempt;
mod body;
mod certificates;
mod connection;
mod door;
mod forward;
mod front;
mod link;
mod pace;
mod pass;
mod places;
pub mod pool;
pub mod renewal;
mod sources;
mod transfer;
