//! What a run tells while it goes on in this process: events to a file or stdout, progress to the display, and a view
//! for the end. It reads what the engine publishes and decides nothing.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use raddle_engine::attempt::{AttemptKey, Usage};
use raddle_engine::fact::{Fact, Record};
use raddle_engine::outputs::Outputs;
use raddle_engine::view::RunView;
use raddle_engine::{Observer, StorageNews, TaskIx, Time};
use raddle_kernel::{Run, TaskState};
use raddle_model::patch::Change;

use super::sink::Sink;
use super::{budget, events, store, waiting};
use crate::args::ReportArgs;
use crate::display::event::{Ending, Happening, Scene};
use crate::display::{Display, Loudness};
use crate::problem::Problem;
use crate::terminal::{self, Colour};

/// See the module.
pub struct Reporter {
    view: Option<RunView>,
    events: Option<Sink>,
    display: Display,
    /// Where a caller that has detached reads which run it is.
    caller: Option<File>,
    /// Phase in which each task was last shown, so that derived changes (blocked) are shown too.
    shown: Vec<Option<Ending>>,
    /// Results that came and could not be recorded before the engine left.
    pub left_behind: usize,
}

impl Reporter {
    /// As the command line asks.
    pub fn new(report: &ReportArgs, scene: Scene, caller: Option<File>) -> Result<Self, Problem> {
        let events = report.events.as_deref().map(Sink::named).transpose()?;
        let loudness = if report.quiet { Loudness::Quiet } else { Loudness::Normal };
        Ok(Reporter {
            view: None,
            events,
            caller,
            shown: vec![None; scene.tasks.len()],
            display: Display::new(scene, loudness, Colour::for_stderr(false)),
            left_behind: 0,
        })
    }

    /// The view over records that were durable before this process came.
    pub fn seed(&mut self, view: RunView) {
        for (i, shown) in self.shown.iter_mut().enumerate().take(view.tasks.len()) {
            *shown = ending_of(view.run.state(TaskIx(i as u32)));
        }
        self.view = Some(view);
    }

    /// The run as it stands.
    pub fn view(&self) -> Option<&RunView> {
        self.view.as_ref()
    }

    /// The last moment: everything is written and the display is closed.
    pub fn close(&mut self) {
        self.display.show(Happening::Finished);
        self.display.idle();
        self.flush();
    }

    fn flush(&mut self) {
        self.events.iter_mut().for_each(Sink::flush);
    }

    /// Why not all events were written.
    pub fn broken(&self) -> Option<&std::io::Error> {
        self.events.as_ref().and_then(Sink::fault)
    }

    fn show(&mut self, record: &Record, run: &Run) {
        match &record.fact {
            Fact::Started(_) => self.shown.fill(None),
            Fact::AttemptStarted { task, attempt } => {
                self.shown[task.index()] = None;
                self.display.show(Happening::Started { ix: task.0, attempt: attempt.0 });
            }
            Fact::AttemptSucceeded { task, usage, .. } => {
                self.used(usage.as_deref());
                self.settled(*task, run.state(*task));
            }
            Fact::AttemptFailed { task, message, retry_at, usage, .. } => {
                self.used(usage.as_deref());
                match retry_at {
                    Some(at) => {
                        let after_ms = at.0.saturating_sub(record.at.0);
                        self.display.show(Happening::Retrying { ix: task.0, message, after_ms });
                    }
                    None if run.is_of_failed_scope(*task) => self.all_settled(run),
                    None => {
                        self.settled_behind(*task, run);
                        self.asked(*task);
                    }
                }
            }
            Fact::CompensationStarted { task, .. } => {
                let was_done = self.shown[task.index()].take() == Some(Ending::Completed);
                self.display.show(Happening::Undoing { ix: task.0, was_done });
            }
            Fact::CompensationSucceeded { task, .. } => {
                self.settled(*task, run.state(*task));
            }
            Fact::CompensationFailed { task, message, retry_at: Some(at), .. } => {
                let after_ms = at.0.saturating_sub(record.at.0);
                self.display.show(Happening::Retrying { ix: task.0, message, after_ms });
            }
            Fact::CompensationFailed { task, .. } => {
                self.settled(*task, run.state(*task));
            }
            Fact::AttemptDoubted { task, .. } | Fact::TaskAdopted { task, .. } => {
                self.settled(*task, run.state(*task));
            }
            Fact::GateOpened { task, .. } => {
                // What is asked once more, since it has changed, is shown once more.
                self.shown[task.index()] = None;
                self.settled(*task, run.state(*task));
                self.asked(*task);
            }
            Fact::GateApproved { task, .. } => {
                self.shown[task.index()] = None;
                self.settled(*task, run.state(*task));
            }
            Fact::GateRejected { task, .. } | Fact::GateExpired { task, .. } | Fact::GateFailed { task, .. } => {
                self.settled_behind(*task, run);
            }
            Fact::TaskSkipped { task } | Fact::TaskOmitted { task, .. } => self.settled_behind(*task, run),
            Fact::Patched(patched) => self.redefined(&patched.change, run),
            // A saga begins anew as a whole.
            Fact::TaskRetried { .. } => {
                for i in 0..self.shown.len() {
                    let now = ending_of(run.state(TaskIx(i as u32)));
                    self.shown[i] = self.shown[i].filter(|shown| now == Some(*shown));
                }
            }
            Fact::Cancelled => self.all_settled(run),
            Fact::AttemptAbandoned { .. }
            | Fact::CompensationAbandoned { .. }
            | Fact::Denied { .. }
            | Fact::ModelChosen { .. }
            | Fact::Resumed { .. }
            | Fact::BudgetSet { .. }
            | Fact::UsageReported { .. }
            | Fact::StorageRecovered { .. }
            | Fact::Salvaged { .. }
            | Fact::Finished { .. } => {}
        }
    }

    fn all_settled(&mut self, run: &Run) {
        for i in 0..self.shown.len() as u32 {
            self.settled(TaskIx(i), run.state(TaskIx(i)));
        }
    }

    /// What a person has to know to answer, where somebody is asked.
    fn asked(&mut self, task: TaskIx) {
        let words = self.view.as_ref().and_then(|view| Some(waiting::of(view, task)?.words()));
        if let Some(words) = words {
            self.display.show(Happening::Asked { words: &words });
        }
    }

    /// Other tasks, and perhaps other states of those that have not started.
    fn redefined(&mut self, change: &str, run: &Run) {
        let words = serde_json::from_str::<Change>(change).unwrap_or_default().summary();
        let Some(view) = &self.view else { return };
        let tasks = &view.snapshot.tasks;
        self.shown.resize(tasks.len(), None);
        let ids: Vec<std::sync::Arc<str>> = tasks.iter().map(|task| task.id.as_str().into()).collect();
        let gone = tasks.iter().filter(|task| task.removed).count();
        self.display.show(Happening::Tasks { ids: &ids, gone, words: &words });
        for task in (0..ids.len() as u32).map(TaskIx) {
            // What was blocked may not be any more.
            let now = ending_of(run.state(task));
            if self.shown[task.index()].is_some() && now.is_none() {
                self.shown[task.index()] = None;
            }
            self.settled(task, run.state(task));
        }
    }

    /// A task that settled badly, and whatever that blocked.
    fn settled_behind(&mut self, task: TaskIx, run: &Run) {
        let mut open = vec![task];
        while let Some(task) = open.pop() {
            if self.settled(task, run.state(task)) {
                open.extend(run.graph().successors(task).map(|(dependent, _)| dependent));
            }
        }
    }

    /// Shows a task that has settled, once; true when it was news.
    fn settled(&mut self, task: TaskIx, state: TaskState) -> bool {
        let Some(ending) = ending_of(state).filter(|e| self.shown[task.index()] != Some(*e)) else { return false };
        self.shown[task.index()] = Some(ending);
        let Some(view) = &self.view else { return false };
        let last = view.tasks[task.index()].attempts.last();
        let ms = last.and_then(|a| Some(a.finished_at?.0.saturating_sub(a.started_at.0))).unwrap_or(0);
        let name = |by: TaskIx| view.snapshot.tasks[by.index()].id.as_str();
        let message = match state {
            TaskState::Blocked { by } => name(by),
            TaskState::Compensated { .. } => "",
            TaskState::NotUndone { .. } => {
                last.and_then(|a| a.error.as_ref()).map_or("the run was stopped", |(_, message)| message)
            }
            TaskState::Waiting { .. } => &waiting::of(view, task).map(|waits| waits.line()).unwrap_or_default(),
            TaskState::Omitted { by } if by != task => name(by),
            TaskState::Omitted { .. } => view.tasks[task.index()].omitted.as_deref().unwrap_or_default(),
            _ => view.tasks[task.index()].error.as_ref().map_or("", |(_, message)| message),
        };
        self.display.show(Happening::Settled { ix: task.0, ending, ms, message });
        true
    }

    fn used(&mut self, usage: Option<&Usage>) {
        if let Some(u) = usage {
            let tokens = u.input_tokens + u.output_tokens + u.cache_read_tokens + u.cache_write_tokens;
            self.display.show(Happening::Used { tokens, cost_usd: u.cost_usd });
        }
    }
}

fn ending_of(state: TaskState) -> Option<Ending> {
    Some(match state {
        TaskState::Completed { .. } => Ending::Completed,
        TaskState::FailedSafe { .. } => Ending::FailedSafe,
        TaskState::Failed { .. } => Ending::Failed,
        TaskState::Blocked { .. } => Ending::Blocked,
        TaskState::Skipped | TaskState::Omitted { .. } => Ending::Skipped,
        TaskState::Cancelled => Ending::Cancelled,
        TaskState::Waiting { .. } => Ending::Waiting,
        TaskState::Compensated { .. } => Ending::Compensated,
        TaskState::NotUndone { .. } => Ending::NotCompensated,
        TaskState::Pending
        | TaskState::Ready
        | TaskState::Running { .. }
        | TaskState::Retrying { .. }
        | TaskState::ToUndo { .. }
        | TaskState::Undoing { .. }
        | TaskState::UndoRetrying { .. }
        | TaskState::Removed => return None,
    })
}

impl Observer for Reporter {
    fn published(&mut self, records: &[Record], run: &Run, _outputs: &Outputs) {
        for record in records {
            let folded = match &mut self.view {
                Some(view) => view.apply(record),
                None => RunView::begin(record).map(|view| self.view = Some(view)),
            };
            folded.expect("what the engine publishes can be folded");
            let Some(view) = &self.view else { continue };
            if let Some(events) = &mut self.events {
                events.line(events::line(record, view));
            }
            self.show(record, run);
        }
        if let Some(view) = self.view.as_ref().filter(|view| view.ledger.is_limited()) {
            let words = budget::words(&view.ledger, store::now());
            self.display.show(Happening::Budget { words: &words });
        }
        // Not before the first record is durable: until then there is no run that another command could find.
        if let (Some(mut caller), Some(view)) = (self.caller.take(), &self.view) {
            // A caller that is gone does not need to know.
            let _ = write!(caller, "run {}", view.chapter.run);
        }
    }

    fn progress(&mut self, key: AttemptKey, line: &str) {
        self.display.show(Happening::Progress { ix: key.task.0, line });
    }

    fn storage(&mut self, news: StorageNews<'_>) {
        let words = match news {
            StorageNews::Paused { reason, at_work, next_try, .. } => {
                let goes_on = match at_work {
                    0 => String::new(),
                    n => format!("; what {} bring is kept", terminal::counted(n, "live attempt")),
                };
                let wait = terminal::duration(next_try.0.saturating_sub(store::now().0));
                format!("nothing can be recorded, so nothing starts: {reason}{goes_on}; trying again in {wait}")
            }
            StorageNews::Recovered { paused_ms } => {
                format!("everything is recorded again, after {}", terminal::duration(paused_ms))
            }
            StorageNews::LeftBehind { results } => {
                self.left_behind = results;
                return;
            }
        };
        self.display.show(Happening::Storage { words: &words });
    }

    fn idle(&mut self) {
        self.display.idle();
        self.flush();
    }

    fn wake_at(&self) -> Option<Time> {
        let at = self.display.wake_at()?;
        let in_ms = at.saturating_duration_since(Instant::now()).as_millis() as u64;
        Some(Time(store::now().0 + in_ms))
    }
}
