//! The dispatcher of a simulation: attempts do what their script says, at virtual times, and report as the world does:
//! late, twice, for others, from the past. It does not know the engine's state and counts by itself what is alive.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{
    AttemptKey, AttemptSpec, ControlRequest, Ended, Failure, RawOutput, Report, StopCause, StopKind,
};
use raddle_engine::gates::Answer;
use raddle_engine::ports::Dispatcher;
use raddle_kernel::{Attempt, FailureClass, Gate, TaskIx, TaskState, Time};

use super::host;
use super::people::People;
use super::sabotage::Sabotage;
use super::story::{Act, Deed, lasts};
use super::world::World;

/// See the module.
pub(super) struct Stage {
    world: Rc<World>,
    depth: u32,
    live: BTreeMap<AttemptKey, Alive>,
    mail: BTreeMap<(u64, u64), Mail>,
    sent: u64,
    people: People,
    /// The engine stays while people are waited for.
    stays: bool,
    /// Another engine took over meanwhile.
    has_hung: bool,
    /// The engine was told to stop.
    told_to_stop: bool,
    /// Waits in a row in which no time passed.
    idle_waits: u32,
}

/// An attempt that is alive.
struct Alive {
    epoch: u32,
    act: Act,
    stopped: Option<StopCause>,
}

/// Something that will happen.
enum Mail {
    /// The attempt ends by itself.
    End(AttemptKey),
    /// The attempt ends because it was told to.
    Stopped(AttemptKey),
    Progress(AttemptKey),
    Denied(AttemptKey),
    /// A report that nobody waits for.
    Stale(Ended, &'static str),
    Control(StopKind),
    Answer(Answer),
    /// The process hangs; another takes the run over meanwhile.
    Hang,
}

impl Stage {
    /// An empty stage of an engine that is `depth` engines deep within others that hang.
    pub(super) fn new(world: &Rc<World>, depth: u32) -> Self {
        Stage {
            world: Rc::clone(world),
            depth,
            live: BTreeMap::new(),
            mail: BTreeMap::new(),
            sent: 0,
            people: People::new(world),
            stays: false,
            has_hung: false,
            told_to_stop: false,
            idle_waits: 0,
        }
    }

    /// Whether the engine stays while people are waited for.
    pub(super) fn stays(&self) -> bool {
        self.stays
    }

    /// People answer while the engine lives.
    pub(super) fn will_stay(&mut self) {
        self.stays = true;
    }

    /// Somebody will ask the engine to stop.
    pub(super) fn will_be_stopped(&mut self, after_ms: u64, kind: StopKind) {
        self.post(after_ms, Mail::Control(kind));
    }

    /// The process will hang so long that another takes over.
    pub(super) fn will_hang(&mut self, after_ms: u64) {
        self.post(after_ms, Mail::Hang);
    }

    fn post(&mut self, after_ms: u64, mail: Mail) {
        self.sent += 1;
        self.mail.insert((self.world.now() + after_ms, self.sent), mail);
    }

    /// Before an attempt exists its start must be durable, its cap must have room and nobody may be in its place.
    fn check_start(&self, key: AttemptKey) {
        let world = &self.world;
        let state = world.ledger.borrow().run().state(key.task);
        // An owner that was replaced meanwhile can never get here: it starts nothing that it could not append.
        if state != (TaskState::Running { attempt: key.attempt }) {
            world.violated(format!("{key:?} starts, the journal says {state:?}"));
        }
        if world.story.task(key.task).asks.gate != Gate::None
            && world.ledger.borrow().approved(key.task) != Some(host::content(world, key.task, true))
        {
            world.violated(format!("{key:?} starts, and somebody said yes to something else"));
        }
        if self.live.keys().any(|other| other.task == key.task) {
            world.violated(format!("{key:?} starts while an attempt of its task is alive"));
        }
        let pool = world.story.task(key.task).spec.pool;
        let beside = self.live.keys().filter(|k| world.story.task(k.task).spec.pool == pool).count() as u32;
        let cap = world.story.caps[usize::from(pool.0)];
        if beside >= cap {
            world.violated(format!("{key:?} starts as number {} of at most {cap}", beside + 1));
        }
    }

    /// While the engine rests, nothing that could run may lie there.
    fn check_rest(&self) {
        let (world, ledger) = (&self.world, self.world.ledger.borrow());
        let run = ledger.run();
        if self.told_to_stop || world.paused.get() || world.story.adaptive || run.is_cancelled() {
            return;
        }
        if let Some(task) = world.story.all().find(|t| run.state(*t) == TaskState::Ready && ledger.must_ask(*t))
            && ledger.finished().is_none()
            && !world.paused.get()
        {
            world.violated(format!("nobody is asked about task {}, and the engine rests", task.0));
        }
        let due = |t: &TaskIx| match run.state(*t) {
            TaskState::Ready => !ledger.must_ask(*t),
            TaskState::Retrying { at, .. } => at.0 <= world.now(),
            _ => false,
        };
        if world.story.all().filter(due).any(|task| ledger.book().refuses(task, true).is_some()) {
            // Cheap tasks do not pass one that waits for money.
            world.note("waits for money");
            return;
        }
        for task in world.story.all().filter(|t| run.state(*t) == TaskState::Ready && !ledger.must_ask(*t)) {
            let pool = world.story.task(task).spec.pool;
            if run.live_in(pool) < world.story.caps[usize::from(pool.0)] {
                world.violated(format!("task {} is ready, there is room, and the engine rests", task.0));
            }
        }
    }

    fn ended(&mut self, key: AttemptKey, reports: &mut Vec<Report>) {
        let Some(alive) = self.live.remove(&key) else { return };
        let Alive { epoch, act, stopped } = alive;
        let result = match (stopped, act.deed) {
            (Some(StopCause::Timeout), _) => Err(Failure::new(FailureClass::Timeout, "out of time")),
            (Some(StopCause::Cancelled), _) => Err(Failure::new(FailureClass::Cancelled, "stopped")),
            (None, deed) => self.result(key, deed),
        };
        let usage = self.world.story.usage(key.task, key.attempt);
        let again = |epoch, key| Ended {
            key,
            epoch,
            result: match &result {
                Ok(raw) => Ok(raw.clone()),
                Err(failure) => Err(failure.clone()),
            },
            usage,
            session: None,
        };
        if let Some(after_ms) = act.doubled_after_ms {
            let Attempt(number) = key.attempt;
            let (other, what) = match self.world.below(4) {
                0 => (again(epoch - 1, key), "report of another epoch"),
                1 => {
                    let stranger = AttemptKey { attempt: Attempt(number - 1), ..key };
                    (again(epoch, stranger), "report of another attempt")
                }
                2 => {
                    let nobody = AttemptKey { task: TaskIx(self.world.story.tasks.len() as u32), ..key };
                    (again(epoch, nobody), "report of an unknown task")
                }
                _ => (again(epoch, key), "doubled report"),
            };
            self.post(after_ms, Mail::Stale(other, what));
        }
        reports.push(Report::Ended(again(epoch, key)));
    }

    fn result(&self, key: AttemptKey, deed: Deed) -> Result<RawOutput, Failure> {
        match deed {
            Deed::Fail(class) => {
                let failure = Failure::new(class, "as the script says");
                Err(Failure { lasting: lasts(key.task, class), ..failure })
            }
            Deed::Unreadable => Ok(RawOutput::Text("unreadable".into())),
            Deed::Succeed { big } => {
                if big {
                    self.world.note("big output");
                }
                Ok(RawOutput::Json(self.world.story.output(key.task, key.attempt)))
            }
            Deed::Hang | Deed::Unpreparable => self.world.violated(format!("{key:?} ended by itself: {deed:?}")),
        }
    }

    fn deliver(&mut self, mail: Mail, reports: &mut Vec<Report>) {
        match mail {
            Mail::End(key) => {
                // A process that was told to stop may still end by itself first.
                if let Some(alive) = self.live.get_mut(&key)
                    && alive.act.deed != Deed::Hang
                {
                    alive.stopped = None;
                    self.ended(key, reports);
                }
            }
            Mail::Stopped(key) => self.ended(key, reports),
            Mail::Progress(key) => {
                if self.live.contains_key(&key) {
                    self.world.note("progress");
                    reports.push(Report::Progress { key, line: "a line".into() });
                }
            }
            Mail::Denied(key) => {
                if self.live.contains_key(&key) {
                    self.world.note("denial");
                    let (action, resource, rule) = ("read".into(), "/etc/shadow".into(), "the story".into());
                    reports.push(Report::Denied { key, action, resource, rule });
                }
            }
            Mail::Stale(ended, what) => {
                self.world.note(what);
                reports.push(Report::Ended(ended));
            }
            Mail::Answer(answer) => self.people.hand_over(answer, reports),
            Mail::Control(kind) => {
                self.told_to_stop = true;
                self.world.note(match kind {
                    StopKind::Cancel => "cancel",
                    StopKind::Interrupt => "interrupt",
                    StopKind::Terminate => "terminate",
                });
                reports.push(Report::Control(ControlRequest::Stop(kind)));
            }
            Mail::Hang => {
                self.world.note("second engine");
                self.has_hung = true;
                self.world.set_fuse(None);
                if let Err(e) = self.world.disk.usurp() {
                    self.world.violated(format!("cannot take the run away: {e}"));
                }
                let paused = self.world.paused.get();
                host::live_on(&self.world, self.depth + 1);
                self.world.paused.set(paused);
                self.world.set_fuse(None);
            }
        }
    }
}

impl Dispatcher for Stage {
    fn start(&mut self, spec: AttemptSpec) {
        let key = spec.key;
        self.check_start(key);
        self.world.note("attempt started");
        let act = self.world.story.act(key.task, key.attempt);
        self.live.insert(key, Alive { epoch: spec.epoch, act, stopped: None });
        self.post(act.takes_ms, Mail::End(key));
        if act.progresses {
            self.post(act.takes_ms / 2, Mail::Progress(key));
        }
        if act.is_denied {
            self.post(act.takes_ms / 3, Mail::Denied(key));
        }
        if self.world.sabotage == Some(Sabotage::ReportTooEarly)
            && let Deed::Fail(class) = act.deed
        {
            let result = Err(Failure::new(class, "too early"));
            let lie = Ended { key, epoch: spec.epoch, result, usage: None, session: None };
            self.post(0, Mail::Stale(lie, "a lie"));
        }
        self.world.step("crash while starting");
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        self.world.step("crash while stopping");
        let Some(alive) = self.live.get_mut(&key).filter(|_| self.world.sabotage != Some(Sabotage::IgnoreStops)) else {
            self.world.note("stop of what had ended");
            return;
        };
        if alive.stopped.is_some() {
            return;
        }
        self.world.note(match cause {
            StopCause::Timeout => "stopped out of time",
            StopCause::Cancelled => "stopped on purpose",
        });
        if u128::from(alive.act.stop_takes_ms) > grace.as_millis() {
            self.world.note("stopped beyond grace");
        }
        alive.stopped = Some(cause);
        let after_ms = alive.act.stop_takes_ms;
        self.post(after_ms, Mail::Stopped(key));
    }

    fn answered(&mut self, ticket: u64, said: Result<(), Vec<String>>) {
        self.people.told(ticket, &said);
        self.world.step("crash after an answer");
    }

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        self.world.step("crash while waiting");
        self.check_rest();
        if !self.world.paused.get() {
            self.people.check_rest();
        }
        if self.stays || self.world.one_in(3) {
            let must = self.stays && self.mail.is_empty();
            for (after_ms, answer) in self.people.think(must) {
                self.post(after_ms, Mail::Answer(answer));
            }
        }
        let began = self.world.now();
        let due = self.mail.first_key_value().map(|((at, _), _)| *at);
        let wake = match (due, until) {
            // Another has finished the run meanwhile, and nobody will ever answer this one.
            (None, None) if self.has_hung && self.stays => {
                self.told_to_stop = true;
                reports.push(Report::Control(ControlRequest::Stop(StopKind::Terminate)));
                return;
            }
            (None, None) => self.world.violated("the engine waits for ever"),
            (Some(at), None) => at,
            (None, Some(Time(until))) => until,
            (Some(at), Some(Time(until))) => at.min(until),
        };
        if wake > began + 1 && self.world.one_in(40) {
            self.world.note("spurious wake");
            self.world.advance_to(began + (wake - began) / 2);
            return;
        }
        self.world.advance_to(wake);
        // Sometimes a few milliseconds' worth of reports come at once.
        let until_ms = self.world.now() + if self.world.one_in(4) { self.world.below(20) } else { 0 };
        while let Some(entry) = self.mail.first_entry().filter(|e| e.key().0 <= until_ms) {
            let ((at, _), mail) = entry.remove_entry();
            self.world.advance_to(at);
            self.deliver(mail, reports);
        }
        self.idle_waits = if self.world.now() > began { 0 } else { self.idle_waits + 1 };
        if self.idle_waits > 20_000 {
            self.world.violated("the engine turns in circles");
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        self.world.note("pressure");
        let stalled = if self.world.one_in(2) { 0.9 } else { 0.1 };
        (!self.world.one_in(5)).then_some(Pressure { available_bytes: None, stalled })
    }
}
