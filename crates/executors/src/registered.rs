//! Executors that were registered by name, and the box into which their threads put reports. It does not know what
//! they do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raddle_engine::FailureClass;
use raddle_engine::attempt::StopCause;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Failure, Report};
use raddle_engine::executor::{Executor, Post};
use rustix::event::{EventfdFlags, eventfd};

/// The executors, by the names in their capabilities.
pub(crate) struct Registered {
    executors: Vec<Box<dyn Executor>>,
    inbox: Arc<Inbox>,
}

/// Reports of other threads; its descriptor is readable while there are some.
struct Inbox {
    wake: OwnedFd,
    reports: Mutex<Vec<Report>>,
}

impl Registered {
    /// Without any executor.
    pub(crate) fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Registered { executors: Vec::new(), inbox: Arc::new(Inbox { wake, reports: Mutex::default() }) })
    }

    /// What is readable when a report has come.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.inbox.wake.as_fd()
    }

    /// Adds one; of two with the same name the later one is used.
    pub(crate) fn add(&mut self, executor: Box<dyn Executor>) {
        self.executors.insert(0, executor);
    }

    /// Begins an attempt with the executor that it names.
    pub(crate) fn start(&mut self, name: &str, spec: &AttemptSpec) -> Result<(), Failure> {
        let Some(executor) = self.executors.iter_mut().find(|e| e.capabilities().name == name) else {
            return Err(Failure::new(FailureClass::Start, format!("there is no executor {name}")));
        };
        executor.available().map_err(|why| {
            Failure::new(FailureClass::Start, format!("executor {name} is not available here: {why}"))
        })?;
        executor.meets(&spec.demands).map_err(|what| Failure::new(FailureClass::Permission, what))?;
        let inbox = Arc::clone(&self.inbox);
        let post: Post = Arc::new(move |report| inbox.put(report));
        executor.start(spec.clone(), post);
        Ok(())
    }

    /// Ends an attempt of whichever executor has it.
    pub(crate) fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        self.executors.iter_mut().for_each(|executor| executor.stop(key, cause, grace));
    }

    /// Takes what has come.
    pub(crate) fn collect(&mut self, reports: &mut Vec<Report>) {
        let mut count = [0; 8];
        // The count does not matter, and an empty one is no error.
        let _ = rustix::io::read(&self.inbox.wake, &mut count);
        let mut waiting = self.inbox.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.append(&mut waiting);
    }
}

impl Inbox {
    fn put(&self, report: Report) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        // It can only fail when it is about to overflow, and then it is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}
