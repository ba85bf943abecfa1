//! A run that is over, as invariants see it. It does not know what they ask.

use raddle_engine::attempt::Usage;
use raddle_engine::fact::Fact;
use raddle_engine::ports::Journal as _;
use raddle_engine::view::RunView;
use raddle_kernel::TaskIx;
use raddle_model::invariants::{Ended, EndedTask};
use serde_json::Value;

use crate::world::World;

/// Reads the store of a finished story; the error says what is wrong with it.
pub(crate) fn read(world: &World<'_>) -> Result<(Ended, RunView), String> {
    let records = world.store.records();
    let engines = records.iter().filter(|r| matches!(r.fact, Fact::Resumed { .. })).count() as u64 + 1;
    let last = records.last().map_or(0, |record| record.at.0);
    let view = RunView::of(records).map_err(|e| format!("record {}: {}", e.seq, e.what))?;
    let journal = world.store.open_owner().map_err(|e| e.to_string())?;
    let begun = view.started_at.0;
    let since = |at: raddle_engine::Time| at.0.saturating_sub(begun);
    let of = |n: usize| {
        let (task, state) = (&view.tasks[n], view.run.state(TaskIx(n as u32)));
        let attempts = u64::from(view.run.attempts(TaskIx(n as u32)));
        let output = task.output.as_ref().and_then(|output| journal.load(output).ok());
        let completed = state.result() == Some("success");
        let ended = EndedTask {
            state: state.name().into(),
            result: state.result().unwrap_or_default().into(),
            kind: view.snapshot.tasks[n].kind.clone(),
            attempts,
            retries: attempts.saturating_sub(1),
            effects: u64::from(world.done(n as u32)),
            undone: u64::from(world.undone(n as u32)),
            output: output
                .filter(|_| completed)
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or(Value::Null),
            error_class: task.error.as_ref().map(|(class, _)| class.name().into()).unwrap_or_default(),
            error: task.error.as_ref().map(|(_, message)| message.to_string()).unwrap_or_default(),
            started_ms: task.attempts.first().map(|attempt| since(attempt.started_at)),
            finished_ms: task.finished_at.map(since),
        };
        (view.snapshot.tasks[n].id.clone(), ended)
    };
    let tasks: Vec<(String, EndedTask)> = (0..view.tasks.len()).map(of).collect();
    let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd, .. } = view.total_usage();
    let ended = Ended {
        outcome: view.outcome().name().into(),
        cost_usd: cost_usd.unwrap_or(0.0),
        tokens: input_tokens + output_tokens + cache_read_tokens + cache_write_tokens,
        attempts: tasks.iter().map(|(_, task)| task.attempts).sum(),
        engines,
        duration_ms: last.saturating_sub(begun),
        tasks,
    };
    Ok((ended, view))
}
