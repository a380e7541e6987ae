//! The thread that carries a full segment over into the back end while the other one fills.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::super::backend::{Backend, BackendError, RowChange};

/// The back end, which the worker and the committer take turns with.
pub(super) type Inner = Arc<Mutex<Box<dyn Backend>>>;

struct Job {
    revision: u64,
    changes: Arc<Vec<RowChange>>,
}

pub(super) struct Worker {
    /// None only while it is dropped.
    jobs: Option<Sender<Job>>,
    results: Receiver<Result<(), BackendError>>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(inner: Inner) -> Result<Self, BackendError> {
        let (jobs, queue) = channel::<Job>();
        let (answers, results) = channel();
        let work = move || {
            for job in queue {
                let result = inner.lock().commit(job.revision, &job.changes);
                if answers.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoint".into());
        let thread = thread.spawn(work).map_err(BackendError::Io)?;
        Ok(Self {
            jobs: Some(jobs),
            results,
            busy: false,
            thread: Some(thread),
        })
    }

    /// Hands over changes up to `revision`; the job before has been waited for.
    pub(super) fn carry(&mut self, revision: u64, changes: Arc<Vec<RowChange>>) {
        let job = Job { revision, changes };
        self.busy = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
    }

    /// Waits for the job that was handed over and says how it went; none if there is none.
    pub(super) fn wait(&mut self) -> Option<Result<(), BackendError>> {
        if !std::mem::take(&mut self.busy) {
            return None;
        }
        let ended = || BackendError::Io(std::io::ErrorKind::BrokenPipe.into());
        Some(self.results.recv().unwrap_or_else(|_| Err(ended())))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do; if it panicked there is nobody to tell.
            let _ = thread.join();
        }
    }
}
