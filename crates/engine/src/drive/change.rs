//! What changes the graph of a live run or the course of a task in it: patches of people, conditions, lists that become
//! tasks, replacements. It does not know how a changed definition is made; the program does.

use std::sync::Arc;

use raddle_kernel::{Graph, Input, Refusal, Run, TaskIx, TaskState, Time};
use raddle_model::patch::{Change, Expansion};

use super::{Engine, EngineError, plain_fact};
use crate::attempt::Failure;
use crate::fact::{Fact, Patched, Record};
use crate::patch::{self, PatchRequest};
use crate::ports::{Clock, Dispatcher, Journal};
use crate::program::{Context, Program, Turn};
use crate::snapshot::Snapshot;

/// The graph that a chapter began with; what is stored later changes it step by step.
pub(super) fn first_graph(started: &Record) -> Result<Arc<Graph>, EngineError> {
    let wrong = |what: &str| EngineError::Illegal { seq: started.seq, what: what.to_owned() };
    let Fact::Started(chapter) = &started.fact else { return Err(wrong("a chapter begins with its start")) };
    let snapshot: Snapshot = serde_json::from_str(&chapter.options).map_err(|e| wrong(&e.to_string()))?;
    snapshot.graph().ok_or_else(|| wrong("its tasks are no graph"))
}

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// A person changes the definition; everything of the change is decided, or nothing.
    pub fn patch(&mut self, request: &PatchRequest) -> Result<(), Vec<String>> {
        if let Some(outcome) = self.run.finished() {
            return Err(vec![format!("the run has ended ({}), so there is nothing to change", outcome.name())]);
        }
        let redefinition = self.program.redefine(request, &self.run)?;
        let graph = Arc::clone(&redefinition.graph);
        let tasks = graph.len();
        if let Err(why) = self.run.patch(graph, &redefinition.removed) {
            return Err(vec![patch::refusal(why, &self.run, &|task| self.program.id(task))]);
        }
        self.held.resize(tasks, 0);
        if let Some(gates) = redefinition.gates.clone() {
            self.admission.redefine(gates);
        }
        self.push(Fact::Patched(Box::new(Patched {
            id: request.id.clone(),
            by: request.by.clone(),
            why: request.change.reason.clone().unwrap_or_default(),
            change: serde_json::to_string(&request.change).expect("a change is plain data"),
            undoes: request.undoes.clone(),
            hash: redefinition.hash.clone(),
            source: redefinition.source.clone(),
            snapshot: serde_json::to_string(&redefinition.snapshot).expect("a snapshot is plain data"),
            tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
        })));
        self.program.adopt(redefinition);
        self.conditional = self.program.conditional();
        // What was taken out may have been all that was left to do.
        self.input(Input::Tick, |event| plain_fact(event, "")).ok();
        if !request.change.is_the_runs_own() {
            self.ask_about_what_changed();
        }
        Ok(())
    }

    /// The same for another process, which hears of it when it is durable.
    pub(super) fn hear_patch(&mut self, ticket: u64, request: &PatchRequest) {
        let result = match self.stopping {
            Some(_) => Err(vec!["the run is being stopped".to_owned()]),
            None => self.patch(request),
        };
        self.heard.push((ticket, result));
    }

    /// Loaded records were folded over graphs that are good for that alone; the program's has pools and policies too.
    pub(super) fn come_back_to_the_program(&mut self) -> Result<(), EngineError> {
        let graph = Arc::clone(self.program.graph());
        self.run.reweigh(graph).map_err(|_| EngineError::Illegal {
            seq: self.seq,
            what: "the definition is not the one that the run was patched to".to_owned(),
        })
    }

    /// Asks the program about tasks with conditions whose turn has come. What is omitted may let others' turns come.
    pub(super) fn ask_program(&mut self, now: Time) {
        if self.stopping.is_some() || self.run.finished().is_some() {
            return;
        }
        let turn = |run: &Run, task: &TaskIx| run.attempts(*task) == 0 && matches!(run.state(*task), TaskState::Ready);
        // What is not needed has no condition and no list.
        self.skip_unneeded();
        while let Some(at) = self.conditional.iter().position(|task| turn(&self.run, task)) {
            let task = self.conditional.swap_remove(at);
            let epoch = self.journal.epoch();
            let left = self.admission.ledger().left_of(task);
            let undoing = false;
            let context =
                Context { run: &self.run, outputs: &self.outputs, journal: self.journal, epoch, now, left, undoing };
            match self.program.turn(task, &context) {
                Turn::Open => {}
                Turn::Omit(reason) => {
                    let fact = |event| plain_fact(event, &reason);
                    self.input(Input::Omit { task }, fact).expect("a ready task can be omitted");
                    self.skip_unneeded();
                }
                Turn::Expand(items) => self.expand(task, items),
            }
        }
    }

    fn expand(&mut self, task: TaskIx, items: u32) {
        let id = self.program.id(task);
        let change = Change { expand: Some(Expansion { task: id.clone(), items }), ..Change::default() };
        if let Err(lines) = self.patch(&PatchRequest { id: format!("items.{id}"), change, by: id, undoes: None }) {
            let why = format!("its list cannot become tasks: {}", lines.join("; "));
            self.program.refuse(task, why);
        }
    }

    /// Puts the replacement in the place of a task that is about to fail for good; what it says in the end.
    pub(super) fn replace_failed(&mut self, task: TaskIx, failure: &Failure) -> String {
        let Failure { class, message, lasting } = failure;
        let (class, message) = (*class, message.clone());
        // One that would only be repeated is the last, however many retries are left.
        let lasts = *lasting && class.retryable() && !self.run.is_cancelled();
        if !self.program.is_replaceable(task) || !(lasts || self.run.gives_up(task, class)) {
            return message;
        }
        let id = self.program.id(task);
        let change = Change { supersede: Some(id.clone()), ..Change::default() };
        match self.patch(&PatchRequest { id: format!("replacement.{id}"), change, by: id, undoes: None }) {
            Ok(()) => message,
            Err(lines) => format!("{message}\nits replacement cannot take its place: {}", lines.join("; ")),
        }
    }

    /// A list's task without its failed items would only count them again. Where they are members of a failed saga, the
    /// first of them begins all of it anew, the list too.
    pub(super) fn retry_with_items(&mut self, task: TaskIx) -> Result<(), Refusal> {
        let failed = |run: &Run, task| matches!(run.state(task), TaskState::Failed { .. } | TaskState::Cancelled);
        let list = (0..self.run.graph().len() as u32).map(TaskIx).find(|t| self.program.items(*t).contains(&task));
        let mut any = false;
        for item in self.program.items(task) {
            if failed(&self.run, item) {
                self.input(Input::Retry { task: item }, |_| Fact::TaskRetried { task: item })?;
                any = true;
            }
        }
        if !any || !matches!(self.run.state(task), TaskState::Pending | TaskState::Ready) {
            self.input(Input::Retry { task }, |_| Fact::TaskRetried { task })?;
        }
        if let Some(list) = list.filter(|list| matches!(self.run.state(*list), TaskState::Failed { .. })) {
            self.input(Input::Retry { task: list }, |_| Fact::TaskRetried { task: list })?;
        }
        Ok(())
    }
}
