//! One turn of a long-lived agent process: which attempts it performs, what is heard of them, how it ends. It does not
//! know when turns begin.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, RawOutput, Report, Usage, Work};
use raddle_engine::secrets::Secrets;
use serde::Deserialize;
use serde_json::json;

use super::hosting::Hosted;
use crate::agent::{self, AgentStream, Denial, Finished};
use crate::process::{Exit, Log};
use crate::rundir::RunDir;
use crate::verdict::{self, Cut, Limits};

/// The variable by which a process and what it has started are recognised.
pub(super) const MARK: &str = "RADDLE_WORKER";
/// Lines of one turn are shown at most this often.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// An attempt of a turn.
pub(crate) struct Member {
    spec: AttemptSpec,
    dir: Rc<RunDir>,
    /// What is said to the agent.
    pub(super) prompt: String,
    limits: Limits,
    cut: Option<Cut>,
}

impl Member {
    pub(super) fn new(spec: &AttemptSpec, dir: &Rc<RunDir>, prompt: String, start: Option<Duration>) -> Self {
        let limits = Limits { timeout: spec.timeout, idle: spec.idle, start };
        Member { spec: spec.clone(), dir: Rc::clone(dir), prompt, limits, cut: None }
    }

    pub(super) fn key(&self) -> AttemptKey {
        self.spec.key
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the answer must be structured.
    pub(super) fn has_schema(&self) -> bool {
        matches!(&self.spec.work, Work::Agent(work) if work.schema.is_some())
    }

    pub(super) fn secrets(&self) -> &Arc<Secrets> {
        self.dir.secrets()
    }

    /// A value that no other process of the machine has in its environment.
    pub(super) fn mark(&self) -> String {
        self.dir.output_path(&self.spec.file_stem())
    }

    pub(super) fn log(&self, text: &[u8]) {
        // Text of a result was read out of JSON, which may have been escaped in ways of its own.
        Log::Silent.push(&self.dir.secrets().redact_bytes(text), || self.dir.log(&self.spec.file_stem(), "out"));
    }

    pub(super) fn ended(self, result: Result<RawOutput, Failure>) -> Report {
        self.used(result, None, None)
    }

    pub(super) fn used(
        self,
        result: Result<RawOutput, Failure>,
        usage: Option<Usage>,
        session: Option<String>,
    ) -> Report {
        Report::Ended(Ended { key: self.spec.key, epoch: self.spec.epoch, result, usage, session })
    }
}

/// What a line means for its turn.
pub(super) enum Progress {
    On,
    Over,
}

/// See the module.
pub(super) struct Turn {
    members: Vec<Member>,
    reader: Reader,
    began: Instant,
    heard: Option<Instant>,
    shown: Instant,
    log: Log,
}

enum Reader {
    /// One attempt, whose words they are.
    Own(Option<Box<AgentStream>>),
    Hosted(Box<Hosted>),
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
}

fn kind(line: &[u8]) -> Option<Kind<'_>> {
    serde_json::from_slice(line).ok()
}

/// Whether the line is the last word of a turn.
pub(super) fn is_answer(line: &[u8]) -> bool {
    kind(line).is_some_and(|kind| kind.kind == "result")
}

/// What a line says while a conversation is being emptied.
pub(super) enum Clear {
    Reset,
    Done,
    Other,
}

pub(super) fn after_clear(line: &[u8]) -> Clear {
    match kind(line).map(|kind| kind.kind).as_deref() {
        Some("conversation_reset") => Clear::Reset,
        Some("result") => Clear::Done,
        _ => Clear::Other,
    }
}

/// A message to the agent, as a line of its input.
pub(super) fn user_line(words: &str) -> Vec<u8> {
    let line = json!({"type": "user", "message": {"role": "user", "content": words}});
    format!("{line}\n").into_bytes()
}

impl Turn {
    /// The turn and what is said to begin it.
    pub(super) fn begin(members: Vec<Member>, hosting: bool) -> (Turn, String) {
        let (reader, words) = if hosting {
            let (hosted, words) = Hosted::begin(&members);
            (Reader::Hosted(Box::new(hosted)), words)
        } else {
            let stream = AgentStream::of_claude(members.iter().any(Member::has_schema));
            let words = members.first().map(|member| member.prompt.clone()).unwrap_or_default();
            (Reader::Own(Some(Box::new(stream))), words)
        };
        let now = Instant::now();
        (Turn { members, reader, began: now, heard: None, shown: now, log: Log::Silent }, words)
    }

    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// Whether the process has said nothing since the turn began.
    pub(super) fn is_unheard(&self) -> bool {
        self.heard.is_none() && self.members.iter().all(|member| member.cut.is_none())
    }

    pub(super) fn into_specs(self) -> Vec<AttemptSpec> {
        self.members.into_iter().map(|member| member.spec).collect()
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &[u8], reports: &mut Vec<Report>) -> Progress {
        let now = Instant::now();
        self.heard = Some(now);
        let over = is_answer(line);
        let note = match &mut self.reader {
            Reader::Own(stream) => {
                if let [member] = &self.members[..] {
                    self.log.push(line, || member.dir.log(&member.spec.file_stem(), "out"));
                    self.log.push(b"\n", || member.dir.log(&member.spec.file_stem(), "out"));
                }
                let stream = stream.as_mut().expect("it is taken at the end of the turn");
                let note = stream.feed(line);
                stream.feed(b"\n").or(note)
            }
            Reader::Hosted(hosted) => {
                hosted.line(line);
                None
            }
        };
        if let (Some(line), [member]) = (note, &self.members[..])
            && now >= self.shown + SHOW_EVERY
        {
            self.shown = now;
            reports.push(Report::Progress { key: member.key(), line });
        }
        if over { Progress::Over } else { Progress::On }
    }

    /// Ends an attempt of this turn before its own end; false when it has none of that key.
    pub(super) fn cut(&mut self, key: AttemptKey, cut: Cut) -> bool {
        let member = self.members.iter_mut().find(|member| member.key() == key);
        member.map(|member| member.cut.get_or_insert(cut)).is_some()
    }

    /// When an attempt has been silent for too long, which one, and what that is.
    pub(super) fn due(&self) -> Option<(Instant, AttemptKey, Cut)> {
        let uncut = self.members.iter().filter(|member| member.cut.is_none());
        let due = |member: &Member| match self.heard {
            None => member.limits.start.map(|limit| (self.began + limit, member.key(), Cut::NoStart)),
            Some(heard) => member.limits.idle.map(|limit| (heard + limit, member.key(), Cut::Idle)),
        };
        uncut.filter_map(due).min_by_key(|(at, ..)| *at)
    }

    /// The reports of a turn that was answered, and whether the process may have another one.
    pub(super) fn conclude(self, cost: &mut f64) -> (Vec<Report>, bool) {
        match self.reader {
            Reader::Own(stream) => {
                let finished = stream.map(|stream| stream.finish(agent::Exit::Code(0), ""));
                let healthy = finished.as_ref().is_some_and(|f| f.result.is_ok());
                let mut reports = Vec::new();
                if let (Some(member), Some(finished)) = (self.members.into_iter().next(), finished) {
                    tell(member, finished, &mut reports);
                }
                (reports, healthy)
            }
            Reader::Hosted(hosted) => hosted.conclude(self.members, cost),
        }
    }

    /// The reports of a turn whose process is gone before it was answered.
    pub(super) fn broken_off(self, exit: Exit, words: &str) -> Vec<Report> {
        let how = match exit.status.terminating_signal() {
            Some(signal) => agent::Exit::Signal(signal),
            None => agent::Exit::Code(exit.status.exit_status().unwrap_or(-1)),
        };
        let culprit = self.members.iter().find(|m| m.cut.is_some()).map(|m| m.spec.task_id.clone());
        let mut reports = Vec::new();
        let mut own = match self.reader {
            Reader::Own(stream) => stream,
            Reader::Hosted(_) => None,
        };
        for member in self.members {
            if let Some(cut) = member.cut {
                let failure = verdict::for_cut(cut, member.limits, words);
                reports.push(member.ended(Err(failure)));
                continue;
            }
            let stream = own.take().unwrap_or_else(|| Box::new(AgentStream::of_claude(false)));
            let mut finished = stream.finish(how, words);
            if let (Err(failure), Some(culprit)) = (&mut finished.result, &culprit) {
                failure.class = raddle_engine::FailureClass::Exit;
                failure.message = format!("the session that hosted it was ended because of {culprit}");
            }
            tell(member, finished, &mut reports);
        }
        reports
    }
}

fn tell(member: Member, finished: Finished, reports: &mut Vec<Report>) {
    for Denial { action, resource, rule } in finished.denials {
        reports.push(Report::Denied { key: member.key(), action, resource, rule });
    }
    reports.push(member.used(finished.result, finished.usage, finished.session));
}
