//! The access log: one line per request or passed connection, written by one thread of its own.
//!
//! A request gives its record to a bounded queue and goes on. When the disk is slower than the door the queue fills,
//! and what does not fit is dropped and counted: an agent never waits for a log. A quiet door's line is in the file at
//! once; after each write the thread lets lines gather for a moment, since waking it for every request of a busy door,
//! and writing each alone, would cost as much as the rest of a small request.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stagedoor_config::proxy::{self as config, LineFormat};

use super::metrics::Metrics;
use super::passed::Passed;
use super::record::Record;
use super::{line, text};

/// Lines waiting to be written: most of a second of a busy door. A record is under 300 bytes and owns at most a path
/// and an environment, so a full queue is under 12 MiB and usually 4.
const QUEUE: usize = 8192;
/// Bytes gathered before they are written even though more are waiting.
const FULL: usize = 64 * 1024;
/// How long lines gather after a write: fifty writes a second at most, and far too short for [`QUEUE`] to fill.
const GATHER: Duration = Duration::from_millis(20);
/// Between two complaints about a log that cannot be written.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Why the access log could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum NoAccessLog {
    /// The file cannot be opened.
    #[error("open the access log {}: expected a file that the door may create and append to", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// No thread to be had.
    #[error("start the thread that writes the access log")]
    Thread(#[source] io::Error),
}

/// The near end of the log.
#[derive(Debug)]
pub(super) struct AccessLog {
    queue: SyncSender<Message>,
    asked: Arc<Asked>,
    /// Nothing is ever sent: it hangs up when the thread has ended, however it did.
    ended: Mutex<Receiver<Infallible>>,
}

/// What was asked of the thread. Flags, not messages, since a message may find the queue full.
#[derive(Debug, Default)]
struct Asked {
    reopen: AtomicBool,
    close: AtomicBool,
}

enum Message {
    Line(Record),
    Passed(Passed),
    /// Look at the flags.
    Wake,
}

/// How the thread comes by something to write to, at first and when it is asked to reopen.
type Open = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

impl AccessLog {
    /// Begins a log.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub(super) fn start(log: &config::AccessLog, metrics: Arc<Metrics>) -> Result<Self, NoAccessLog> {
        let config::AccessLog { file, format } = log;
        let stdout = [Path::new("-"), Path::new("/dev/stdout")].contains(&file.as_path());
        let path = file.clone();
        let open: Open = if stdout {
            Box::new(|| Ok(Box::new(io::stdout())))
        } else {
            Box::new(move || {
                // Certnames and paths of a whole fleet: not for everybody on the machine.
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
                Ok(Box::new(file))
            })
        };
        Self::start_with(file, *format, open, metrics, QUEUE)
    }

    fn start_with(
        file: &Path,
        format: LineFormat,
        mut open: Open,
        metrics: Arc<Metrics>,
        bound: usize,
    ) -> Result<Self, NoAccessLog> {
        let out = open().map_err(|e| NoAccessLog::Open(file.to_owned(), e))?;
        let (queue, lines) = sync_channel(bound);
        let (end, ended) = sync_channel(0);
        let asked = Arc::new(Asked::default());
        let mut writer = Writer {
            file: file.to_owned(),
            format,
            open,
            out,
            lines,
            asked: Arc::clone(&asked),
            metrics,
            text: Vec::with_capacity(FULL + FULL / 4),
            gathered: 0,
            torn: false,
            complained: None,
        };
        std::thread::Builder::new()
            .name("access".to_owned())
            .spawn(move || {
                writer.run();
                // In this order: who waits for the end may count on the queue being gone.
                drop(writer);
                drop(end);
            })
            .map_err(NoAccessLog::Thread)?;
        Ok(Self { queue, asked, ended: Mutex::new(ended) })
    }

    /// Takes the record if there is room at once and the log is not being closed.
    #[must_use]
    pub(super) fn line(&self, record: Record) -> bool {
        !self.asked.close.load(Relaxed) && self.queue.try_send(Message::Line(record)).is_ok()
    }

    /// The same for a passed connection.
    #[must_use]
    pub(super) fn passed(&self, passed: Passed) -> bool {
        !self.asked.close.load(Relaxed) && self.queue.try_send(Message::Passed(passed)).is_ok()
    }

    /// Opens the file anew before the next line, as after a rotation.
    pub(super) fn reopen(&self) {
        self.asked.reopen.store(true, SeqCst);
        self.wake();
    }

    /// Writes what is waiting and ends. Blocks, at most for `within`; false when that was too short.
    pub(super) fn close(&self, within: Duration) -> bool {
        self.asked.close.store(true, SeqCst);
        self.wake();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ended.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }

    fn wake(&self) {
        match self.queue.try_send(Message::Wake) {
            // With a full queue the thread is awake and looks at the flags before it sleeps again.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

struct Writer {
    file: PathBuf,
    format: LineFormat,
    open: Open,
    out: Box<dyn Write + Send>,
    lines: Receiver<Message>,
    asked: Arc<Asked>,
    metrics: Arc<Metrics>,
    text: Vec<u8>,
    gathered: u64,
    /// The last write failed and may have left half a line.
    torn: bool,
    complained: Option<Instant>,
}

impl Writer {
    fn run(&mut self) {
        while let Ok(first) = self.lines.recv() {
            self.take(first);
            self.drain();
            if self.asked.close.load(SeqCst) {
                // What came in while the last batch was being written.
                while let Ok(late) = self.lines.try_recv() {
                    self.take(late);
                    self.drain();
                }
                return;
            }
            std::thread::sleep(GATHER);
        }
    }

    /// Writes until nothing is waiting.
    fn drain(&mut self) {
        loop {
            let mut waiting = true;
            while waiting && self.text.len() < FULL {
                match self.lines.try_recv() {
                    Ok(message) => self.take(message),
                    Err(_) => waiting = false,
                }
            }
            self.write();
            if !waiting {
                return;
            }
        }
    }

    fn take(&mut self, message: Message) {
        let before = self.text.len();
        let appended = match (message, self.format) {
            (Message::Line(record), LineFormat::Json) => line::append(&mut self.text, &record),
            (Message::Passed(passed), LineFormat::Json) => line::append_passed(&mut self.text, &passed),
            (Message::Line(record), LineFormat::Text) => {
                text::append(&mut self.text, &record);
                Ok(())
            }
            (Message::Passed(passed), LineFormat::Text) => {
                text::append_passed(&mut self.text, &passed);
                Ok(())
            }
            (Message::Wake, _) => return,
        };
        if appended.is_ok() {
            self.gathered += 1;
        } else {
            self.text.truncate(before);
            self.metrics.access_lines_unwritten.inc();
        }
    }

    fn write(&mut self) {
        if self.asked.reopen.swap(false, SeqCst) {
            match (self.open)() {
                Ok(out) => (self.out, self.torn) = (out, false),
                Err(error) => tracing::error!(
                    file = %self.file.display(), %error,
                    "the access log could not be opened anew; lines go on to where they went before"
                ),
            }
        }
        if self.text.is_empty() {
            return;
        }
        let outcome = self.put();
        self.torn = outcome.is_err();
        if let Err(error) = outcome {
            self.metrics.access_lines_unwritten.add(self.gathered);
            self.complain(&error);
        }
        self.text.clear();
        self.gathered = 0;
    }

    fn put(&mut self) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(&self.text)?;
        self.out.flush()
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_some_and(|at| at.elapsed() < COMPLAINT) {
            return;
        }
        self.complained = Some(Instant::now());
        tracing::error!(
            file = %self.file.display(), %error, lost = self.metrics.access_lines_unwritten.get(),
            "the access log cannot be written; requests go on, their lines are lost; make room, or send SIGHUP after a change"
        );
    }
}

#[cfg(test)]
mod tests;
