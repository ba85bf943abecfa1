//! `model: auto`: which model performs an agent task, and why, decided before the run from what is known of the task.
//! It does not know executors, nor what a model answers.

use crate::catalog::{ModelTable, Tokens};
use crate::critical::critical_path;
use crate::plan::{History, durations};
use crate::template::{Piece, Template};
use crate::workflow::{AgentTask, Strength, Task, TaskKind, Workflow};

/// The word that asks for a choice.
pub const AUTO: &str = "auto";

/// Prompts up to here are short, beyond the second bound they are long; in bytes.
const SHORT_BYTES: usize = 400;
const LONG_BYTES: usize = 4000;
/// So many hard dependencies make a task one that brings things together.
const MANY_INPUTS: usize = 4;
/// What an answer is taken to have when nobody has estimated it.
const ANSWER_TOKENS: u64 = 1000;

/// The models to choose from, cheapest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers(pub [String; 3]);

const NAMES: [&str; 3] = ["cheap", "standard", "expensive"];

impl Default for Tiers {
    fn default() -> Self {
        Tiers(["haiku", "sonnet", "opus"].map(str::to_owned))
    }
}

/// Nothing can be chosen for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoModel {
    /// Its position.
    pub task: usize,
    /// Why, in words.
    pub why: String,
}

/// Puts a model in the place of every `auto`, with the reason beside it.
pub fn choose(workflow: &mut Workflow, tiers: &Tiers, models: &ModelTable, history: &History) -> Vec<NoModel> {
    let is_auto = |task: &Task| matches!(&task.kind, TaskKind::Agent(agent) if agent.model.as_deref() == Some(AUTO));
    if !workflow.tasks.iter().any(is_auto) {
        return Vec::new();
    }
    let path = critical_path(workflow, &durations(workflow, history));
    // Where all tasks are alike, being on some longest path distinguishes nobody.
    let distinguishes = path.slack.iter().any(|slack| *slack > 0);
    let mut without = Vec::new();
    for (n, task) in workflow.tasks.iter_mut().enumerate().filter(|(_, task)| is_auto(task)) {
        let critical = distinguishes && path.slack[n] == 0;
        match one(task, tiers, models, history, critical) {
            Ok((model, reason)) => {
                if let TaskKind::Agent(agent) = &mut task.kind {
                    (agent.model, agent.model_reason) = (Some(model), Some(reason));
                }
            }
            Err(why) => without.push(NoModel { task: n, why }),
        }
    }
    without
}

fn one(
    task: &Task,
    tiers: &Tiers,
    models: &ModelTable,
    history: &History,
    critical: bool,
) -> Result<(String, String), String> {
    let TaskKind::Agent(agent) = &task.kind else { return Err("it is no agent task".to_owned()) };
    let (mut tier, mut reasons) = by_class(task, agent);
    if critical {
        tier = (tier + 1).min(2);
        reasons.push("on the critical path".to_owned());
    }
    if let Some(past) = history.get(&task.id) {
        let before = past.model.as_ref().and_then(|model| tiers.0.iter().position(|known| known == model));
        match (before, past.attempts) {
            (Some(before), 2..) => {
                tier = tier.max(before + 1).min(2);
                reasons.push(format!("{} needed {} attempts in the last run", tiers.0[before], past.attempts));
            }
            // What has once been too little is not tried again as long as more has sufficed.
            (Some(before), 1) if before > tier => {
                tier = before;
                reasons.push(format!("{} sufficed in the last run", tiers.0[before]));
            }
            _ => {}
        }
    }
    let grant = task.permissions.usable();
    let dear = |tier: usize| {
        let cost = models.price(&tiers.0[tier], tokens(task, agent))?.usd();
        grant.cost_budget.filter(|budget| cost > *budget).map(|budget| (cost, budget))
    };
    while let Some((cost, budget)) = dear(tier) {
        if tier == 0 {
            return Err(format!(
                "even {} would cost about ${:.4}, over its budget of ${:.4}",
                tiers.0[0], cost, budget
            ));
        }
        reasons.push(format!("{} would cost about ${:.4}, over its budget of ${:.4}", tiers.0[tier], cost, budget));
        tier -= 1;
    }
    // The nearest that the grant allows: cheaper ones first.
    let allowed = |tier: &usize| grant.model(&tiers.0[*tier]).allowed && dear(*tier).is_none();
    let Some(granted) = (0..=tier).rev().find(allowed).or_else(|| (tier + 1..3).find(allowed)) else {
        return Err(format!("`permissions` allow none of {} within its budget", tiers.0.join(", ")));
    };
    if granted != tier {
        reasons.push(format!("{} is not granted", tiers.0[tier]));
    }
    Ok((tiers.0[granted].clone(), format!("{}: {}", NAMES[granted], reasons.join("; "))))
}

/// What the task itself says about how hard it is.
fn by_class(task: &Task, agent: &AgentTask) -> (usize, Vec<String>) {
    let bytes = prompt_bytes(agent);
    let inputs = task.depends_on.iter().filter(|d| d.strength == Strength::Hard).count();
    if bytes > LONG_BYTES {
        return (2, vec!["a long prompt".to_owned()]);
    }
    if inputs >= MANY_INPUTS {
        return (2, vec![format!("it brings {inputs} results together")]);
    }
    let needs_tools = agent.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    if bytes <= SHORT_BYTES && agent.skills.is_empty() && !needs_tools {
        let what = if task.output_schema.is_some() { "a short prompt with a schema" } else { "a short prompt" };
        return (0, vec![what.to_owned()]);
    }
    (1, vec!["neither short nor long".to_owned()])
}

fn prompt_bytes(agent: &AgentTask) -> usize {
    match &agent.prompt {
        Template::Literal(serde_json::Value::String(text)) => text.len(),
        Template::Text(pieces) => {
            pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 0 }).sum()
        }
        _ => 0,
    }
}

fn tokens(task: &Task, agent: &AgentTask) -> Tokens {
    let input = (prompt_bytes(agent) / 4) as u64;
    let total = task.estimate.tokens.unwrap_or(input + ANSWER_TOKENS);
    Tokens { input: input.min(total), output: total.saturating_sub(input), ..Tokens::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, builtin_models};
    use crate::plan::Past;

    struct Nothing;

    impl crate::Sources for Nothing {
        fn read(&self, path: &str) -> Result<String, String> {
            Err(format!("no {path}"))
        }
    }

    fn workflow(tasks: &str) -> Workflow {
        let parsed = crate::parse(tasks.as_bytes(), "wf.yaml", &Nothing, &Catalog::builtin());
        parsed.workflow.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
    }

    fn chosen(text: &str, history: &History) -> Vec<(String, String)> {
        let mut workflow = workflow(text);
        assert_eq!(choose(&mut workflow, &Tiers::default(), &builtin_models(), history), []);
        let of = |task: &Task| match &task.kind {
            TaskKind::Agent(agent) => {
                (agent.model.clone().unwrap_or_default(), agent.model_reason.clone().unwrap_or_default())
            }
            _ => Default::default(),
        };
        workflow.tasks.iter().map(of).collect()
    }

    #[test]
    fn the_critical_path_gets_the_better_model() {
        let text = "tasks:\n\
            - {id: a, prompt: x, model: auto, estimate: {duration: 10s}}\n\
            - {id: b, prompt: x, model: auto, estimate: {duration: 1s}}\n\
            - {id: c, prompt: x, model: auto, depends_on: [a, b], estimate: {duration: 1s}}\n";
        let all = chosen(text, &History::new());
        let models: Vec<&str> = all.iter().map(|(model, _)| model.as_str()).collect();
        assert_eq!(models, ["sonnet", "haiku", "sonnet"]);
        assert_eq!(all[0].1, "standard: a short prompt; on the critical path");
    }

    #[test]
    fn what_was_too_little_is_not_tried_again() {
        let past = |model: &str, attempts| {
            let past = Past { model: Some(model.into()), attempts, ..Past::default() };
            History::from([("a".to_owned(), past)])
        };
        let text = "tasks: [{id: a, prompt: x, model: auto}]";
        assert_eq!(chosen(text, &past("haiku", 1))[0].0, "haiku");
        assert_eq!(chosen(text, &past("haiku", 3))[0].0, "sonnet");
        assert_eq!(chosen(text, &past("sonnet", 1))[0].0, "sonnet");
    }

    #[test]
    fn budgets_and_grants_bound_the_choice() {
        let long = "x".repeat(5000);
        let text = format!("tasks: [{{id: a, prompt: {long}, model: auto, permissions: {{cost_budget: 0.02}}}}]");
        let (model, reason) = chosen(&text, &History::new()).remove(0);
        assert_eq!(model, "sonnet");
        assert!(reason.starts_with("standard: a long prompt; opus would cost about $0.03"), "{reason}");
        let text = format!("tasks: [{{id: a, prompt: {long}, model: auto, permissions: {{models: [haiku]}}}}]");
        assert_eq!(chosen(&text, &History::new())[0].0, "haiku");
        let mut poor = workflow("tasks: [{id: a, prompt: x, model: auto, permissions: {cost_budget: 0.0001}}]");
        let without = choose(&mut poor, &Tiers::default(), &builtin_models(), &History::new());
        assert!(without[0].why.contains("even haiku"), "{without:?}");
    }
}
