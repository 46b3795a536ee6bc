//! stagedoor-enroller: takes a new compile master through the ordered procedure and only then asks every door to
//! admit it.
//!
//! # The path of one enrollment
//!
//! ```text
//! preflight ─► install ─► sign ─► first run ─► classify ─► ordered runs (compile master, PuppetDB …, console …) ─► seal ─► check ─► admit ─► watch
//! ```
//!
//! [`pipeline`] decides what is done next, [`drive`] does it by [`steps`], and [`journal`] records it, before and after;
//! [`carry`] puts them together for [`command`] and [`serve`].
//!
//! | module | holds |
//! |---|---|
//! | [`site`] | the installation as the settings name it: everybody who is asked |
//! | [`shell`], [`ask`] | commands on other machines by ssh; questions to servers over HTTPS |
//! | [`ca`], [`puppetdb`], [`doors`] | what is asked of each |
//! | [`bulletin`] | what doors are told of an enrollment, for their page |
//! | [`runs`] | runs of agents elsewhere, and what is known of them |
//! | [`request`], [`catalog`] | what may be signed; in what two catalogs differ (pure) |
//! | [`identity`], [`secret`] | this program's own certificate; tokens |

pub mod ask;
pub mod bulletin;
pub mod ca;
pub mod carry;
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
pub mod serve;
pub mod shell;
pub mod site;
pub mod steps;
mod words;
