//! Budgets on the command line and before a run: which limits hold, and whether every task can be held to them. It does
//! not keep the books; the engine's ledger does.

use raddle_engine::ledger::Ledger;
use raddle_engine::{Budget, Money};
use raddle_executors::agent::Reports;
use raddle_model::catalog::ModelTable;
use raddle_model::workflow::{AgentTask, Task, TaskKind, Workflow};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::Project;
use crate::terminal::{duration, grouped};

/// The limits of several `--budget`s together; the last of a kind counts.
pub fn together(given: &[Budget]) -> Budget {
    given.iter().rev().fold(Budget::default(), |all, one| all.or(*one))
}

/// Refuses a run some task of which could not be held to a budget, before anything is spent.
pub fn refuse_unaccountable(workflow: &Workflow, project: &Project, simulate: bool) -> Result<(), Problem> {
    if simulate {
        return Ok(());
    }
    let budget = &workflow.budget;
    let mut reasons: Vec<(&str, String)> = Vec::new();
    for task in &workflow.tasks {
        let TaskKind::Agent(agent) = &task.kind else { continue };
        let (reports, by_default) = match task.executor.as_str() {
            // A provider's own interface tells tokens with every answer; a task without a model gets the configured one.
            "api" => (Reports { tokens: true, cost: false }, project.api.model.clone()),
            _ => (project.adapters.get(&agent.cli).map(|adapter| adapter.reports()).unwrap_or_default(), None),
        };
        if budget.usd.is_some() || task.cost_budget().is_some() {
            let model = agent.model.as_deref().or(by_default.as_deref());
            for model in [model].into_iter().chain(agent.model_when_exhausted.as_deref().map(Some)) {
                let why = unknown_cost(task, agent, model, &project.catalog.models, &reports);
                reasons.extend(why.map(|why| (task.id.as_str(), why)));
            }
        }
        if budget.tokens.is_some() && !reports.tokens && task.estimate.tokens.is_none() {
            let why = format!("agent CLI `{}` does not tell how many tokens it uses", agent.cli);
            reasons.push((&task.id, why));
        }
    }
    let Some((id, why)) = reasons.first() else { return Ok(()) };
    let more = match reasons.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Err(Problem::new(Exit::Refused, format!("task {id} cannot be held to a budget: {why}{more}"))
        .hint(
            "`[models.NAME]` with `input_usd_per_mtok` and `output_usd_per_mtok` in raddle.toml gives a model a price",
        )
        .hint("`estimate: {cost: …, tokens: …}` says what an attempt counts for where nobody reports it"))
}

/// Why what the task costs would never be known.
fn unknown_cost(
    task: &Task,
    agent: &AgentTask,
    model: Option<&str>,
    models: &ModelTable,
    &Reports { tokens, cost }: &Reports,
) -> Option<String> {
    if task.estimate.cost_usd.is_some() {
        return None;
    }
    match model {
        Some(model) if !models.prices(model).known() => Some(format!("the price of model `{model}` is not known")),
        Some(_) if !cost && !tokens => Some(format!("agent CLI `{}` does not tell what it uses", agent.cli)),
        None if !cost => Some(format!("it names no model, and agent CLI `{}` does not tell what it costs", agent.cli)),
        _ => None,
    }
}

/// The budget that a resumed run goes on with. What is spent already must leave something of it.
pub fn raised(given: Budget, ledger: &Ledger) -> Result<Budget, Problem> {
    let spent = ledger.spent();
    let too_small =
        given.usd.is_some_and(|limit| limit <= spent.usd) || given.tokens.is_some_and(|limit| limit <= spent.tokens);
    if too_small {
        return Err(Problem::usage(format!("the run has spent {} and {} tokens already", spent.usd, spent.tokens))
            .hint("`--budget` is for the whole run, what was spent included: give a larger one"));
    }
    Ok(given.or(*ledger.limits()))
}

/// `$0.08 of $0.10, 2 of 200 agents`; empty without a budget.
pub fn words(ledger: &Ledger, now: raddle_engine::Time) -> String {
    let (limits, spent) = (ledger.limits(), ledger.spent());
    let mut parts = Vec::new();
    if let Some(limit) = limits.usd {
        let held = ledger.held().usd;
        let held = if held > Money::ZERO { format!(" ({held} held)") } else { String::new() };
        parts.push(format!("{}{held} of {limit}", spent.usd));
    }
    if let Some(limit) = limits.tokens {
        parts.push(format!("{} of {} tokens", grouped(spent.tokens), grouped(limit)));
    }
    if let Some(limit) = limits.agents {
        parts.push(format!("{} of {limit} agents", spent.agents));
    }
    // Time passes without news; it is worth a word only when it is over.
    if let Some(limit) = limits.wall_ms.filter(|limit| ledger.driven_ms(now) >= *limit) {
        parts.push(format!("{} of {}", duration(ledger.driven_ms(now)), duration(limit)));
    }
    parts.join(", ")
}
