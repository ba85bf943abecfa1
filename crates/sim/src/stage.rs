//! The dispatcher of a simulated engine: attempts do what their script says, at virtual times, and report as the world
//! does: late, twice, for others. It performs nothing, and it does not know the engine's state: it counts by itself
//! what is alive.

use std::collections::BTreeMap;
use std::time::Duration;

use raddle_engine::Time;
use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{
    AttemptKey, AttemptSpec, ControlRequest, Ended, Failure, RawOutput, Report, StopCause, StopKind,
};
use raddle_engine::ports::Dispatcher;
use raddle_engine::task_program::pool_of;
use raddle_kernel::{Attempt, FailureClass, TaskIx};
use raddle_model::workflow::ExecutionMode;

use crate::acts::{self, Act, Deed};
use crate::faults::{Kind, Place, turn_words};
use crate::samples::Bring;
use crate::world::World;

/// Waits in a row in which no time passes, before the engine is said to turn in circles.
const MOST_IDLE_WAITS: u32 = 50_000;

/// See the module.
pub(crate) struct Stage<'w, 's> {
    world: &'w World<'s>,
    live: BTreeMap<AttemptKey, Alive>,
    mail: BTreeMap<(u64, u64), Mail>,
    sent: u64,
    waits: u32,
    idle_waits: u32,
}

/// An attempt that is alive.
struct Alive {
    epoch: u32,
    turn: u32,
    act: Act,
    /// It undoes what the task did.
    undoes: bool,
    stopped: Option<StopCause>,
}

/// Something that will happen.
enum Mail {
    End(AttemptKey),
    Stopped(AttemptKey),
    Denied(AttemptKey),
    /// A report that nobody waits for.
    Stale(Box<Ended>),
    Control(StopKind),
    /// The engine's process dies, if this attempt is still alive by then.
    Die(AttemptKey),
}

impl<'w, 's> Stage<'w, 's> {
    pub(crate) fn new(world: &'w World<'s>) -> Self {
        Stage { world, live: BTreeMap::new(), mail: BTreeMap::new(), sent: 0, waits: 0, idle_waits: 0 }
    }

    /// The process is gone, and what it ran is gone with it; of some, the work was done by then.
    pub(crate) fn perish(mut self) {
        for (AttemptKey { task, .. }, alive) in std::mem::take(&mut self.live) {
            let mut chance = self.world.luck.at(Place::Turn(task.0, alive.turn), 7);
            if alive.stopped.is_none() && !alive.undoes && alive.act.deed == Deed::Succeed && chance.one_in(3) {
                self.world.did(task.0);
                self.world.say(|| format!("{}: its work was done, and nobody heard of it", self.id(task)));
            }
        }
    }

    fn id(&self, task: TaskIx) -> &'s str {
        &self.world.subject.task(task.0).id
    }

    fn post(&mut self, after_ms: u64, mail: Mail) {
        self.sent += 1;
        self.mail.insert((self.world.now().saturating_add(after_ms), self.sent), mail);
    }

    /// Nobody may be in its place, and its cap must have room.
    fn check_start(&self, key: AttemptKey) -> Result<(), (&'static str, String)> {
        let subject = self.world.subject;
        if self.live.keys().any(|other| other.task == key.task) {
            return Err(("one attempt at a time", format!("{} starts beside an attempt of itself", self.id(key.task))));
        }
        let sequential = subject.mode() == ExecutionMode::Sequential;
        let pool = |task: TaskIx| if sequential { 0 } else { usize::from(pool_of(subject.task(task.0)).0) };
        let beside = self.live.keys().filter(|other| pool(other.task) == pool(key.task)).count() as u32;
        match subject.caps.get(pool(key.task)) {
            Some(cap) if beside >= *cap => Err((
                "caps are kept",
                format!("{} starts as number {} of at most {cap}", self.id(key.task), beside + 1),
            )),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, key: AttemptKey, reports: &mut Vec<Report>) {
        let Some(Alive { epoch, turn, act, undoes, stopped }) = self.live.remove(&key) else { return };
        let AttemptKey { task, attempt } = key;
        let failed = |class, words: &str| Err(Failure::new(class, words));
        let (result, done) = match (stopped, act.deed) {
            (Some(StopCause::Timeout), Deed::Hang { done }) => (failed(FailureClass::Timeout, "out of time"), done),
            (Some(StopCause::Timeout), _) => (failed(FailureClass::Timeout, "out of time"), false),
            (Some(_), _) => (failed(FailureClass::Cancelled, "stopped"), false),
            (None, Deed::Succeed) => (Ok(self.output(task, turn)), true),
            (None, Deed::Fail { class, done }) => (failed(class, "as the simulation has it"), done),
            (None, Deed::Hang { done }) => (failed(FailureClass::Timeout, "out of time"), done),
        };
        if done && !undoes {
            self.world.did(task.0);
            if result.is_err() {
                self.world.say(|| format!("{}: attempt {} fails, and its work was done", self.id(task), attempt.0));
            }
        }
        if done && undoes {
            self.world.undid(task.0);
        }
        let metered = !undoes;
        let usage = acts::usage(&self.world.luck, task.0, self.world.subject.task(task.0), turn).filter(|_| metered);
        let session = usage.map(|_| format!("session-{}-{}", task.0, attempt.0));
        let ended = |key, epoch| Ended { key, epoch, result: result.clone(), usage, session: session.clone() };
        let place = Place::Turn(task.0, turn);
        if let Some(mut chance) = self.world.luck.strikes(Kind::Duplicates, place) {
            let id = self.id(task);
            let (stale, words) = match chance.below(3) {
                0 => (ended(key, epoch.wrapping_sub(1)), "is reported once more as of an engine before"),
                1 => {
                    let before = AttemptKey { task, attempt: Attempt(attempt.0 - 1) };
                    (ended(before, epoch), "is reported for the attempt before it too")
                }
                _ => (ended(key, epoch), "is reported twice"),
            };
            self.world.luck.tell(Kind::Duplicates, place, || format!("the end of {} {words}", turn_words(id, turn)));
            self.post(chance.below(3000), Mail::Stale(Box::new(stale)));
        }
        reports.push(Report::Ended(ended(key, epoch)));
    }

    fn output(&self, task: TaskIx, turn: u32) -> RawOutput {
        match &self.world.subject.brings[task.index()] {
            Bring::Text(text) => RawOutput::Text(text.clone()),
            Bring::Json(samples) => {
                let mut chance = self.world.luck.at(Place::Turn(task.0, turn), 50);
                RawOutput::Json(samples[chance.below(samples.len() as u64) as usize].clone())
            }
        }
    }

    fn deliver(&mut self, mail: Mail, reports: &mut Vec<Report>) {
        match mail {
            Mail::End(key) => {
                // What was told to stop may still end by itself first.
                if let Some(alive) = self.live.get_mut(&key) {
                    alive.stopped = None;
                    self.ended(key, reports);
                }
            }
            Mail::Stopped(key) => self.ended(key, reports),
            Mail::Denied(key) => {
                if self.live.contains_key(&key) {
                    let (action, resource, rule) = ("read".into(), "/etc/shadow".into(), "the simulation".into());
                    reports.push(Report::Denied { key, action, resource, rule });
                }
            }
            Mail::Die(key) => {
                if self.live.contains_key(&key) {
                    let id = self.id(key.task);
                    self.world.die(|| format!("the engine dies while {id} is running"));
                }
            }
            Mail::Stale(ended) => reports.push(Report::Ended(*ended)),
            Mail::Control(kind) => {
                self.world.say(|| format!("** somebody {}", stop_words(kind)));
                reports.push(Report::Control(ControlRequest::Stop(kind)));
            }
        }
    }

    /// What befalls the engine while this turn lasts.
    fn misfortunes(&mut self, key: AttemptKey, turn: u32, lasts_ms: u64) {
        let (luck, id, place) = (&self.world.luck, self.id(key.task), Place::Turn(key.task.0, turn));
        if let Some(mut chance) = luck.strikes(Kind::Crashes, place) {
            let after_ms = if chance.one_in(3) { 0 } else { chance.below(lasts_ms.max(1)) };
            luck.tell(Kind::Crashes, place, || {
                format!("the engine dies {} into {}", seconds(after_ms), turn_words(id, turn))
            });
            self.post(after_ms, Mail::Die(key));
        }
        if let Some(mut chance) = luck.strikes(Kind::Stops, place) {
            let kind = chance.pick(&[StopKind::Interrupt, StopKind::Terminate, StopKind::Cancel]);
            let after_ms = chance.below(lasts_ms.max(1));
            luck.tell(Kind::Stops, place, || {
                format!("somebody {} {} into {}", stop_words(kind), seconds(after_ms), turn_words(id, turn))
            });
            self.post(after_ms, Mail::Control(kind));
        }
    }

    /// Whatever the engine makes of this, it has to write it down, and a dead process can not.
    fn trip(&self, reports: &mut Vec<Report>) {
        let key = AttemptKey { task: TaskIx(0), attempt: Attempt(0) };
        let word = || "nothing".to_owned();
        reports.push(Report::Denied { key, action: word(), resource: word(), rule: word() });
    }
}

impl Dispatcher for Stage<'_, '_> {
    fn start(&mut self, spec: AttemptSpec) {
        let (world, key) = (self.world, spec.key);
        if world.is_dead() {
            return;
        }
        world.insist(self.check_start(key));
        let task = key.task.0;
        let limit_ms = spec.timeout.as_millis() as u64;
        let undoes = world.witness.borrow().run().undoes(key.task);
        let turn = match undoes {
            true => world.witness.borrow().undo_turn(key.task),
            false => world.witness.borrow().turn(key.task),
        };
        let act = match undoes {
            true => acts::undo(&world.luck, task, world.subject.task(task), turn),
            false => acts::act(&world.luck, task, world.subject.task(task), turn),
        };
        self.live.insert(key, Alive { epoch: spec.epoch, turn, act, undoes, stopped: None });
        if !matches!(act.deed, Deed::Hang { .. }) {
            self.post(act.takes_ms, Mail::End(key));
        }
        if act.denied {
            self.post(act.takes_ms / 3, Mail::Denied(key));
        }
        self.misfortunes(key, turn, act.takes_ms.min(limit_ms));
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, _grace: Duration) {
        if self.world.is_dead() {
            return;
        }
        let Some(alive) = self.live.get_mut(&key).filter(|alive| alive.stopped.is_none()) else { return };
        alive.stopped = Some(cause);
        let after_ms = alive.act.stop_takes_ms;
        self.post(after_ms, Mail::Stopped(key));
    }

    fn answered(&mut self, _ticket: u64, _said: Result<(), Vec<String>>) {}

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        let world = self.world;
        self.waits += 1;
        let due = self.mail.first_key_value().map(|((at, _), _)| *at);
        if due.is_none() && until.is_none() {
            world.broke("the run settles", "nothing is alive, nothing is due, and the engine waits for ever");
        }
        if world.is_dead() {
            return self.trip(reports);
        }
        let began = world.now();
        let until = until.map(|Time(until)| until);
        let wake = due.into_iter().chain(until).min().unwrap_or(began);
        world.advance_to(wake);
        while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= world.now()) {
            let mail = entry.remove();
            self.deliver(mail, reports);
            if world.is_dead() {
                // Reports that were not read yet die with their reader.
                break;
            }
        }
        self.idle_waits = if world.now() > began { 0 } else { self.idle_waits + 1 };
        if self.idle_waits > MOST_IDLE_WAITS {
            world.broke("the run settles", "the engine turns in circles");
        }
        if world.is_dead() {
            self.trip(reports);
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        let mut chance = self.world.luck.at(Place::End(self.waits), 9);
        let stalled = if chance.one_in(5) { 0.9 } else { 0.1 };
        Some(Pressure { available_bytes: None, stalled })
    }
}

fn stop_words(kind: StopKind) -> &'static str {
    match kind {
        StopKind::Cancel => "cancels the run",
        StopKind::Interrupt => "interrupts the engine",
        StopKind::Terminate => "terminates the engine",
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
