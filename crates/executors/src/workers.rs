//! Code tasks in a pool of sandbox workers: queues calls, gives each to a worker with the right memory limit, kills a
//! worker that does not keep its time. It does not know JavaScript, whose worker and protocol are the sandbox's, nor
//! who performs the tools that code calls.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, CodeWork, Ended, Failure, RawOutput, Report};
use raddle_sandbox::protocol::{Denial, FileAnswer, MAX_DENIALS};
use raddle_sandbox::{Broker, Config, Decoder, FailureKind, Fixed, Reply, Request, ToolAnswer, classify_exit};

use crate::environment::{Block, Environment};
use crate::local::Owner;
use crate::process::{ChildId, Excerpt, Exit, Input, Launch, Log, Stream, Supervisor};
use crate::rundir::RunDir;
use crate::verdict::{self, Cut, Limits};

/// How long after the code's own limit a worker is killed; it notices first unless it is in a native loop.
const KILL_GRACE: Duration = Duration::from_millis(250);
/// Reading a large request may take this long, which is not the code's time.
const TRANSFER: Duration = Duration::from_millis(250);
/// A worker that has made so many calls is replaced.
const CALLS: u32 = 500;

/// The pool.
pub(crate) struct Workers {
    argv: Vec<String>,
    workers: Vec<Worker>,
    queue: VecDeque<Call>,
    at_once: usize,
    ids: u64,
    questions: Vec<Question>,
}

struct Worker {
    child: Option<ChildId>,
    memory_bytes: u64,
    decoder: Decoder,
    calls: u32,
    error: Excerpt,
    call: Option<Call>,
    /// Not to be used again; it ends or is being ended.
    spent: bool,
    outgoing: Vec<Vec<u8>>,
}

/// Code calls a tool; [`Workers::answer`] is owed to it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) key: AttemptKey,
    /// Which one of this attempt, from 1.
    pub(crate) number: u32,
    /// `server:tool` as the code gave it.
    pub(crate) name: String,
    /// JSON text of an object.
    pub(crate) arguments: String,
}

struct Call {
    id: u64,
    key: AttemptKey,
    epoch: u32,
    stem: String,
    run_dir: Rc<RunDir>,
    cwd: PathBuf,
    limits: Limits,
    work: CodeWork,
    /// JSON text of what `tools` is made of; empty without.
    tools: String,
    /// Opened at the first question.
    broker: Option<Broker>,
    denials: u32,
    due: Option<Instant>,
    killed: Option<Killed>,
}

#[derive(Clone)]
enum Killed {
    OutOfTime,
    Cut(Cut),
    Misbehaved(String),
}

impl Workers {
    /// `argv` is the command line of a worker, to which the arguments of its configuration are added.
    pub(crate) fn new(argv: Vec<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Workers { argv, workers: Vec::new(), queue: VecDeque::new(), at_once: 2 * cores, ids: 0, questions: Vec::new() }
    }

    /// Takes a call; [`Workers::pump`] gives it to a worker. `tools` is empty for code that has none.
    pub(crate) fn call(&mut self, spec: &AttemptSpec, work: &CodeWork, tools: String, run_dir: Rc<RunDir>) {
        self.ids += 1;
        self.queue.push_back(Call {
            id: self.ids,
            key: spec.key,
            epoch: spec.epoch,
            stem: spec.file_stem(),
            run_dir,
            cwd: spec.cwd.clone(),
            limits: Limits { timeout: spec.timeout, idle: None, start: None },
            work: work.clone(),
            tools,
            broker: None,
            denials: 0,
            due: None,
            killed: None,
        });
    }

    /// Gives a call up: a queued one at once, a running one by killing its worker. False when there is no such call.
    pub(crate) fn cancel(&mut self, key: AttemptKey, cut: Cut, reports: &mut Vec<Report>) -> bool {
        if let Some(at) = self.queue.iter().position(|call| call.key == key) {
            let call = self.queue.remove(at).expect("the position was just found");
            let failure = verdict::for_cut(cut, call.limits, "");
            reports.push(call.ended(Err(failure)));
            return true;
        }
        let mut running = self.workers.iter_mut().filter_map(|worker| worker.call.as_mut());
        let call = running.find(|call| call.key == key);
        if let Some(call) = call {
            call.killed.get_or_insert(Killed::Cut(cut));
            return true;
        }
        false
    }

    /// The tools that code has called since the last time.
    pub(crate) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// Answers a [`Question`]; nothing happens when its attempt is over.
    pub(crate) fn answer(&mut self, key: AttemptKey, number: u32, answer: &ToolAnswer) {
        let asks = |worker: &&mut Worker| worker.call.as_ref().is_some_and(|call| call.key == key);
        if let Some(worker) = self.workers.iter_mut().find(asks) {
            worker.outgoing.push(answer.encode(number));
        }
    }

    /// Takes what a worker said.
    pub(crate) fn hear(&mut self, index: u32, stream: Stream, bytes: &[u8], reports: &mut Vec<Report>) {
        let worker = &mut self.workers[index as usize];
        match stream {
            Stream::Error => worker.error.push(bytes),
            _ => worker.hear(bytes, &mut self.questions, reports),
        }
    }

    /// A worker is gone.
    pub(crate) fn gone(&mut self, index: u32, exit: Exit, reports: &mut Vec<Report>) {
        let worker = &mut self.workers[index as usize];
        worker.child = None;
        worker.spent = true;
        let Some(call) = worker.call.take() else { return };
        let failure = match &call.killed {
            Some(Killed::Cut(cut)) => verdict::for_cut(*cut, call.limits, ""),
            Some(Killed::Misbehaved(what)) => Failure::new(FailureClass::Permission, what.clone()),
            killed => {
                let status = ExitStatus::from_raw(exit.status.as_raw());
                let (kind, mut message) = classify_exit(status, killed.is_some());
                if killed.is_some() {
                    message = format!("the code ran longer than {} ms", call.work.timeout.as_millis());
                }
                let words = worker.error.last_lines(3);
                let message = if words.is_empty() { message } else { format!("{message}\n{words}") };
                Failure::new(class(kind), message)
            }
        };
        reports.push(call.ended(Err(failure)));
    }

    /// When [`Workers::pump`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let calls = self.workers.iter().filter_map(|worker| worker.call.as_ref());
        calls.filter(|call| call.killed.is_none()).filter_map(|call| call.due).min()
    }

    /// Starts workers ahead of their calls, one for each limit given.
    pub(crate) fn prewarm(&mut self, limits: &[u64], block: &mut Block, supervisor: &mut Supervisor<Owner>) {
        for &memory_bytes in limits.iter().take(self.at_once) {
            // A worker that cannot be started is told to the call that needs it.
            let _ = self.start(memory_bytes, block, supervisor);
        }
    }

    /// Ends workers whose time is over, writes what is to be written, gives queued calls to workers.
    pub(crate) fn pump(&mut self, block: &mut Block, supervisor: &mut Supervisor<Owner>, reports: &mut Vec<Report>) {
        if self.workers.is_empty() && self.queue.is_empty() {
            return;
        }
        let now = Instant::now();
        for worker in &mut self.workers {
            let Some(child) = worker.child else { continue };
            if let Some(call) = worker.call.as_mut()
                && call.killed.is_none()
                && call.due.is_some_and(|due| due <= now)
            {
                call.killed = Some(Killed::OutOfTime);
            }
            for frame in std::mem::take(&mut worker.outgoing) {
                // A worker that does not read is killed in time.
                supervisor.write(child, &frame);
            }
            let kill = worker.call.as_ref().is_some_and(|call| call.killed.is_some());
            if kill || (worker.call.is_none() && (worker.spent || worker.calls >= CALLS)) {
                worker.spent = true;
                supervisor.end(child, Duration::ZERO);
            }
        }
        while let Some(call) = self.queue.front() {
            let busy = self.workers.iter().filter(|worker| worker.call.is_some()).count();
            if busy >= self.at_once {
                return;
            }
            let memory_bytes = call.work.memory_bytes.max(Config::MIN_MEMORY);
            let index = match self.workers.iter().position(|worker| worker.is_free_for(memory_bytes)) {
                Some(index) => Ok(index),
                None => self.start(memory_bytes, block, supervisor),
            };
            let call = self.queue.pop_front().expect("the queue has a front");
            match index {
                Ok(index) => self.workers[index].give(call, supervisor, reports),
                Err(failure) => reports.push(call.ended(Err(failure))),
            }
        }
    }

    fn start(
        &mut self,
        memory_bytes: u64,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
    ) -> Result<usize, Failure> {
        let failed =
            |what: &dyn std::fmt::Display| Failure::new(FailureClass::Start, format!("cannot start a sandbox: {what}"));
        if self.argv.is_empty() {
            return Err(failed(&"no worker program is configured"));
        }
        // Idle workers with another limit make room.
        let idle =
            self.workers.iter().filter(|worker| worker.child.is_some() && worker.call.is_none() && !worker.spent);
        if idle.count() >= self.at_once
            && let Some(old) = self.workers.iter_mut().find(|worker| worker.child.is_some() && worker.call.is_none())
        {
            old.spent = true;
        }
        let mut argv = self.argv.clone();
        argv.extend(Config { memory_bytes }.to_args());
        let index = self.workers.iter().position(|worker| worker.child.is_none()).unwrap_or(self.workers.len());
        Environment::empty().fill(&[], block).map_err(|error| failed(&error))?;
        let launch = Launch { argv: &argv, environment: block, cwd: Path::new("/"), input: Input::Pipe, seal: None };
        let child = supervisor.start(&launch, Owner::Worker(index as u32), None).map_err(|error| failed(&error))?;
        let worker = Worker {
            child: Some(child),
            memory_bytes,
            decoder: Decoder::default(),
            calls: 0,
            error: Excerpt::default(),
            call: None,
            spent: false,
            outgoing: Vec::new(),
        };
        match self.workers.get_mut(index) {
            Some(place) => *place = worker,
            None => self.workers.push(worker),
        }
        Ok(index)
    }
}

impl Worker {
    fn is_free_for(&self, memory_bytes: u64) -> bool {
        self.child.is_some()
            && self.call.is_none()
            && !self.spent
            && self.calls < CALLS
            && self.memory_bytes == memory_bytes
    }

    fn give(&mut self, mut call: Call, supervisor: &mut Supervisor<Owner>, reports: &mut Vec<Report>) {
        let work = &call.work;
        let request = Request {
            id: call.id,
            name: &work.name,
            code: &work.code,
            deps: &work.deps,
            context: &work.context,
            tools: &call.tools,
            timeout: work.timeout,
            fixed: work.fixed.map(|fixed| Fixed { clock_ms: fixed.clock_ms, seed: fixed.seed }),
        };
        let frame = match request.encode() {
            Ok(frame) => frame,
            Err(too_large) => {
                reports.push(call.ended(Err(Failure::new(FailureClass::Input, too_large.to_string()))));
                return;
            }
        };
        self.calls += 1;
        call.due = Some(Instant::now() + work.timeout + KILL_GRACE + TRANSFER);
        self.call = Some(call);
        if let Some(child) = self.child {
            // One that has died already tells so by its end.
            supervisor.write(child, &frame);
        }
    }

    fn hear(&mut self, bytes: &[u8], questions: &mut Vec<Question>, reports: &mut Vec<Report>) {
        self.decoder.feed(bytes);
        loop {
            match self.decoder.next_reply() {
                Ok(Some(reply)) => self.take(reply, questions, reports),
                Ok(None) => return,
                Err(error) => {
                    self.spent = true;
                    if let Some(call) = &mut self.call {
                        call.killed.get_or_insert(Killed::Misbehaved(error.to_string()));
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, reply: Reply, questions: &mut Vec<Question>, reports: &mut Vec<Report>) {
        self.spent |= reply.is_last();
        let Some(call) = &mut self.call else {
            if let Reply::Refused { reason } = reply {
                self.error.push(reason.as_bytes());
            } else {
                self.spent = true;
            }
            return;
        };
        match reply {
            Reply::Done { id, json, log, .. } if id == call.id => self.finish(Ok(RawOutput::Json(json)), &log, reports),
            Reply::Failed { id, kind, message, log, .. } if id == call.id => {
                self.finish(Err(Failure::new(class(kind), message)), &log, reports);
            }
            Reply::Read { id, path } if id == call.id => {
                let broker = call.broker.get_or_insert_with(|| Broker::new(&call.cwd, &call.work.allowed_read_paths));
                let answer = broker.read(&path);
                self.outgoing.push(answer.encode());
                if let FileAnswer::Denied(denial) = answer {
                    self.deny(denial, reports);
                }
            }
            Reply::Tool { id, question, name, arguments } if id == call.id => {
                questions.push(Question { key: call.key, number: question, name, arguments });
            }
            Reply::Denied { id, denial } if id == call.id => self.deny(denial, reports),
            Reply::Refused { reason } => self.finish(Err(Failure::new(FailureClass::Start, reason)), "", reports),
            _ => {
                let what = "the sandbox answered for another call".to_owned();
                call.killed.get_or_insert(Killed::Misbehaved(what));
            }
        }
    }

    fn deny(&mut self, denial: Denial, reports: &mut Vec<Report>) {
        let Some(call) = &mut self.call else { return };
        call.denials += 1;
        if call.denials > MAX_DENIALS {
            let what = "the code went on trying what is not permitted".to_owned();
            call.killed.get_or_insert(Killed::Misbehaved(what));
            return;
        }
        let Denial { action, resource, rule } = denial;
        reports.push(Report::Denied { key: call.key, action: action.to_owned(), resource, rule });
    }

    fn finish(&mut self, result: Result<RawOutput, Failure>, log: &str, reports: &mut Vec<Report>) {
        let Some(call) = self.call.take() else { return };
        if !log.is_empty() {
            let log = call.run_dir.secrets().redact(log);
            Log::Silent.push(log.as_bytes(), || call.run_dir.log(&call.stem, "out"));
        }
        reports.push(match call.killed.clone() {
            // It was given up before its answer came.
            Some(Killed::Cut(cut)) => {
                self.spent = true;
                let failure = verdict::for_cut(cut, call.limits, "");
                call.ended(Err(failure))
            }
            _ => call.ended(result),
        });
    }
}

impl Call {
    fn ended(self, result: Result<RawOutput, Failure>) -> Report {
        Report::Ended(Ended { key: self.key, epoch: self.epoch, result, usage: None, session: None })
    }
}

fn class(kind: FailureKind) -> FailureClass {
    match kind {
        FailureKind::Logic => FailureClass::Logic,
        FailureKind::Timeout => FailureClass::Timeout,
        FailureKind::Oom => FailureClass::Oom,
        FailureKind::Output => FailureClass::Output,
        FailureKind::Permission => FailureClass::Permission,
        FailureKind::Tool => FailureClass::Tool,
    }
}
