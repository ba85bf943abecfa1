//! Threads that make and commit work trees beside the engine's loop, which must not wait for git, and where each
//! attempt stands between the two. They call git by themselves; attempts are none of their business.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, Report};
use rustix::event::{EventfdFlags, eventfd};

use super::tree::{Order, Tree};
use super::{Record, Trees, Trouble};
use crate::verdict::{self, Cut, Limits};

/// Threads at most; most of their time is git's.
const THREADS: usize = 4;

/// See the module.
pub(crate) struct Crew {
    trees: Arc<Trees>,
    jobs: Option<Sender<Job>>,
    done: Receiver<(AttemptKey, Done)>,
    /// Readable when something is done.
    wake: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    places: HashMap<AttemptKey, Place>,
}

/// Where an attempt stands.
enum Place {
    /// Its tree is being made.
    Preparing { spec: Box<AttemptSpec>, cut: Option<Cut>, stopped: Arc<AtomicBool> },
    /// It is at work in its tree.
    Working(Record),
    /// What it left is being committed.
    Sealing(Ended),
}

enum Job {
    Prepare(AttemptKey, Order, Arc<AtomicBool>),
    Seal(AttemptKey, Record, String),
}

/// What was done.
enum Done {
    /// A tree was made.
    Prepared(Result<Tree, Trouble>),
    /// A tree was committed.
    Sealed(Result<bool, Trouble>),
}

impl Crew {
    pub(crate) fn new(trees: Trees) -> std::io::Result<Crew> {
        let (trees, wake) = (Arc::new(trees), Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let (jobs, queue) = channel::<Job>();
        let (tell, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let count = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS);
        let start = |_| {
            let (trees, wake, queue, tell) = (Arc::clone(&trees), Arc::clone(&wake), Arc::clone(&queue), tell.clone());
            std::thread::Builder::new().name("worktrees".to_owned()).spawn(move || work(&trees, &queue, &tell, &wake))
        };
        let threads = (0..count).map(start).collect::<std::io::Result<_>>()?;
        Ok(Crew { trees, jobs: Some(jobs), done, wake, threads, places: HashMap::new() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether the attempt has a tree already.
    pub(crate) fn has(&self, key: AttemptKey) -> bool {
        self.places.contains_key(&key)
    }

    /// Has a tree made for an attempt.
    pub(crate) fn prepare(&mut self, spec: &AttemptSpec) {
        let order = Order {
            task: spec.task_id.to_string(),
            attempt: spec.key.attempt.0,
            stem: spec.file_stem(),
            files_of: spec.demands.files_of.clone(),
            cwd: spec.cwd.clone(),
        };
        let stopped = Arc::new(AtomicBool::new(false));
        self.send(Job::Prepare(spec.key, order, Arc::clone(&stopped)));
        self.places.insert(spec.key, Place::Preparing { spec: Box::new(spec.clone()), cut: None, stopped });
    }

    /// Gives up the making of a tree. False when none is being made or committed for that attempt.
    pub(crate) fn cut(&mut self, key: AttemptKey, cause: Cut) -> bool {
        match self.places.get_mut(&key) {
            Some(Place::Preparing { cut, stopped, .. }) => {
                cut.get_or_insert(cause);
                stopped.store(true, Ordering::Relaxed);
                true
            }
            // What is there is committed in any case.
            Some(Place::Sealing(_)) => true,
            _ => false,
        }
    }

    /// Takes the end of an attempt that had a tree, to be told when what it left is committed. Hands back any other.
    pub(crate) fn ended(&mut self, ended: Ended) -> Option<Ended> {
        let key = ended.key;
        let record = match self.places.remove(&key) {
            Some(Place::Working(record)) => record,
            other => {
                self.places.extend(other.map(|place| (key, place)));
                return Some(ended);
            }
        };
        let how = match &ended.result {
            Ok(_) => format!("what attempt {} left", record.attempt),
            Err(failure) => format!("what attempt {} left, which failed ({})", record.attempt, failure.class.name()),
        };
        self.send(Job::Seal(key, record, how));
        self.places.insert(key, Place::Sealing(ended));
        None
    }

    /// Takes what has been done: the attempts that can start now, in their trees, and ends that can be told.
    pub(crate) fn collect(&mut self, reports: &mut Vec<Report>) -> Vec<AttemptSpec> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut ready = Vec::new();
        while let Ok((key, done)) = self.done.try_recv() {
            match (self.places.remove(&key), done) {
                (Some(Place::Preparing { spec, cut, .. }), Done::Prepared(made)) => {
                    ready.extend(self.prepared(*spec, cut, made, reports));
                }
                (Some(Place::Sealing(mut ended)), Done::Sealed(sealed)) => {
                    if let Err(trouble) = sealed {
                        ended.result = Err(not_committed(ended.result.err(), &trouble));
                    }
                    reports.push(Report::Ended(ended));
                }
                _ => {}
            }
        }
        ready
    }

    fn prepared(
        &mut self,
        mut spec: AttemptSpec,
        cut: Option<Cut>,
        made: Result<Tree, Trouble>,
        reports: &mut Vec<Report>,
    ) -> Option<AttemptSpec> {
        let ended =
            |failure| Ended { key: spec.key, epoch: spec.epoch, result: Err(failure), usage: None, session: None };
        let limits = Limits { timeout: spec.timeout, idle: None, start: None };
        match (made, cut) {
            (Ok(tree), None) => {
                self.places.insert(spec.key, Place::Working(tree.record.clone()));
                move_into(&mut spec, &self.trees, &tree);
                Some(spec)
            }
            (Ok(tree), Some(cut)) => {
                let ended = ended(verdict::for_cut(cut, limits, ""));
                self.places.insert(spec.key, Place::Working(tree.record));
                let told = self.ended(ended);
                debug_assert!(told.is_none(), "an attempt with a tree is sealed first");
                None
            }
            (Err(_), Some(cut)) => {
                reports.push(Report::Ended(ended(verdict::for_cut(cut, limits, ""))));
                None
            }
            (Err(trouble), None) => {
                reports.push(Report::Ended(ended(failure_of(&trouble))));
                None
            }
        }
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("it is taken away by the drop alone");
        // The threads live as long as this does.
        let _ = jobs.send(job);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for place in self.places.values() {
            if let Place::Preparing { stopped, .. } = place {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(trees: &Trees, queue: &Mutex<Receiver<Job>>, tell: &Sender<(AttemptKey, Done)>, wake: &OwnedFd) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let (key, done) = match job {
            Err(_) => return,
            Ok(Job::Prepare(key, order, stopped)) => {
                let made = match stopped.load(Ordering::Relaxed) {
                    true => Err(Trouble::Stopped),
                    false => trees.prepare(&order, &stopped),
                };
                (key, Done::Prepared(made))
            }
            Ok(Job::Seal(key, record, how)) => (key, Done::Sealed(trees.seal(&record, &how))),
        };
        if tell.send((key, done)).is_ok() {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }
}

/// The attempt as it is in its tree: what it may reach of the repository's files is there, too. git's own folder is not
/// moved: whoever may read it where the run began can ask git in the tree as well. It is written only where a list says
/// so by its name, since what is written there is run by git of others; what the attempt leaves is committed by us.
fn move_into(spec: &mut AttemptSpec, trees: &Trees, tree: &Tree) {
    spec.cwd.clone_from(&tree.cwd);
    let Some(confinement) = &mut spec.demands.confinement else { return };
    let confinement = Arc::make_mut(confinement);
    let (top, metadata, folder) = (trees.top(), trees.metadata(), &tree.record.folder);
    let moved = |pattern: &str| moved(pattern, top, folder).filter(|_| !Path::new(pattern).starts_with(metadata));
    if let Some(read) = &mut confinement.read {
        let covers = |pattern: &String| pattern.strip_suffix("/**").is_some_and(|tree| metadata.starts_with(tree));
        let readable = metadata.to_str().filter(|_| read.iter().any(covers)).map(|path| format!("{path}/**"));
        read.extend(readable);
    }
    for list in [&mut confinement.read, &mut confinement.write].into_iter().flatten() {
        list.iter_mut().for_each(|pattern| *pattern = moved(pattern).unwrap_or_else(|| pattern.clone()));
    }
    // What is denied stays denied in the user's own work tree as well.
    let also: Vec<String> = confinement.deny.iter().filter_map(|pattern| moved(pattern)).collect();
    confinement.deny.extend(also);
}

fn moved(pattern: &str, from: &Path, to: &Path) -> Option<String> {
    let below = Path::new(pattern).strip_prefix(from).ok()?;
    let path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
    path.to_str().map(str::to_owned)
}

fn failure_of(trouble: &Trouble) -> Failure {
    match trouble {
        Trouble::Conflict(_) => Failure::new(
            FailureClass::Input,
            format!("{trouble}, so there is nothing that it could start from; merge them, or say on_conflict"),
        ),
        _ => Failure::new(FailureClass::Start, format!("no worktree could be made: {trouble}")),
    }
}

fn not_committed(before: Option<Failure>, trouble: &Trouble) -> Failure {
    let what = format!("what it left could not be committed, and is kept: {trouble}");
    match before {
        Some(failure) => Failure { message: format!("{}\n{what}", failure.message), ..failure },
        None => Failure::new(FailureClass::Output, what),
    }
}
