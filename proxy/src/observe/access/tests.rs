use std::io::BufRead as _;
use std::sync::Condvar;

use super::super::Observe;
use super::super::levels::Levels;
use super::super::tests::record;
use super::*;

/// How long a state is waited for before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn json(file: &Path) -> config::AccessLog {
    config::AccessLog { file: file.to_owned(), format: LineFormat::Json }
}

/// Something to write to that can be held, fail, and be read.
#[derive(Default)]
struct Paper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: bool,
    full: bool,
    waiting: bool,
    text: Vec<u8>,
}

impl Paper {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, late) = self.changed.wait_timeout_while(state, PATIENCE, |state| !until(state)).unwrap();
        assert!(!late.timed_out());
    }

    fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap().text.lines().map(Result::unwrap).collect()
    }
}

struct Pen(Arc<Paper>);

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock().unwrap();
        while state.held {
            state.waiting = true;
            self.0.changed.notify_all();
            state = self.0.changed.wait(state).unwrap();
        }
        state.waiting = false;
        if state.full {
            // As a disk does: some of it fits.
            state.full = false;
            let some = bytes.len().min(10);
            state.text.extend_from_slice(&bytes[..some]);
            self.0.changed.notify_all();
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.text.extend_from_slice(bytes);
        self.0.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(paper: &Arc<Paper>, metrics: &Arc<Metrics>, bound: usize) -> AccessLog {
    let paper = Arc::clone(paper);
    let open: Open = Box::new(move || Ok(Box::new(Pen(Arc::clone(&paper)))));
    AccessLog::start_with(Path::new("test"), LineFormat::Json, open, Arc::clone(metrics), bound).unwrap()
}

#[test]
fn a_stuck_disk_costs_lines_that_are_counted_and_never_an_agents_time() {
    let paper = Arc::new(Paper::default());
    paper.change(|state| state.held = true);
    let metrics = Arc::new(Metrics::new());
    let observe = Observe::with(1, Arc::clone(&metrics), Some(log(&paper, &metrics, 4)));
    observe.request(record(&observe, "/first"));
    paper.wait(|state| state.waiting);
    for _ in 0..10 {
        observe.request(record(&observe, "/more"));
    }
    assert_eq!(metrics.access_lines_behind.get(), 6, "four wait, six are dropped");
    assert!(!observe.close(Duration::from_millis(1)), "a stuck disk does not hold up the end either");
    paper.change(|state| state.held = false);
    assert!(observe.close(PATIENCE));
    assert_eq!(paper.lines().len(), 5);
    observe.request(record(&observe, "/late"));
    assert_eq!(metrics.access_lines_behind.get(), 7, "after the end a line is dropped and counted");
    assert!(
        observe
            .text(Levels::default())
            .contains("stagedoor_access_lines_dropped_total{reason=\"behind\"} 7\n")
    );
}

#[test]
fn a_full_disk_costs_what_did_not_fit_and_leaves_no_half_line_in_front_of_a_whole_one() {
    let paper = Arc::new(Paper::default());
    paper.change(|state| state.full = true);
    let metrics = Arc::new(Metrics::new());
    let observe = Observe::with(1, Arc::clone(&metrics), Some(log(&paper, &metrics, 64)));
    observe.request(record(&observe, "/lost"));
    paper.wait(|state| !state.text.is_empty());
    observe.request(record(&observe, "/kept"));
    assert!(observe.close(PATIENCE));
    assert_eq!(metrics.access_lines_unwritten.get(), 1);
    let lines = paper.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("{\"time\"") && lines[1].contains("/kept"), "{lines:?}");
}

#[test]
fn every_line_of_many_threads_is_in_the_file_when_the_door_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let observe = Observe::start(1, Some(&json(&file))).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let observe = &observe;
            scope.spawn(move || {
                for i in 0..500 {
                    observe.request(record(observe, &format!("/{thread}/{i}")));
                }
            });
        }
    });
    assert!(observe.close(PATIENCE));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64 + observe.metrics().access_lines_behind.get(), 2_000);
    assert!(!lines.is_empty());
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let observe = Observe::start(1, Some(&json(&file))).unwrap();
    observe.request(record(&observe, "/before"));
    let begun = Instant::now();
    while std::fs::metadata(&file).unwrap().len() == 0 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    std::fs::rename(&file, &old).unwrap();
    observe.reopen();
    observe.request(record(&observe, "/after"));
    assert!(observe.close(PATIENCE));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert!(read(&old).contains("/before") && !read(&old).contains("/after"));
    assert!(read(&file).contains("/after"));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o007, 0, "certnames are not for everybody on the machine: {mode:o}");
}

#[test]
fn a_log_that_cannot_be_opened_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("absent/access.log");
    let error = Observe::start(1, Some(&json(&file))).unwrap_err();
    assert!(error.to_string().contains("absent/access.log"), "{error}");
}
