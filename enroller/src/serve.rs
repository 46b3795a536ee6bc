//! `stagedoor-enroller serve`: the sidecar. Enrollments are asked for over its socket, or over TLS by whoever is allowed,
//! wait in a queue, and are carried on one after the other: two at one PuppetDB would take each other's runs for their
//! own.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /live` | | 200 while it runs |
//! | `GET /metrics` | | OpenMetrics |
//! | `GET /v1/enrollments` | | every master's latest enrollment, as `status --json`, and who waits |
//! | `POST /v1/enrollments` | `queue::Job` | 202 and its place; 409 where it cannot be taken |
//! | `DELETE /v1/enrollments/NAME` | | one that waits is forgotten |
//!
//! An enrollment that a crash or a restart of this program cut off is taken up again when it starts; one that stopped for
//! a reason waits for a person, as it does on the command line. What is asked for lives in memory until it is begun: its
//! journal is what outlives everything.
//!
//! | file | holds |
//! |---|---|
//! | `queue` | who waits (pure) |
//! | `work` | one enrollment after the other |
//! | `listen` | the socket |
//! | `tls` | the port |
//! | `routes` | requests and answers |
//! | `metrics` | what is counted |

mod listen;
mod metrics;
mod queue;
mod routes;
mod tls;
mod work;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stagedoor_config::enroller::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::site::NotOpened;
use metrics::Metrics;
use queue::Queue;

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// Nothing to be asked at.
    #[error("serve.unix is \"off\" and there is no [serve.tls]: expected one of them in the settings")]
    Nowhere,
    /// Its socket.
    #[error("listen on serve.unix {}: expected a folder that exists and in which a socket may be made, and no other program there", .path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its port.
    #[error("listen on serve.tls.address: expected a free address of this machine")]
    Tls(#[source] io::Error),
    /// The installation's files.
    #[error(transparent)]
    Site(#[from] NotOpened),
    /// The TLS library.
    #[error("TLS cannot be set up")]
    Library(#[from] rustls::Error),
    /// What carries enrollments on has ended.
    #[error(
        "what carries enrollments on has ended by a mistake of this program's; started again, it goes on where it was"
    )]
    Ended(#[source] Option<tokio::task::JoinError>),
    /// The system gives no thread, runtime or signal.
    #[error("start")]
    System(#[from] io::Error),
}

/// What its parts share.
struct Desk {
    settings: Settings,
    queue: Mutex<Queue>,
    /// Told when somebody is put into the queue.
    came: Notify,
    metrics: Metrics,
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until SIGTERM or SIGINT. An enrollment that is under way then stays where it is, and goes on at the next start.
///
/// # Errors
/// Why it does not start.
pub fn serve(settings: Settings) -> Result<(), NotServed> {
    if settings.serve.unix.is_none() && settings.serve.tls.is_none() {
        return Err(NotServed::Nowhere);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let desk = Arc::new(Desk {
            settings,
            queue: Mutex::new(Queue::default()),
            came: Notify::new(),
            metrics: Metrics::new(),
        });
        listen::open(&desk)?;
        let mut working = tokio::spawn(work::work(Arc::clone(&desk)));
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // It never ends but by a mistake of this program's: whoever watches it is to start it again.
            ended = &mut working => return Err(NotServed::Ended(ended.err())),
        }
        // What it does elsewhere goes on there; its journal says how far it came.
        working.abort();
        Ok(())
    })
}
