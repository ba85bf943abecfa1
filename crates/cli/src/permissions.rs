//! `raddle perm explain`: what a task may do, who holds it to that, and answers to single questions. It does not know
//! how grants are computed; the model does.

pub mod enforcement;
mod question;

use raddle_model::permissions::{Grant, Location};
use raddle_model::workflow::{Task, Workflow};
use serde_json::json;

use crate::args::{ExplainArgs, Shape};
use crate::exit::Exit;
use crate::loading;
use crate::problem::Problem;
use crate::terminal::{self, Colour, harmless};
use enforcement::{Holder, Part};

/// Prints a task's grant, or the answer to a question: exit 0 allowed, 6 denied.
pub fn explain(args: ExplainArgs, colour: Colour) -> Result<Exit, Problem> {
    let shape = Shape { file: Some(args.file.clone()), ..Shape::default() };
    let (workflow, loaded) = loading::load(&shape, colour)?.accepted(false, colour)?;
    let task = named(&workflow, &args.task)?;
    let base = work_dir()?;
    let grant = task.permissions.usable().from(&base);
    if let Some(question) = &args.question {
        let answer = question::answer(question, &grant, &base, &workflow)?;
        match args.json {
            true => {
                print(&json!({"task": task.id, "question": question, "allowed": answer.allowed, "rule": answer.rule}))?
            }
            false => {
                let word = if answer.allowed { "allowed" } else { "denied" };
                terminal::print(&format!("{word}  {}\n", harmless(&answer.rule)))?;
            }
        }
        return Ok(if answer.allowed { Exit::Success } else { Exit::Refused });
    }
    let parts = enforcement::parts(task, &workflow, &loaded.project, &base);
    if args.json {
        let delegable = task.permissions.delegable().from(&base);
        print(&json!({"task": task.id, "kind": task.kind_name(), "effective": grant, "delegable": delegable,
                      "enforced": parts, "secrets": task.secrets()}))?;
    } else {
        terminal::print(&told(task, &grant, &parts))?;
    }
    Ok(Exit::Success)
}

fn named<'w>(workflow: &'w Workflow, id: &str) -> Result<&'w Task, Problem> {
    workflow.tasks.iter().find(|task| task.id == id).ok_or_else(|| {
        let known: Vec<&str> = workflow.tasks.iter().take(20).map(|task| task.id.as_str()).collect();
        Problem::usage(format!("the workflow has no task `{id}`")).hint(format!("its tasks: {}", known.join(", ")))
    })
}

/// The folder that a run begun here would have its tasks start in.
fn work_dir() -> Result<Location, Problem> {
    let here = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
    location(&here)
}

/// A folder as the model writes paths.
pub fn location(folder: &std::path::Path) -> Result<Location, Problem> {
    let wrong = |why: &str| Problem::usage(format!("paths cannot be told from {}: {why}", folder.display()));
    let text = folder.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
    Location::parse(text).map_err(|why| wrong(&why))
}

fn print(value: &serde_json::Value) -> Result<(), Problem> {
    terminal::print(&format!("{value}\n"))
}

fn told(task: &Task, grant: &Grant, parts: &[Part]) -> String {
    let mut text = format!("task {} ({})\n", harmless(&task.id), task.kind_name());
    for part in parts {
        let shown = shown(part.part, grant);
        text.push_str(&format!("  {:<12}{}\n", part.part, harmless(&shown)));
        let held = match &part.holder {
            Holder::Nobody => continue,
            Holder::Unenforceable(reason) => format!("cannot be enforced: {reason}"),
            Holder::By(holders) => format!("held by {}", holders.join(", ")),
        };
        text.push_str(&format!("  {:<12}  {}\n", "", harmless(&held)));
    }
    if !task.secrets().is_empty() {
        text.push_str(&format!("  {:<12}{}\n", "secrets", task.secrets().join(", ")));
    }
    text
}

fn shown(part: &str, grant: &Grant) -> String {
    fn listed<T: ToString + raddle_model::permissions::Rule>(scope: &raddle_model::permissions::Scope<T>) -> String {
        match scope.rules() {
            None => "everything".into(),
            Some([]) => "nothing".into(),
            Some(rules) => rules.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
        }
    }
    match part {
        "tools" => listed(&grant.tools),
        "paths" => format!("read {}; write {}", listed(&grant.read), listed(&grant.write)),
        "deny" if grant.deny.is_empty() => "nothing".into(),
        "deny" => grant.deny.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        "network" => grant.network.name().into(),
        "models" => listed(&grant.models),
        _ => grant.cost_budget.map_or_else(|| "no limit".into(), |usd| format!("{usd} US dollars")),
    }
}
