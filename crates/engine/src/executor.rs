//! Executors as the engine and people see them: what each can do, whether it can do it here, and the port by which one
//! more is added without a change to the engine. It does not know any executor.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::attempt::{AttemptKey, AttemptSpec, Report, StopCause};

pub use raddle_model::caps::HOSTED_TASKS;

/// Tokens that a hosted task costs beyond its own work: the session's instructions and context go with it.
pub const HOSTED_OVERHEAD_TOKENS: u64 = 20_000;

/// What an executor can do, wherever it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capabilities {
    /// Its name in `executor:`.
    pub name: Cow<'static, str>,
    /// The kinds of tasks that it performs.
    pub performs: &'static [&'static str],
    /// Whether what it runs can use tools; an executor without them only answers.
    pub tools: bool,
    /// Tokens that every task costs beyond its own.
    pub token_overhead_per_task: u64,
    /// Its hard limit of tasks at once.
    pub max_parallelism: Option<u32>,
    /// Tasks at once beyond which nothing is gained.
    pub practical_max: u32,
    /// How tasks are kept apart, in words.
    pub isolation: &'static str,
    /// Whether tasks see each other's conversation.
    pub shared_context: bool,
    /// Whether no task can disturb another.
    pub true_isolation: bool,
    /// How results come back.
    pub output_format: &'static str,
    /// What becomes of what it leaves behind.
    pub cleanup: &'static str,
    /// What it is good at.
    pub best_for: &'static str,
}

impl Capabilities {
    /// An executor of agent tasks with the properties of most: no overhead, no shared context, true isolation.
    pub fn of_agents(name: impl Into<Cow<'static, str>>) -> Self {
        Capabilities {
            name: name.into(),
            performs: &["agent"],
            tools: true,
            token_overhead_per_task: 0,
            max_parallelism: None,
            practical_max: 50,
            isolation: "process-level",
            shared_context: false,
            true_isolation: true,
            output_format: "text",
            cleanup: "auto",
            best_for: "agent tasks",
        }
    }
}

/// Takes reports from whatever thread they come.
pub type Post = Arc<dyn Fn(Report) + Send + Sync>;

/// One executor that performs the attempts that name it. The dispatcher calls it from the engine's thread.
///
/// Demands are judged before `start` is called: an attempt with a confinement, a container or limited resources never
/// reaches an executor that does not say in [`Executor::meets`] that it provides them.
pub trait Executor {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it can do it here; else the reason, in words for a person.
    fn available(&self) -> Result<(), String>;

    /// Whether it provides what is demanded beyond its name; the words of what it does not.
    fn meets(&self, demands: &crate::attempt::Demands) -> Result<(), String> {
        match demands.unmet_by_default() {
            Some(what) => Err(format!("{what} is not available with executor {}", self.capabilities().name)),
            None => Ok(()),
        }
    }

    /// Begins an attempt. Never blocks. Exactly one [`Report::Ended`] follows by `post`, now or later.
    fn start(&mut self, spec: AttemptSpec, post: Post);

    /// Ends an attempt; its report follows all the same. An unknown key is nothing to worry about: the attempt has ended.
    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration);
}
