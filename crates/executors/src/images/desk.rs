//! A thread that keeps and puts back files beside the engine's loop, which must not wait for disks, and where each
//! attempt stands meanwhile. It does not know what files are kept for.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, Images, RawOutput, Report, RestoreWork};
use rustix::event::{EventfdFlags, eventfd};

use crate::verdict::{self, Cut, Limits};

/// See the module.
pub(crate) struct ImageDesk {
    jobs: Option<Sender<Job>>,
    done: Receiver<(AttemptKey, Result<(), Failure>)>,
    /// Readable when something is done.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    places: HashMap<AttemptKey, Place>,
}

/// Where an attempt stands.
enum Place {
    /// Its files are being kept.
    Taking { spec: Box<AttemptSpec>, cut: Option<Cut> },
    /// It is at work.
    Working(Arc<Images>),
    /// It succeeded, and what it left is being noted.
    Looking(Box<Ended>),
    /// Files are being put back.
    Restoring { epoch: u32 },
}

enum Job {
    Take(AttemptKey, Arc<Images>),
    Look(AttemptKey, Arc<Images>),
    Restore(AttemptKey, Box<RestoreWork>),
}

impl ImageDesk {
    pub(crate) fn new() -> std::io::Result<ImageDesk> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (jobs, queue) = channel::<Job>();
        let (tell, done) = channel();
        let bell = Arc::clone(&wake);
        let work = move || {
            // One after the other: the order in which files are kept is the order in which attempts asked.
            while let Ok(job) = queue.recv() {
                let (key, result) = match job {
                    Job::Take(key, images) => (key, super::take(&images)),
                    Job::Look(key, images) => (key, super::look_after(&images)),
                    Job::Restore(key, work) => (key, super::restore(&work)),
                };
                if tell.send((key, result)).is_ok() {
                    let _ = rustix::io::write(&bell, &1u64.to_ne_bytes());
                }
            }
        };
        let thread = std::thread::Builder::new().name("images".to_owned()).spawn(work)?;
        Ok(ImageDesk { jobs: Some(jobs), done, wake, thread: Some(thread), places: HashMap::new() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether the attempt's files have been kept.
    pub(crate) fn has(&self, key: AttemptKey) -> bool {
        self.places.contains_key(&key)
    }

    /// Keeps the files of an attempt; it can start when [`ImageDesk::collect`] gives it back.
    pub(crate) fn take(&mut self, spec: &AttemptSpec, images: &Arc<Images>) {
        self.places.insert(spec.key, Place::Taking { spec: Box::new(spec.clone()), cut: None });
        self.send(Job::Take(spec.key, Arc::clone(images)));
    }

    /// Puts files back; the attempt ends with that.
    pub(crate) fn restore(&mut self, spec: &AttemptSpec, work: &RestoreWork) {
        self.places.insert(spec.key, Place::Restoring { epoch: spec.epoch });
        self.send(Job::Restore(spec.key, Box::new(work.clone())));
    }

    /// Gives up an attempt that has not started. False when it is somewhere else.
    pub(crate) fn cut(&mut self, key: AttemptKey, cause: Cut) -> bool {
        match self.places.get_mut(&key) {
            Some(Place::Taking { cut, .. }) => {
                cut.get_or_insert(cause);
                true
            }
            // Short, and better whole than half.
            Some(Place::Restoring { .. } | Place::Looking(_)) => true,
            _ => false,
        }
    }

    /// Holds back a success until what it left is noted; hands through everything else.
    pub(crate) fn pass(&mut self, report: Report) -> Option<Report> {
        let Report::Ended(ended) = report else { return Some(report) };
        let key = ended.key;
        match self.places.remove(&key) {
            Some(Place::Working(images)) if ended.result.is_ok() => {
                self.places.insert(key, Place::Looking(Box::new(ended)));
                self.send(Job::Look(key, images));
                None
            }
            Some(Place::Working(_)) | None => Some(Report::Ended(ended)),
            // Another report on an attempt whose own has not been told yet.
            Some(place) => {
                self.places.insert(key, place);
                None
            }
        }
    }

    /// Takes what has been done: attempts that can start now, and reports that can be told.
    pub(crate) fn collect(&mut self, told: &mut Vec<Report>) -> Vec<AttemptSpec> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut ready = Vec::new();
        while let Ok((key, result)) = self.done.try_recv() {
            match (self.places.remove(&key), result) {
                (Some(Place::Taking { spec, cut: None }), Ok(())) => {
                    let images = spec.demands.images.clone().expect("only attempts with files come here");
                    self.places.insert(key, Place::Working(images));
                    ready.push(*spec);
                }
                (Some(Place::Taking { spec, cut: Some(cut) }), _) => {
                    let limits = Limits { timeout: spec.timeout, idle: None, start: None };
                    let failure = verdict::for_cut(cut, limits, "");
                    told.push(Report::Ended(verdict::never_began(&spec, failure)));
                }
                (Some(Place::Taking { spec, .. }), Err(failure)) => {
                    told.push(Report::Ended(verdict::never_began(&spec, failure)));
                }
                (Some(Place::Looking(mut ended)), result) => {
                    if let Err(failure) = result {
                        ended.result = Err(failure);
                    }
                    told.push(Report::Ended(*ended));
                }
                (Some(Place::Restoring { epoch }), result) => {
                    let result = result.map(|()| RawOutput::Json("null".to_owned()));
                    told.push(Report::Ended(Ended { key, epoch, result, usage: None, session: None }));
                }
                (place, _) => self.places.extend(place.map(|place| (key, place))),
            }
        }
        ready
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("it is taken away by the drop alone");
        // The thread lives as long as this does.
        let _ = jobs.send(job);
    }
}

impl Drop for ImageDesk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
