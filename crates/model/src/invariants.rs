//! What must be true of every run in the end, as CEL expressions over its final states: read, judged before anything
//! runs, evaluated. It does not know how runs come about. Every expression is bounded in length, depth and nesting, so
//! that neither reading nor evaluating one can take long or much.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::parser::PrattParser;
use cel::{Context, IdedExpr, Value};

use crate::diagnostic::quoted;

/// The longest expression, in bytes.
pub const MAX_BYTES: usize = 2000;
/// The most parts of an expression.
const MAX_PARTS: usize = 600;
/// The deepest expression; also of parts that stand in brackets.
const MAX_DEPTH: usize = 48;
/// `all`, `exists`, `map` and the like within each other.
const MAX_NESTED_LOOPS: usize = 2;

/// What expressions can be asked about.
const NAMES: [&str; 3] = ["tasks", "outcome", "run"];
/// What is known of a task.
const TASK: [&str; 12] = [
    "state",
    "result",
    "kind",
    "attempts",
    "retries",
    "effects",
    "undone",
    "output",
    "error_class",
    "error",
    "started_ms",
    "finished_ms",
];
/// What is known of the run.
const RUN: [&str; 5] = ["cost_usd", "tokens", "attempts", "engines", "duration_ms"];
/// Functions beside the operators and the macros.
const FUNCTIONS: [&str; 8] = ["size", "contains", "startsWith", "endsWith", "string", "int", "uint", "double"];

/// One of `invariants:`.
#[derive(Debug, Clone)]
pub struct Invariant {
    /// Its name; the expression where none was given.
    pub name: String,
    /// As it was written.
    pub text: String,
    compiled: Arc<IdedExpr>,
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Line and column within the expression, from 1, where that is known.
    pub at: Option<(usize, usize)>,
    /// A lowercase fragment.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A finished run, as expressions see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ended {
    /// The run's outcome.
    pub outcome: String,
    /// What it cost.
    pub cost_usd: f64,
    /// Tokens that it used.
    pub tokens: u64,
    /// Attempts that were started.
    pub attempts: u64,
    /// Engines that drove it: one more than it was taken over.
    pub engines: u64,
    /// From the first record to the last.
    pub duration_ms: u64,
    /// All tasks by id.
    pub tasks: Vec<(String, EndedTask)>,
}

/// A task of a finished run.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the contract's own words")]
pub struct EndedTask {
    pub state: String,
    /// Empty where the task had none.
    pub result: String,
    pub kind: String,
    pub attempts: u64,
    pub retries: u64,
    /// How often its work was really done, whether or not an engine heard of it.
    pub effects: u64,
    /// How often it was really undone by its compensation.
    pub undone: u64,
    pub output: serde_json::Value,
    /// Empty without an error.
    pub error_class: String,
    pub error: String,
    /// Since the run's beginning; `None` is -1 in expressions.
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
}

impl Invariant {
    /// Reads and judges an expression. `is_task` knows the workflow's tasks.
    pub fn compile(name: Option<&str>, text: &str, is_task: &dyn Fn(&str) -> bool) -> Result<Invariant, Flaw> {
        let flaw = |what: String, help: &str| Flaw { at: None, what, help: (!help.is_empty()).then(|| help.into()) };
        if text.trim().is_empty() {
            return Err(flaw("it is empty".into(), "write what must be true, as in `outcome != 'failed'`"));
        }
        if text.len() > MAX_BYTES {
            return Err(flaw(format!("it is longer than {MAX_BYTES} bytes"), "split it into several invariants"));
        }
        let parser = PrattParser::new()
            .max_recursion_depth(MAX_DEPTH as u16)
            .max_expression_node_count(MAX_PARTS)
            .error_reporting_limit(3)
            .error_recovery_limit(3);
        let parsed = parser.parse(text).map_err(|errors| {
            let first = errors.errors.iter().find(|e| e.pos.0 > 0).or(errors.errors.first());
            let place = |n: isize| usize::try_from(n).unwrap_or(1).max(1);
            let message = first.map_or("it cannot be read", |e| e.msg.as_str());
            let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
            Flaw {
                at: first.filter(|e| e.pos.0 > 0).map(|e| (place(e.pos.0), place(e.pos.1))),
                what: format!("it is no CEL expression: {message}"),
                help: None,
            }
        })?;
        let mut judge = Judge { is_task, bound: Vec::new(), parts: 0 };
        judge.look_at(&parsed, 0).map_err(|(what, help)| flaw(what, &help))?;
        let invariant =
            Invariant { name: name.unwrap_or(text).to_owned(), text: text.to_owned(), compiled: Arc::new(parsed) };
        Ok(invariant)
    }

    /// Whether it is true of a finished run; the error says why that cannot be told.
    pub fn holds(&self, run: &Ended) -> Result<bool, String> {
        judge(std::slice::from_ref(self), run).pop().unwrap_or(Ok(true))
    }
}

/// Whether each is true of a finished run, in their order; an error says why that cannot be told.
pub fn judge(invariants: &[Invariant], run: &Ended) -> Vec<Result<bool, String>> {
    if invariants.is_empty() {
        return Vec::new();
    }
    let mut context = Context::default();
    run.tell(&mut context);
    let one = |invariant: &Invariant| match context.resolve(&invariant.compiled) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("it gives {}, not true or false", other.type_of())),
        Err(e) => Err(e.to_string().chars().filter(|c| !c.is_control()).take(300).collect()),
    };
    invariants.iter().map(one).collect()
}

impl Ended {
    fn tell(&self, context: &mut Context<'_, '_>) {
        let number = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let since = |ms: Option<u64>| ms.map_or(Value::Int(-1), number);
        let map = |entries: Vec<(&str, Value)>| {
            Value::from(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<HashMap<String, Value>>())
        };
        let of = |task: &EndedTask| {
            map(vec![
                ("state", task.state.as_str().into()),
                ("result", task.result.as_str().into()),
                ("kind", task.kind.as_str().into()),
                ("attempts", number(task.attempts)),
                ("retries", number(task.retries)),
                ("effects", number(task.effects)),
                ("undone", number(task.undone)),
                ("output", value_of(&task.output)),
                ("error_class", task.error_class.as_str().into()),
                ("error", task.error.as_str().into()),
                ("started_ms", since(task.started_ms)),
                ("finished_ms", since(task.finished_ms)),
            ])
        };
        let tasks: HashMap<String, Value> = self.tasks.iter().map(|(id, task)| (id.clone(), of(task))).collect();
        context.add_variable_from_value("tasks", tasks);
        context.add_variable_from_value("outcome", self.outcome.as_str());
        let run = map(vec![
            ("cost_usd", Value::Float(self.cost_usd)),
            ("tokens", number(self.tokens)),
            ("attempts", number(self.attempts)),
            ("engines", number(self.engines)),
            ("duration_ms", number(self.duration_ms)),
        ]);
        context.add_variable_from_value("run", run);
    }
}

/// Whole numbers become CEL's `int`, so that they compare with what people write.
fn value_of(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::UInt(n),
            (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect::<Vec<Value>>().into(),
        serde_json::Value::Object(entries) => {
            entries.iter().map(|(k, v)| (k.clone(), value_of(v))).collect::<HashMap<String, Value>>().into()
        }
    }
}

/// Looks at every part before anything is evaluated: the evaluator's own depth follows from it.
struct Judge<'a> {
    is_task: &'a dyn Fn(&str) -> bool,
    /// Names that macros bind.
    bound: Vec<String>,
    parts: usize,
}

type Wrong = (String, String);

fn wrong<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err((what.into(), help.into()))
}

impl Judge<'_> {
    fn look_at(&mut self, at: &IdedExpr, depth: usize) -> Result<(), Wrong> {
        self.parts += 1;
        // Macros make several levels of one that was written.
        if depth > 2 * MAX_DEPTH || self.parts > 4 * MAX_PARTS {
            return wrong("it is too large", "split it into several invariants");
        }
        let deeper = depth + 1;
        match &at.expr {
            Expr::Unspecified => wrong("it has an empty part", ""),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                self.field(&select.operand, &select.field)?;
                self.look_at(&select.operand, deeper)
            }
            Expr::Call(call) => {
                let known = FUNCTIONS.contains(&call.func_name.as_str());
                let operator = !call.func_name.starts_with(|c: char| c.is_alphabetic());
                if !known && !operator {
                    let help =
                        format!("known are {} and the macros has, all, exists, map, filter", FUNCTIONS.join(", "));
                    return wrong(format!("it calls {}, which is not known", quoted(&call.func_name)), help);
                }
                if let [on, of] = &call.args[..]
                    && call.func_name == "_[_]"
                    && let Expr::Literal(LiteralValue::String(key)) = &of.expr
                {
                    self.field(on, key.inner())?;
                }
                call.target.iter().try_for_each(|target| self.look_at(target, deeper))?;
                call.args.iter().try_for_each(|argument| self.look_at(argument, deeper))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.look_at(element, deeper)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.look_at(&entry.key, deeper)?;
                    self.look_at(&entry.value, deeper)
                }
                EntryExpr::StructField(_) => wrong("it makes an object of a type; there are no types here", ""),
            }),
            Expr::Struct(_) => wrong("it makes an object of a type; there are no types here", ""),
            Expr::Comprehension(of) => {
                self.look_at(&of.iter_range, deeper)?;
                let before = self.bound.len();
                self.bound.extend([of.iter_var.clone(), of.accu_var.clone()].into_iter().chain(of.iter_var2.clone()));
                if self.bound.len() > 3 * MAX_NESTED_LOOPS {
                    let most = format!("at most {MAX_NESTED_LOOPS} of all, exists, map and filter within each other");
                    return wrong("it goes through lists within lists too deeply", most);
                }
                for part in [&of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
                    self.look_at(part, deeper)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
        }
    }

    fn name(&self, name: &str) -> Result<(), Wrong> {
        if NAMES.contains(&name) || name.starts_with('@') || self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        let near = crate::keys::nearest(name, NAMES.into_iter());
        let hint = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
        wrong(
            format!("it asks for {}, which is not known", quoted(name)),
            format!("{hint}known are tasks, outcome and run"),
        )
    }

    /// Whether `on` has a part of that name, where that can be known.
    fn field(&self, on: &IdedExpr, field: &str) -> Result<(), Wrong> {
        let one_of = |known: &[&'static str], of: &str| match known.contains(&field) {
            true => Ok(()),
            false => {
                let near = crate::keys::nearest(field, known.iter().copied());
                let hint = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
                wrong(format!("{of} has no {}", quoted(field)), format!("{hint}known are {}", known.join(", ")))
            }
        };
        match &on.expr {
            Expr::Ident(name) if self.bound.contains(name) => Ok(()),
            Expr::Ident(name) if name == "tasks" && !(self.is_task)(field) => wrong(
                format!("there is no task {}", quoted(field)),
                "tasks are named by their ids, as in `tasks.build` or `tasks['build-all']`",
            ),
            Expr::Ident(name) if name == "run" => one_of(&RUN, "`run`"),
            _ if is_task(on, &self.bound) => one_of(&TASK, "a task"),
            _ => Ok(()),
        }
    }
}

/// Whether it names one task: `tasks.a`, `tasks['a']`.
fn is_task(at: &IdedExpr, bound: &[String]) -> bool {
    let is_tasks = |e: &IdedExpr| matches!(&e.expr, Expr::Ident(name) if name == "tasks" && !bound.contains(name));
    match &at.expr {
        Expr::Select(select) => !select.test && is_tasks(&select.operand),
        Expr::Call(call) => call.func_name == "_[_]" && call.args.first().is_some_and(is_tasks),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
