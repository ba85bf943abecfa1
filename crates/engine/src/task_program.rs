//! A validated workflow as a program: builds the kernel's graph, resolves references and inputs into attempts, reads
//! results by format and schema. It does not know how attempts are performed.

mod agent;
mod course;
mod fallbacks;
mod gates;
mod graph;
mod json;
mod retries;
mod undo;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_kernel::{FailureClass, Graph, Phase, Pool, Run, TaskIx};
use raddle_model::catalog::{ModelTable, Tokens};
use raddle_model::template::{Lookup, Reference, Scope, Source, Template};
use raddle_model::workflow::{self, OutputFormat, ShellTask, Task, TaskKind, Workflow};
use serde_json::Value;

use crate::attempt::{
    AttemptKey, AttemptSpec, CodeWork, CostIs, Demands, Failure, Fixed, ProcessWork, RawOutput, ToolWork, Usage, Work,
};
use crate::gates::Answer;
use crate::grants;
use crate::own_files;
use crate::patch::{PatchRequest, Redefinition};
use crate::program::{Context, Inquiry, Program, Turn};
use crate::secrets::Secrets;
use json::{parse_json, push_json_string, unreadable};

pub use graph::{graph_of, pool_of};

pub use gates::{escalates, gate_of};

/// Agent tasks.
pub const AGENT: Pool = Pool(0);
/// Shell and code tasks.
pub const LOCAL: Pool = Pool(1);
/// Tool tasks.
pub const TOOL: Pool = Pool(2);

/// Where a run happens.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its id.
    pub run: String,
    /// Folder that tasks start in and that their relative paths start from.
    pub work_dir: PathBuf,
    /// Folder of the run's files.
    pub run_dir: Arc<Path>,
    /// 32 hex digits for `TRACEPARENT`.
    pub trace_id: String,
    /// Distinguishes this run's idempotency keys from every other's.
    pub idempotency_salt: String,
}

/// See the module.
pub struct TaskProgram {
    workflow: Arc<Workflow>,
    graph: Arc<Graph>,
    inputs: HashMap<String, Value>,
    models: ModelTable,
    place: Place,
    schemas: HashMap<TaskIx, jsonschema::Validator>,
    /// What a schema failure said, for the next attempt's prompt.
    complaints: HashMap<TaskIx, String>,
    /// Models that perform attempts instead of the planned ones.
    models_chosen: HashMap<TaskIx, String>,
    /// Nothing is resolved and every output is null.
    simulate: bool,
    secrets: Arc<Secrets>,
    fallbacks: Vec<(TaskIx, TaskIx)>,
    course: course::Course,
}

impl TaskProgram {
    /// `one_pool` puts every task under one cap (sequential mode); `waves` makes levels wait for each other.
    /// `weights` are expected durations in milliseconds by task; they decide the critical path. With `simulate`
    /// nothing is resolved and every output is null.
    pub fn new(
        workflow: Arc<Workflow>,
        inputs: HashMap<String, Value>,
        models: ModelTable,
        place: Place,
        weights: &[u32],
        mode: workflow::ExecutionMode,
        simulate: bool,
    ) -> Self {
        let graph = Arc::new(graph_of(&workflow, weights, mode, simulate));
        let fallbacks = fallbacks::pairs(&workflow);
        TaskProgram {
            schemas: HashMap::new(),
            complaints: HashMap::new(),
            models_chosen: HashMap::new(),
            simulate,
            course: course::Course::default(),
            workflow,
            graph,
            inputs,
            models,
            place,
            secrets: Arc::default(),
            fallbacks,
        }
    }

    /// With the values that `${secret:NAME}` stands for.
    #[must_use]
    pub fn with_secrets(mut self, secrets: &Arc<Secrets>) -> Self {
        self.secrets = Arc::clone(secrets);
        self
    }

    fn task(&self, task: TaskIx) -> &Task {
        &self.workflow.tasks[task.index()]
    }

    /// The task, or what undoes it.
    fn acting<'w>(&self, task: TaskIx, workflow: &'w Workflow, context: &Context<'_>) -> &'w Task {
        let task = &workflow.tasks[task.index()];
        match &task.compensate {
            Some(workflow::Compensation::Task(compensation)) if context.undoing => compensation,
            _ => task,
        }
    }

    // ---- resolving ----

    fn resolve(&self, template: &Template, context: &Context<'_>) -> Result<Value, Failure> {
        if let Template::Literal(value) = template {
            return Ok(value.clone());
        }
        let scope = Values::gather(self, context, template.references())?;
        template
            .resolve(&scope)
            .map_err(|e| Failure::new(FailureClass::Input, format!("cannot resolve {}: {}", e.reference, e.reason)))
    }

    /// As text: strings raw, anything else as compact JSON.
    fn resolve_text(&self, template: &Template, context: &Context<'_>) -> Result<String, Failure> {
        Ok(match self.resolve(template, context)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn environment(&self, key: AttemptKey, context: &Context<'_>) -> Result<Vec<(String, String)>, Failure> {
        let task = self.acting(key.task, &self.workflow, context);
        let mut env = Vec::with_capacity(task.env.len() + 5);
        for (name, template) in &task.env {
            env.push((name.clone(), self.resolve_text(template, context)?));
        }
        let mut own = |name: &str, value: String| env.push((name.to_owned(), value));
        own("RADDLE_RUN_ID", self.place.run.clone());
        own("RADDLE_TASK_ID", task.id.clone());
        own("RADDLE_ATTEMPT", key.attempt.0.to_string());
        own("RADDLE_IDEMPOTENCY_KEY", self.idempotency_key(key.task, context));
        if context.undoing {
            own("RADDLE_COMPENSATES", self.forward_key(key.task, context.run));
        }
        own("TRACEPARENT", self.trace_parent(key));
        Ok(env)
    }

    /// The same for every attempt of one task of one run.
    fn seed(&self, task: TaskIx) -> u64 {
        let hash = blake3::hash(format!("chance/{}/{}", self.place.run, self.task(task).id).as_bytes());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// W3C trace context: one trace per run, one span per attempt.
    fn trace_parent(&self, key: AttemptKey) -> String {
        let span = blake3::hash(format!("{}/{}/{}", self.place.run, key.task.0, key.attempt.0).as_bytes());
        format!("00-{}-{}-01", self.place.trace_id, &span.to_hex()[..16])
    }

    /// JSON text of `{id: {status, output, error?}}` for the declared dependencies; `None` without any.
    fn deps(&self, task: TaskIx, context: &Context<'_>) -> Result<Option<Arc<str>>, Failure> {
        let dependencies = self.declared(task).into_iter().map(|(dependency, _)| dependency);
        // What undoes a task may look at what that did.
        let dependencies: Vec<TaskIx> = dependencies.chain(context.undoing.then_some(task)).collect();
        if dependencies.is_empty() {
            return Ok(None);
        }
        let mut text = String::from("{");
        for dependency in dependencies {
            if text.len() > 1 {
                text.push(',');
            }
            push_json_string(&mut text, self.known_as(dependency));
            let from = self.supplier(dependency, context);
            let state = context.run.state(from);
            // Blocked, skipped and cancelled dependencies never had a result; over a soft edge they read as errors.
            let is_there = undo::has_output(from, context);
            let status = if is_there { "success" } else { state.result().unwrap_or("error") };
            text.push_str(":{\"status\":\"");
            text.push_str(status);
            text.push_str("\",\"output\":");
            match is_there {
                true => text.push_str(&self.output_text(from, context)?),
                false => text.push_str("null"),
            }
            if status != "success" {
                text.push_str(",\"error\":");
                push_json_string(&mut text, context.outputs.message(from).unwrap_or(state.name()));
            }
            text.push('}');
        }
        text.push('}');
        Ok(Some(text.into()))
    }

    fn output_text(&self, task: TaskIx, context: &Context<'_>) -> Result<Arc<str>, Failure> {
        context.outputs.text(task, context.journal).map_err(|e| {
            let id = &self.task(task).id;
            Failure::new(FailureClass::Input, format!("cannot read the output of {id}: {e}"))
        })
    }

    fn work(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<Work, Failure> {
        let workflow = Arc::clone(&self.workflow);
        let task = self.acting(key.task, &workflow, context);
        if let (true, Some(workflow::Compensation::Restore)) = (context.undoing, &task.compensate) {
            return Ok(Work::Restore(Box::new(self.restoring(key.task))));
        }
        Ok(match &task.kind {
            TaskKind::Shell(shell) => {
                let argv = match shell {
                    ShellTask::Script(text) => vec!["sh".into(), "-eu".into(), "-c".into(), text.clone()],
                    ShellTask::Argv(parts) => {
                        parts.iter().map(|part| self.resolve_text(part, context)).collect::<Result<_, _>>()?
                    }
                };
                Work::Process(ProcessWork { argv, deps: self.deps(key.task, context)? })
            }
            TaskKind::Agent(agent) => {
                let work = self.agent_work(key.task, task, agent, context)?;
                match &agent.tool {
                    Some(tool) => {
                        let mut arguments = tool.arguments.clone();
                        arguments.insert(tool.prompt.clone(), Value::String(work.prompt));
                        Work::Tool(Box::new(ToolWork {
                            server: tool.server.clone(),
                            tool: tool.tool.clone(),
                            arguments: Value::Object(arguments),
                            idempotency_key: self.idempotency_key(key.task, context),
                        }))
                    }
                    None => Work::Agent(Box::new(work)),
                }
            }
            TaskKind::Tool(tool) => Work::Tool(Box::new(ToolWork {
                server: tool.server.clone(),
                tool: tool.tool.clone(),
                arguments: self.resolve(&tool.arguments, context)?,
                idempotency_key: self.idempotency_key(key.task, context),
            })),
            TaskKind::Code(code) => {
                let mut values = serde_json::Map::new();
                for (name, template) in &code.context {
                    values.insert(name.clone(), self.resolve(template, context)?);
                }
                Work::Code(Box::new(CodeWork {
                    code: code.code.clone(),
                    name: code.code_file.clone().unwrap_or_else(|| task.id.clone()),
                    deps: self.deps(key.task, context)?.unwrap_or_else(|| "{}".into()),
                    context: Value::Object(values).to_string().into(),
                    timeout: code.sandbox_timeout.min(task.timeout.wall),
                    memory_bytes: code.memory_limit_bytes,
                    allowed_read_paths: code.allowed_read_paths.iter().map(|p| self.place.work_dir.join(p)).collect(),
                    fixed: code.deterministic.then(|| Fixed { clock_ms: context.now.0, seed: self.seed(key.task) }),
                    tools: grants::code_tools(task, code.intent.as_deref(), || self.idempotency_key(key.task, context)),
                }))
            }
            TaskKind::Approval(_) => return Err(gates::no_work()),
        })
    }

    fn check_schema(&mut self, task: TaskIx, value: &Value) -> Result<(), Failure> {
        let Some(schema) = &self.workflow.tasks[task.index()].output_schema else { return Ok(()) };
        let validator = match self.schemas.entry(task) {
            std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::hash_map::Entry::Vacant(slot) => {
                let compiled = jsonschema::validator_for(schema)
                    .map_err(|e| Failure::new(FailureClass::Schema, format!("the schema cannot be used: {e}")))?;
                slot.insert(compiled)
            }
        };
        let wrong: Vec<String> =
            validator.iter_errors(value).take(5).map(|e| format!("{} at `{}`", e, e.instance_path())).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let message = format!("the output does not fit its schema: {}", wrong.join("; "));
        self.complaints.insert(task, message.clone());
        Err(Failure::new(FailureClass::Schema, message))
    }
}

impl Program for TaskProgram {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn conditional(&self) -> Vec<TaskIx> {
        self.conditional_tasks()
    }

    fn turn(&mut self, task: TaskIx, context: &Context<'_>) -> Turn {
        self.turn_of(task, context)
    }

    fn refuse(&mut self, task: TaskIx, why: String) {
        self.course.refuse(task, why);
    }

    fn is_replaceable(&self, task: TaskIx) -> bool {
        let course = &self.task(task).course;
        course.is_replaceable && course.superseded_by.is_none() && !self.simulate
    }

    fn id(&self, task: TaskIx) -> String {
        self.task(task).id.clone()
    }

    fn items(&self, task: TaskIx) -> Vec<TaskIx> {
        let foreach = self.task(task).course.foreach.as_ref();
        foreach.map(|foreach| foreach.items.iter().map(|item| TaskIx(*item)).collect()).unwrap_or_default()
    }

    fn redefine(&mut self, request: &PatchRequest, run: &Run) -> Result<Redefinition, Vec<String>> {
        self.redefined(request, run)
    }

    fn adopt(&mut self, redefinition: Redefinition) {
        self.adopt_definition(redefinition);
    }

    fn at_once(&mut self, key: AttemptKey, context: &Context<'_>) -> Option<Result<RawOutput, Failure>> {
        self.gathered(key.task, context)
    }

    fn prepare(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        self.models_chosen.remove(&key.task);
        if let Some((model, _)) = self.other_model(key.task, context.run.failures(key.task))
            && !context.undoing
        {
            let model = model.to_owned();
            self.models_chosen.insert(key.task, model);
        }
        self.course_allows(key.task, context)?;
        let work = match self.simulate {
            true => Work::Process(ProcessWork { argv: Vec::new(), deps: None }),
            false => self.work(key, context)?,
        };
        let needs_env = matches!(work, Work::Process(_) | Work::Agent(_));
        let env = if needs_env && !self.simulate { self.environment(key, context)? } else { Vec::new() };
        let task = self.acting(key.task, &self.workflow, context);
        let demands = match self.simulate {
            true => Demands::default(),
            false => Demands {
                max_cost: context.left,
                files_of: own_files::inherited(&self.workflow, key.task, context.run),
                images: self.images(key.task, context)?,
                ..grants::demands(task, &work, &self.place.work_dir)?
            },
        };
        let cwd = task.cwd.as_ref().map_or_else(|| self.place.work_dir.clone(), |c| self.place.work_dir.join(c));
        Ok(AttemptSpec {
            key,
            epoch: context.epoch,
            task_id: task.id.as_str().into(),
            work,
            env,
            cwd,
            timeout: task.timeout.wall,
            idle: task.timeout.idle,
            run_dir: Arc::clone(&self.place.run_dir),
            demands,
        })
    }

    fn read_output(&mut self, task: TaskIx, raw: RawOutput) -> Result<Arc<str>, Failure> {
        if self.simulate {
            return Ok("null".into());
        }
        if self.task(task).course.foreach.is_some() {
            // Format and schema are the items'.
            return Ok(crate::drive::json_text(raw).into());
        }
        let spec = self.task(task);
        let raw = match (spec.output_format, raw) {
            (OutputFormat::None, _) => RawOutput::Json("null".into()),
            (OutputFormat::Json, RawOutput::Text(text)) => RawOutput::Json(parse_json(text)?),
            (_, raw) => raw,
        };
        if spec.output_schema.is_some() {
            let value = match &raw {
                RawOutput::Text(text) => Value::String(text.clone()),
                RawOutput::Json(text) => serde_json::from_str(text).map_err(unreadable)?,
            };
            self.check_schema(task, &value)?;
        }
        Ok(crate::drive::json_text(raw).into())
    }

    fn inquire(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<Option<Inquiry>, Failure> {
        self.inquiry(key, context).map(Some)
    }

    fn answer_output(&mut self, task: TaskIx, answer: &Answer) -> Result<Option<Arc<str>>, String> {
        self.output_of_answer(task, answer)
    }

    fn task_named(&self, id: &str) -> Option<TaskIx> {
        self.named(id)
    }

    fn model_chosen(&mut self, key: AttemptKey, model: &str) {
        self.models_chosen.insert(key.task, model.to_owned());
    }

    fn fallbacks(&self) -> &[(TaskIx, TaskIx)] {
        &self.fallbacks
    }

    fn other_model(&self, task: TaskIx, failures: u32) -> Option<(&str, String)> {
        retries::other_model(self.task(task), self.graph.retry(task), failures)
    }

    fn price(&self, task: TaskIx, usage: &mut Usage) {
        if usage.cost_usd.is_some() {
            usage.cost_is = CostIs::Reported;
            return;
        }
        let TaskKind::Agent(agent) = &self.task(task).kind else { return };
        let model = self.models_chosen.get(&task).map(String::as_str).or(agent.model.as_deref());
        let priced = model.and_then(|model| {
            let tokens = Tokens {
                input: usage.input_tokens,
                output: usage.output_tokens,
                cache_read: usage.cache_read_tokens,
                cache_write: usage.cache_write_tokens,
            };
            self.models.price(model, tokens)
        });
        usage.cost_is = if priced.is_some() { CostIs::Priced } else { CostIs::Unknown };
        usage.cost_usd = priced.map(|money| money.usd());
    }
}

/// The values that a template's references need, fetched before it is resolved.
struct Values<'a> {
    outputs: HashMap<TaskIx, Option<Value>>,
    states: &'a raddle_kernel::Run,
    inputs: &'a HashMap<String, Value>,
    secrets: &'a Secrets,
    item: Option<&'a Value>,
}

impl<'a> Values<'a> {
    fn gather<'t>(
        program: &'a TaskProgram,
        context: &'a Context<'_>,
        references: impl IntoIterator<Item = &'t Reference>,
    ) -> Result<Self, Failure> {
        let mut outputs = HashMap::new();
        for reference in references {
            let Source::Output(task) = &reference.source else { continue };
            let task = TaskIx(*task);
            if outputs.contains_key(&task) {
                continue;
            }
            let from = program.supplier(task, context);
            let value = match undo::has_output(from, context) {
                true => Some(serde_json::from_str(&program.output_text(from, context)?).map_err(unreadable)?),
                false => None,
            };
            outputs.insert(task, value);
        }
        let (inputs, secrets) = (&program.inputs, &*program.secrets);
        Ok(Values { outputs, states: context.run, inputs, secrets, item: program.course.item.as_ref() })
    }
}

impl Scope for Values<'_> {
    fn output(&self, task: u32) -> Lookup<'_> {
        match self.outputs.get(&TaskIx(task)) {
            Some(Some(value)) => Lookup::Value(Cow::Borrowed(value)),
            _ if self.states.state(TaskIx(task)).phase() == Phase::FailedSafe => Lookup::FailedSafe,
            _ => Lookup::Missing,
        }
    }

    fn input(&self, name: &str) -> Lookup<'_> {
        self.inputs.get(name).map_or(Lookup::Missing, |value| Lookup::Value(Cow::Borrowed(value)))
    }

    fn secret(&self, name: &str) -> Lookup<'_> {
        self.secrets.value(name).map_or(Lookup::Missing, |value| Lookup::Value(Cow::Owned(value.into())))
    }

    fn item(&self) -> Lookup<'_> {
        self.item.map_or(Lookup::Missing, |value| Lookup::Value(Cow::Borrowed(value)))
    }
}
