//! Stand-ins for a Puppet installation, on free ports of this machine: one set for the tests, the demo and the
//! benches.
//!
//! They are shaped like the real programs where the door could tell the difference, and record what they see. They
//! share no code with the door: a stand-in that used the door's parsers would share its mistakes.
//!
//! | module | stands for |
//! |---|---|
//! | [`ca`], [`identity`], [`csr`] | Puppet's CA, the door's private CA, what they issue |
//! | [`mom`] | the Master of Masters: CA bootstrap, certificate renewal and packages |
//! | [`master`] | a compile master with its JRubies, sealed or open |
//! | [`java7`] | TLS of servers on Java 7, which no modern client speaks |
//! | [`raw`] | a server that says only what a test writes, without TLS: an old master, a broker |
//! | [`agent`] | an agent and its run |
//! | [`wire`] | raw TLS sockets, both ends, for bytes in and bytes out |
//! | [`door`] | the `stagedoor` program as a child process |
//! | [`installation`] | what masters are enrolled in: machines, PuppetDB, the enroller's settings |
//! | [`fleet`] | all of them together |
//! | [`wait`] | waiting for a state, never for a time |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a stand-in that is misused ends its test"
)]

pub mod agent;
pub mod answer;
pub mod ca;
pub mod csr;
pub mod door;
pub mod fleet;
pub mod http1;
pub mod identity;
pub mod installation;
pub mod java7;
pub mod listening;
pub mod master;
pub mod mom;
pub mod puppet;
pub mod raw;
pub mod record;
mod serving;
pub mod tls;
pub mod wait;
pub mod wire;
