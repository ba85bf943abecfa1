//! A dispatcher that performs attempts by a script, in virtual time, and keeps what it was asked: for stories about the
//! engine with one or two tasks. It does not know the graph. Simulations by seed have a stage of their own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use raddle_engine::Time;
use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{
    AttemptKey, AttemptSpec, ControlRequest, CostIs, Ended, Failure, RawOutput, Report, StopCause, StopKind, Usage,
    Work,
};
use raddle_engine::ports::{Clock, Dispatcher};
use raddle_kernel::FailureClass;

/// Time that passes only while a [`Scripted`] dispatcher waits. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock(Rc<Cell<u64>>);

impl VirtualClock {
    /// Milliseconds since the beginning.
    pub fn millis(&self) -> u64 {
        self.0.get()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Time(self.0.get())
    }

    fn noise(&mut self) -> u32 {
        0
    }
}

/// How an attempt goes.
#[derive(Debug, Clone)]
pub enum Part {
    /// It ends by itself after so many milliseconds.
    Ends(u64, Result<RawOutput, Failure>),
    /// It goes on until it is stopped and then takes so many milliseconds to end.
    Hangs(u64),
}

impl Part {
    /// It brings that text at once.
    pub fn text(text: &str) -> Self {
        Part::Ends(1, Ok(RawOutput::Text(text.into())))
    }

    /// It brings that JSON at once.
    pub fn json(text: &str) -> Self {
        Part::Ends(1, Ok(RawOutput::Json(text.into())))
    }

    /// It fails at once.
    pub fn fails(class: FailureClass) -> Self {
        Part::Ends(1, Err(Failure::new(class, "as the script says")))
    }
}

type Author<'a> = Box<dyn FnMut(&AttemptSpec) -> Part + 'a>;

/// See the module.
pub struct Scripted<'a> {
    clock: VirtualClock,
    author: Author<'a>,
    mail: BTreeMap<(u64, usize), Report>,
    sent: usize,
    live: BTreeMap<AttemptKey, (u32, u64)>,
    /// Every attempt that was started, in order.
    pub started: Vec<AttemptSpec>,
    /// Every stop that was asked, with its time.
    pub stops: Vec<(AttemptKey, StopCause, u64)>,
    /// What the machine feels.
    pub pressure: Option<Pressure>,
}

impl<'a> Scripted<'a> {
    /// Attempts go as the author says when they start.
    pub fn new(clock: &VirtualClock, author: impl FnMut(&AttemptSpec) -> Part + 'a) -> Self {
        Scripted {
            clock: clock.clone(),
            author: Box::new(author),
            mail: BTreeMap::new(),
            sent: 0,
            live: BTreeMap::new(),
            started: Vec::new(),
            stops: Vec::new(),
            pressure: None,
        }
    }

    /// That report comes after so many milliseconds, whoever sends it.
    pub fn report_after(&mut self, after_ms: u64, report: Report) {
        self.sent += 1;
        self.mail.insert((self.clock.millis() + after_ms, self.sent), report);
    }

    /// Somebody asks the run to stop after so many milliseconds.
    pub fn stop_after(&mut self, after_ms: u64, kind: StopKind) {
        self.report_after(after_ms, Report::Control(ControlRequest::Stop(kind)));
    }

    fn end_after(&mut self, after_ms: u64, key: AttemptKey, epoch: u32, result: Result<RawOutput, Failure>) {
        self.report_after(after_ms, Report::Ended(Ended { key, epoch, result, usage: None, session: None }));
    }

    /// An agent's attempt: its CLI names a session and what was used, one token in and half a dollar.
    fn agent_ends(&mut self, after_ms: u64, spec: &AttemptSpec, result: Result<RawOutput, Failure>) {
        let used = Usage { input_tokens: 1, cost_usd: Some(0.5), cost_is: CostIs::Reported, ..Usage::default() };
        let session = Some(format!("session {}", spec.file_stem()));
        let ended = Ended { key: spec.key, epoch: spec.epoch, result, usage: Some(used), session };
        self.report_after(after_ms, Report::Ended(ended));
    }
}

impl Dispatcher for Scripted<'_> {
    fn start(&mut self, spec: AttemptSpec) {
        match (self.author)(&spec) {
            Part::Ends(after_ms, result) if matches!(spec.work, Work::Agent(_)) => {
                self.agent_ends(after_ms, &spec, result);
            }
            Part::Ends(after_ms, result) => self.end_after(after_ms, spec.key, spec.epoch, result),
            Part::Hangs(stop_ms) => {
                self.live.insert(spec.key, (spec.epoch, stop_ms));
            }
        }
        self.started.push(spec);
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, _grace: Duration) {
        self.stops.push((key, cause, self.clock.millis()));
        let class = match cause {
            StopCause::Timeout => FailureClass::Timeout,
            StopCause::Cancelled => FailureClass::Cancelled,
        };
        // What ends by itself ends by itself: its report is on the way.
        if let Some((epoch, stop_ms)) = self.live.remove(&key) {
            self.end_after(stop_ms, key, epoch, Err(Failure::new(class, "stopped")));
        }
    }

    fn answered(&mut self, _ticket: u64, _said: Result<(), Vec<String>>) {}

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        let due = self.mail.first_key_value().map(|((at, _), _)| *at);
        let wake = match (due, until) {
            (Some(due), Some(Time(until))) => due.min(until),
            (Some(at), None) | (None, Some(Time(at))) => at,
            (None, None) => panic!("the engine waits for ever; alive: {:?}", self.live.keys()),
        };
        self.clock.0.set(wake.max(self.clock.millis()));
        while let Some(entry) = self.mail.first_entry().filter(|e| e.key().0 <= wake) {
            reports.push(entry.remove());
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        self.pressure
    }
}
