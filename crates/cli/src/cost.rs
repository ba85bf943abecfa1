//! `raddle cost`: what a workflow of so many tasks costs by executor, in tokens, per run and per month. It does not
//! look at workflows or runs: every term is given, and amounts are whole numbers of nano-dollars until they are shown.

use raddle_engine::executor::HOSTED_OVERHEAD_TOKENS;
use raddle_model::money::Money;
use serde_json::{Map, Value, json};

use crate::args::CostArgs;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, Table, grouped};

/// Tokens that a task costs beyond its own work, by executor: a process of its own starts with nothing but
/// its prompt.
const OVERHEAD_TOKENS: [(&str, u64); 3] = [("process", 0), ("worktree", 0), ("task_tool", HOSTED_OVERHEAD_TOKENS)];
/// What was published for nine tasks, 100 runs a day and $3 per million tokens, with the cost per run cut to $0.55.
const PUBLISHED: Published = Published { task_tool: 1650, process: 45, saving: 1605, factor: 36 };

struct Published {
    task_tool: u32,
    process: u32,
    saving: u32,
    factor: u32,
}

/// What one executor costs.
struct Row {
    name: &'static str,
    overhead_tokens: u64,
    total_tokens: u64,
    per_run: Money,
    per_month: Money,
}

/// `raddle cost`.
pub fn cost(args: &CostArgs) -> Result<Exit, Problem> {
    let rows = rows(args).ok_or_else(|| Problem::usage("these figures are too large to be multiplied"))?;
    let of = |name: &str| rows.iter().find(|row| row.name == name).expect("the table has it");
    let (process, task_tool) = (of("process"), of("task_tool"));
    let saving = task_tool.per_month.saturating_sub(process.per_month);
    let factor = (process.total_tokens > 0).then(|| task_tool.total_tokens as f64 / process.total_tokens as f64);
    if args.json {
        let executors: Map<String, Value> =
            rows.iter().map(|row| (row.name.to_owned(), entry(row, args.execution_tokens))).collect();
        let document = json!({
            "executors": executors,
            "saving_usd_per_month": saving.usd(),
            "factor": factor,
            "published": {
                "task_tool_usd_per_month": PUBLISHED.task_tool,
                "process_usd_per_month": PUBLISHED.process,
                "saving_usd_per_month": PUBLISHED.saving,
                "factor": PUBLISHED.factor,
            },
        });
        terminal::print(&format!("{document}\n"))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["executor", "overhead", "execution", "tokens per run", "per run", "per month"]);
    for row in &rows {
        table.row([
            row.name.to_owned(),
            grouped(row.overhead_tokens),
            grouped(args.execution_tokens),
            grouped(row.total_tokens),
            row.per_run.to_string(),
            row.per_month.to_string(),
        ]);
    }
    let mut text = table.render();
    let times = factor.map_or_else(String::new, |factor| format!(", {factor:.1}× less"));
    text.push_str(&format!("\nprocess instead of task_tool saves {saving} a month{times}\n"));
    text.push_str(&format!(
        "published for 9 tasks, 100 runs a day, $3 per million tokens: ${} and ${} a month, ${} saved, {}×\n\
         (there the cost of a run was cut to $0.55 before it was multiplied)\n",
        grouped(PUBLISHED.task_tool.into()),
        PUBLISHED.process,
        grouped(PUBLISHED.saving.into()),
        PUBLISHED.factor,
    ));
    terminal::print(&text)?;
    Ok(Exit::Success)
}

fn rows(args: &CostArgs) -> Option<Vec<Row>> {
    let price = Money::from_usd(args.usd_per_mtok)?;
    let runs = args.runs_per_day.checked_mul(args.days)?;
    let row = |&(name, overhead): &(&'static str, u64)| {
        let overhead_tokens = overhead.checked_mul(args.tasks)?;
        let total_tokens = overhead_tokens.checked_add(args.execution_tokens)?;
        let per_run = Money::of_tokens(total_tokens, price)?;
        // Multiplied before it is divided by the million: a month is exact even where a run is a fraction.
        let per_month = Money::of_tokens(total_tokens.checked_mul(runs)?, price)?;
        Some(Row { name, overhead_tokens, total_tokens, per_run, per_month })
    };
    OVERHEAD_TOKENS.iter().map(row).collect()
}

fn entry(row: &Row, execution_tokens: u64) -> Value {
    json!({
        "overhead_tokens": row.overhead_tokens,
        "execution_tokens": execution_tokens,
        "total_tokens": row.total_tokens,
        "usd_per_run": row.per_run.usd(),
        "usd_per_month": row.per_month.usd(),
    })
}
