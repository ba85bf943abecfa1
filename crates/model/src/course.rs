//! What may become of a task while its run goes on: a condition that makes it unneeded, a list that makes many of it,
//! another task in its place. It does not know when any of that happens.

use std::sync::Arc;
use std::time::Duration;

use crate::condition::Condition;
use crate::template::Template;
use crate::workflow::{
    Estimate, Isolation, OnDoubt, OnExhausted, OutputFormat, Resources, Retry, ShellTask, Task, TaskIndex, TaskKind,
    Timeout,
};

/// See the module. The default is an ordinary task.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// `when:`; asked once, when the task could start.
    pub when: Option<Box<Condition>>,
    /// `foreach:`; the task itself gathers what its items brought.
    pub foreach: Option<Box<Foreach>>,
    /// The task is one item of another one's list.
    pub item: Option<Item>,
    /// `on_exhausted: {replace: …}`: another task is put in its place when its retries are used up.
    pub is_replaceable: bool,
    /// The task that is in its place now.
    pub superseded_by: Option<TaskIndex>,
    /// The task in whose place it is: dependents know its output by that id.
    pub stands_for: Option<String>,
    /// A patch took it out before it started; only its place is left.
    pub is_removed: bool,
}

/// `foreach:` and `max_parallel:`.
#[derive(Debug, Clone)]
pub struct Foreach {
    /// The list.
    pub list: Template,
    /// At most so many items at once.
    pub max_parallel: Option<u32>,
    /// Its items in the list's order, once the run has made tasks of them.
    pub items: Vec<TaskIndex>,
}

/// Which item of whose list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The task with `foreach:`.
    pub of: TaskIndex,
    /// From 0.
    pub number: u32,
}

/// The id of an item's task.
pub fn item_id(of: &str, number: u32) -> String {
    format!("{of}.{number}")
}

impl Task {
    /// The place of a task that was taken out: nothing of it is ever executed.
    pub(crate) fn tombstone(id: &str, saga: Option<&str>) -> Self {
        let none = Duration::ZERO;
        Task {
            id: id.to_owned(),
            name: id.to_owned(),
            description: None,
            kind: TaskKind::Shell(ShellTask::Argv(Vec::new())),
            depends_on: Vec::new(),
            priority: 0,
            level: 0,
            timeout: Timeout { wall: none, idle: None, shown: none },
            retry: Retry { max: 0, initial: none, factor: 1.0, max_delay: none, jitter: 0.0, on: None },
            side_effects: false,
            output_format: OutputFormat::None,
            output_schema: None,
            env: Vec::new(),
            cwd: None,
            on_doubt: OnDoubt::Rerun,
            estimate: Estimate::default(),
            executor: "local".to_owned(),
            isolation: Isolation::Process,
            permissions: Arc::default(),
            resources: Resources::default(),
            compensate: None,
            fallback: None,
            on_exhausted: OnExhausted::Fail,
            needs_approval: false,
            saga: saga.map(str::to_owned),
            writes: Vec::new(),
            course: Course { is_removed: true, ..Course::default() },
            hash: String::new(),
            line: 1,
            column: 1,
        }
    }
}
