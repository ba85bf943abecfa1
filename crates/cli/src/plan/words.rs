//! A plan for a person: levels, caps and what bound them, the critical path, time and cost or why not. It does not
//! know how a plan is made.

use std::fmt::Write as _;

use raddle_model::caps::Cap;
use raddle_model::plan::{Plan, PlannedTask};

use crate::terminal::{Table, counted, duration, harmless, money};

/// At most so many tasks are listed; a plan of a hundred thousand is read by programs.
const LISTED: usize = 500;
/// At most so many names of a path are written out.
const PATH: usize = 30;
/// At most so many dependencies of one task.
const DEPENDENCIES: usize = 6;

/// The text.
pub(super) fn told(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    let hash: String = plan.hash.chars().take(12).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} in {}  ({hash})\n",
        harmless(plan.workflow),
        counted(plan.tasks.len(), "task"),
        counted(plan.levels.len(), "level"),
    );
    text.push_str(&table(plan));
    if plan.tasks.len() > LISTED {
        let _ = writeln!(text, "… and {} more (--json lists all)", plan.tasks.len() - LISTED);
    }
    let path = &plan.critical_path;
    let mut names: Vec<String> = path.tasks.iter().take(PATH).map(|id| harmless(id).into_owned()).collect();
    if path.tasks.len() > PATH {
        names.push(format!("… {} more", path.tasks.len() - PATH));
    }
    let length = if path.length_ms > 0 { format!("  ({})", duration(path.length_ms)) } else { String::new() };
    let _ = writeln!(text, "\ncritical path  {}{length}", names.join(" -> "));
    let caps = [("agent", &plan.caps.agent), ("local", &plan.caps.local), ("tool", &plan.caps.tool)];
    let caps = caps.into_iter().chain(plan.caps.worktree.iter().map(|cap| ("worktree", cap)));
    let caps: Vec<String> =
        caps.map(|(kind, Cap { value, bound_by })| format!("{kind:5} {value:>4}  (bound by {bound_by})")).collect();
    let _ = writeln!(text, "at once        {}", caps.join("\n               "));
    let forecast = &plan.forecast;
    let unknown = || match &forecast.reason {
        Some(reason) => format!("unknown ({})", harmless(reason)),
        None => "unknown".to_owned(),
    };
    let time = forecast.duration_ms.map_or_else(unknown, |ms| format!("about {}", duration(ms)));
    let cost = forecast.cost_usd.map_or_else(unknown, |usd| format!("about {}", money(usd)));
    let _ = writeln!(text, "time           {time}\ncost           {cost}");
    text
}

fn table(plan: &Plan<'_>) -> String {
    let mut table = Table::new(&["level", "task", "name", "kind", "with", "timeout", "retries", "after"]);
    let mut order: Vec<&PlannedTask<'_>> = plan.tasks.iter().collect();
    order.sort_by_key(|task| task.level);
    for task in order.into_iter().take(LISTED) {
        table.row([
            task.level.to_string(),
            task.id.to_owned(),
            if task.name == task.id { String::new() } else { task.name.to_owned() },
            task.kind.to_owned(),
            with(task),
            duration(task.timeout_ms),
            task.retries.to_string(),
            after(task),
        ]);
    }
    table.render()
}

/// Agent, model and executor, as far as the task has them, and what undoes it.
fn with(task: &PlannedTask<'_>) -> String {
    let executor = Some(task.executor).filter(|executor| *executor != "local");
    let parts: Vec<&str> = [task.agent, task.model, executor].into_iter().flatten().collect();
    let with = parts.join("/");
    match task.compensate {
        Some(undo) => format!("{with} undone by {undo}").trim_start().to_owned(),
        None => with,
    }
}

/// The dependencies; soft ones with a question mark.
fn after(task: &PlannedTask<'_>) -> String {
    let mark = |strength| if strength == "soft" { "?" } else { "" };
    let names = task.depends_on.iter().take(DEPENDENCIES).map(|d| format!("{}{}", d.task, mark(d.strength)));
    let mut names: Vec<String> = names.collect();
    if task.depends_on.len() > DEPENDENCIES {
        names.push("…".to_owned());
    }
    names.join(", ")
}
