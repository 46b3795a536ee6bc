//! stagedoor-enroller: takes a new compile master through the ordered procedure and only then asks every door to
//! admit it.
//!
//! # The path of one enrollment
//!
//! ```text
//! preflight ─► install ─► sign ─► first run ─► classify ─► ordered runs (compile master, PuppetDB …, console …) ─► seal ─► check ─► admit ─► watch
//! ```
//!
//! [`pipeline`] decides what is done next, [`drive`] does it, and [`journal`] records it, before and after; [`command`]
//! checks settings and shows journals. What does the steps is not written yet. Until it is, a master is put on the
//! roster by hand, after the documented runs have completed in their order: `stagedoor roster admit CERTNAME`.

pub mod ask;
pub mod ca;
pub mod catalog;
pub mod command;
pub mod doors;
pub mod drive;
pub mod identity;
pub mod journal;
pub mod pe;
pub mod pipeline;
pub mod puppetdb;
pub mod request;
pub mod runs;
pub mod secret;
pub mod shell;
pub mod site;
pub mod steps;
mod words;
