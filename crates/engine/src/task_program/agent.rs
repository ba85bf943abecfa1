//! From an agent's task to what its CLI is given: prompt, appended inputs, whose session it continues and what had been
//! used in it by then. It does not know how a CLI is called.

use raddle_kernel::{FailureClass, Phase, TaskIx};
use raddle_model::template::{Piece, Template};
use raddle_model::workflow::{self, Task, TaskKind};

use super::{TaskProgram, push_json_string};
use crate::attempt::{AgentWork, Conversation, CostIs, Failure, Session, Usage};
use crate::program::Context;

impl TaskProgram {
    pub(super) fn agent_work(
        &self,
        index: TaskIx,
        task: &Task,
        agent: &workflow::AgentTask,
        context: &Context<'_>,
    ) -> Result<AgentWork, Failure> {
        let mut prompt = self.resolve_text(&agent.prompt, context)?;
        if agent.append_inputs {
            self.append_inputs(&mut prompt, index, context)?;
        }
        if let Some(complaint) = self.complaints.get(&index) {
            prompt.push_str("\n\nThe previous answer was refused: ");
            prompt.push_str(complaint);
        }
        let system: Vec<&str> =
            agent.system_prompt.iter().map(String::as_str).chain(agent.skills.iter().map(|s| s.1.as_str())).collect();
        Ok(AgentWork {
            cli: agent.cli.clone(),
            prompt,
            model: self.models_chosen.get(&index).or(agent.model.as_ref()).cloned(),
            system_prompt: (!system.is_empty()).then(|| system.join("\n\n")),
            tools: agent.tools.clone(),
            schema: task.output_schema.clone(),
            begins_foreign: begins_foreign(&agent.prompt),
            conversation: self.conversation(task, agent.context, context)?,
        })
    }

    /// The outputs of hard dependencies as one JSON object under a heading; nothing without any.
    fn append_inputs(&self, prompt: &mut String, index: TaskIx, context: &Context<'_>) -> Result<(), Failure> {
        let declared = self.declared(index);
        let mut hard = declared.iter().filter(|(_, strength)| *strength == workflow::Strength::Hard).peekable();
        if hard.peek().is_none() {
            return Ok(());
        }
        prompt.push_str("\n\n## Inputs\n\n{");
        let mut first = true;
        for (dependency, _) in hard {
            if !std::mem::take(&mut first) {
                prompt.push(',');
            }
            push_json_string(prompt, &self.task(*dependency).id);
            prompt.push(':');
            let from = self.supplier(*dependency, context);
            match context.run.state(from).phase() {
                Phase::Completed => prompt.push_str(&self.output_text(from, context)?),
                _ => prompt.push_str("null"),
            }
        }
        prompt.push_str("}\n");
        Ok(())
    }

    /// A continued conversation must exist: a fresh one in its place would not know what it is expected to know.
    fn conversation(
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
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cache_read_tokens: a.cache_read_tokens.saturating_add(b.cache_read_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        cost_usd: a.cost_usd.zip(b.cost_usd).map(|(a, b)| a + b),
        cost_is: CostIs::Reported,
    }
}

fn begins_foreign(prompt: &Template) -> bool {
    match prompt {
        Template::Whole(_) => true,
        Template::Text(pieces) => matches!(pieces.first(), Some(Piece::Reference(_))),
        Template::Literal(_) | Template::List(_) | Template::Object(_) => false,
    }
}
