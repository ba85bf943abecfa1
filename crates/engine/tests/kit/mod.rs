//! A workflow text, a script by task, a journal in memory: one function runs it and tells what happened. It does not
//! know what the stories are about.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use raddle_engine::admission::{Admission, Cap};
use raddle_engine::attempt::AttemptSpec;
use raddle_engine::fact::{Chapter, Fact, Record};
use raddle_engine::ports::Journal;
use raddle_engine::snapshot::{RunOptions, Snapshot};
use raddle_engine::task_program::{Place, TaskProgram};
use raddle_engine::view::RunView;
use raddle_engine::{Ending, Engine, EngineError, TaskIx};
use raddle_journal::MemoryStore;
use raddle_model::catalog::Catalog;
use raddle_model::mcp_server::McpServer;
use raddle_model::workflow::Workflow;
use raddle_testkit::script::{Part, Scripted, VirtualClock};

/// A run over all its engines.
pub(crate) struct Told {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) clock: VirtualClock,
    pub(crate) store: MemoryStore,
    pub(crate) inputs: HashMap<String, serde_json::Value>,
    pub(crate) caps: Vec<u32>,
    pub(crate) adaptive: bool,
    pub(crate) simulate: bool,
}

impl Told {
    /// A run of that workflow which has not begun.
    pub(crate) fn of(text: &str) -> Self {
        let mut catalog = Catalog::builtin();
        catalog.mcp_servers.insert("mock".into(), McpServer::of_command("mock"));
        let parsed = raddle_model::parse(text.as_bytes(), "wf.yaml", &raddle_model::NoSources, &catalog);
        let workflow = parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics));
        Told {
            workflow: Arc::new(workflow),
            clock: VirtualClock::default(),
            store: MemoryStore::new(),
            inputs: HashMap::new(),
            caps: vec![9, 9, 9],
            adaptive: false,
            simulate: false,
        }
    }

    pub(crate) fn task(&self, id: &str) -> TaskIx {
        let at = self.workflow.tasks.iter().position(|t| t.id == id).unwrap_or_else(|| panic!("no task {id}"));
        TaskIx(at as u32)
    }

    pub(crate) fn program(&self) -> TaskProgram {
        let place = Place {
            run: "R".into(),
            work_dir: "/work".into(),
            run_dir: Path::new("/runs/R").into(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            idempotency_salt: "salt".into(),
        };
        let workflow = Arc::clone(&self.workflow);
        let (mode, models) = (workflow.mode, Catalog::builtin().models);
        TaskProgram::new(workflow, self.inputs.clone(), models, place, &[], mode, self.simulate)
    }

    pub(crate) fn admission(&self) -> Admission {
        let cap = |value: &u32| Cap { value: *value, bound_by: "the test".into(), of: "tasks" };
        Admission::new(self.caps.iter().map(cap).collect(), self.adaptive)
    }

    pub(crate) fn chapter(&self) -> Chapter {
        let snapshot = Snapshot::of(&self.workflow, RunOptions::default());
        let options = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
        Chapter { run: "R".into(), options, ..Chapter::default() }
    }

    /// One engine's life: begins, or takes over what is there.
    pub(crate) fn drive(&self, dispatcher: &mut Scripted<'_>) -> Result<Ending, EngineError> {
        let (mut program, mut clock) = (self.program(), self.clock.clone());
        let mut journal = self.store.open_owner().expect("nobody owns the run");
        let mut records = Vec::new();
        journal.replay(&mut |record| records.push(record)).expect("a sound journal");
        let mut engine = Engine::new(&mut program, dispatcher, &mut journal, &mut clock, self.admission());
        match records.is_empty() {
            true => engine.begin(self.chapter()),
            false => {
                engine.load(records)?;
                engine.take_over();
            }
        }
        engine.drive()
    }

    /// The same with a script by task id and attempt.
    pub(crate) fn run(&self, mut script: impl FnMut(&str, u32) -> Part) -> (Ending, Vec<AttemptSpec>) {
        let author = |spec: &AttemptSpec| script(&spec.task_id, spec.key.attempt.0);
        let mut dispatcher = Scripted::new(&self.clock, author);
        let ending = self.drive(&mut dispatcher).expect("a journal in memory does not fail");
        (ending, dispatcher.started)
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.store.records()
    }

    pub(crate) fn view(&self) -> RunView {
        RunView::of(self.records()).expect("a sound run")
    }

    pub(crate) fn state(&self, id: &str) -> &'static str {
        self.view().run.state(self.task(id)).name()
    }

    /// Class and message of the last failure of a task.
    pub(crate) fn error(&self, id: &str) -> (&'static str, String) {
        let view = self.view();
        let (class, message) =
            view.tasks[self.task(id).index()].error.clone().unwrap_or_else(|| panic!("{id} is fine"));
        (class.name(), message.into())
    }

    /// The stored output of a task as text.
    pub(crate) fn output(&self, id: &str) -> String {
        let view = self.view();
        let output = view.tasks[self.task(id).index()].output.clone().unwrap_or_else(|| panic!("{id} has no output"));
        let journal = self.store.open_owner().expect("nobody owns the run");
        journal.load(&output).expect("a stored output").to_string()
    }

    /// Words for the facts, one each.
    pub(crate) fn facts(&self) -> Vec<String> {
        let word = |record: Record| match record.fact {
            Fact::Started(_) => "started".into(),
            Fact::AttemptStarted { task, attempt } => format!("{} starts {}", self.id(task), attempt.0),
            Fact::AttemptSucceeded { task, .. } => format!("{} succeeds", self.id(task)),
            Fact::AttemptFailed { task, class, .. } => format!("{} fails: {}", self.id(task), class.name()),
            Fact::AttemptAbandoned { task, .. } => format!("{} abandoned", self.id(task)),
            Fact::AttemptDoubted { task, .. } => format!("{} doubted", self.id(task)),
            Fact::TaskRetried { task } => format!("{} retried", self.id(task)),
            Fact::TaskSkipped { task } => format!("{} skipped", self.id(task)),
            Fact::TaskOmitted { task, .. } => format!("{} omitted", self.id(task)),
            Fact::Patched(_) => "patched".into(),
            Fact::TaskAdopted { task, .. } => format!("{} adopted", self.id(task)),
            Fact::ModelChosen { task, model, .. } => format!("{} by {model}", self.id(task)),
            Fact::Denied { task, action, .. } => format!("{} denied {action}", self.id(task)),
            Fact::Resumed { epoch } => format!("resumed {epoch}"),
            Fact::Cancelled => "cancelled".into(),
            Fact::BudgetSet { .. } => "budget set".into(),
            Fact::Finished { outcome } => format!("finished: {}", outcome.name()),
            Fact::UsageReported { task, .. } => format!("{} has used", self.id(task)),
            Fact::StorageRecovered { .. } => "storage recovered".into(),
            Fact::Salvaged { .. } => "salvaged".into(),
            Fact::CompensationStarted { task, attempt } => format!("{} undoing {}", self.id(task), attempt.0),
            Fact::CompensationSucceeded { task, .. } => format!("{} undone", self.id(task)),
            Fact::CompensationFailed { task, class, .. } => format!("{} not undone: {}", self.id(task), class.name()),
            Fact::CompensationAbandoned { task, .. } => format!("{} half undone", self.id(task)),
            Fact::GateOpened { task, .. } => format!("{} asked", self.id(task)),
            Fact::GateApproved { task, .. } => format!("{} approved", self.id(task)),
            Fact::GateRejected { task, .. } => format!("{} rejected", self.id(task)),
            Fact::GateExpired { task, .. } => format!("{} expired", self.id(task)),
            Fact::GateFailed { task, class, .. } => format!("{} cannot be asked: {}", self.id(task), class.name()),
        };
        self.records().into_iter().map(word).collect()
    }

    fn id(&self, task: TaskIx) -> &str {
        &self.workflow.tasks[task.index()].id
    }
}
