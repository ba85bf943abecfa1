//! Which session an agent's task continues, and what had been used in it by then. It does not know how a session is
//! continued.

use raddle_kernel::{FailureClass, Phase, TaskIx};
use raddle_model::workflow::{self, Task, TaskKind};

use super::TaskProgram;
use crate::attempt::{Conversation, CostIs, Failure, Session, Usage};
use crate::program::Context;

impl TaskProgram {
    /// A continued conversation must exist: a fresh one in its place would not know what it is expected to know.
    pub(super) fn conversation(
        &self,
        task: &Task,
        context: workflow::AgentContext,
        at: &Context<'_>,
    ) -> Result<Conversation, Failure> {
        let Some(before) = context.after() else {
            let held_by_executor = matches!(context, workflow::AgentContext::Shared(_)) && task.executor == "task_tool";
            return Ok(if held_by_executor { Conversation::Shared } else { Conversation::Fresh });
        };
        let missing = |why: &str| {
            let told = format!("the conversation of {} cannot be continued: {why}", self.task(TaskIx(before)).id);
            Failure::new(FailureClass::Input, told)
        };
        if at.run.state(TaskIx(before)).phase() != Phase::Completed {
            return Err(missing("the task did not complete"));
        }
        let session = at.outputs.session(TaskIx(before)).ok_or_else(|| missing("its agent CLI named no session"))?;
        // Totals of CLIs run on along the whole chain of continued sessions.
        let mut used = known_cost(session.used);
        let mut next = self.continued(before);
        while let Some(earlier) = next {
            let Some(session) = at.outputs.session(TaskIx(earlier)) else {
                used.cost_usd = None;
                break;
            };
            used = sum_of(used, known_cost(session.used));
            next = self.continued(earlier);
        }
        Ok(Conversation::Fork(Box::new(Session { id: session.id.clone(), used })))
    }

    /// Whose conversation a task continues.
    fn continued(&self, task: u32) -> Option<u32> {
        match &self.task(TaskIx(task)).kind {
            TaskKind::Agent(agent) => agent.context.after(),
            _ => None,
        }
    }
}

/// A lower bound of a cost is no cost to be subtracted.
fn known_cost(usage: Usage) -> Usage {
    Usage { cost_usd: usage.cost_usd.filter(|_| usage.cost_is == CostIs::Reported), ..usage }
}

fn sum_of(a: Usage, b: Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens + b.input_tokens,
        output_tokens: a.output_tokens + b.output_tokens,
        cache_read_tokens: a.cache_read_tokens + b.cache_read_tokens,
        cache_write_tokens: a.cache_write_tokens + b.cache_write_tokens,
        cost_usd: a.cost_usd.zip(b.cost_usd).map(|(a, b)| a + b),
        cost_is: CostIs::Reported,
    }
}
