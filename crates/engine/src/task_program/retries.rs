//! How often a task is tried, as the kernel wants to know it, and who tries it in which round. It does not know when.

use std::time::Duration;

use raddle_kernel::{FailureClass, RetryPolicy};
use raddle_model::workflow::{Task, TaskKind};

/// The policy of a task; one with another model for the case that its retries are used up has a second round.
pub(super) fn policy(task: &Task) -> RetryPolicy {
    let retry = &task.retry;
    let goes_on = matches!(&task.kind, TaskKind::Agent(agent) if agent.model_when_exhausted.is_some());
    let millis = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    let classes = match &retry.on {
        None => RetryPolicy::every_class(),
        Some(names) => names
            .iter()
            .filter_map(|n| FailureClass::from_name(n))
            .filter(|c| c.retryable())
            .fold(0, |mask, class| mask | 1 << class as u8),
    };
    RetryPolicy {
        max: u16::try_from(retry.max).unwrap_or(u16::MAX),
        rounds: if goes_on { 2 } else { 1 },
        initial_ms: millis(retry.initial),
        factor_milli: (retry.factor.clamp(0.0, 1000.0) * 1000.0) as u32,
        max_delay_ms: millis(retry.max_delay),
        jitter_milli: (retry.jitter.clamp(0.0, 1.0) * 1000.0) as u16,
        classes,
    }
}

/// The model that performs the attempt after so many failures in the place of the task's own, and why.
pub(super) fn other_model<'t>(task: &'t Task, policy: &RetryPolicy, failures: u32) -> Option<(&'t str, String)> {
    let TaskKind::Agent(agent) = &task.kind else { return None };
    let model = agent.model_when_exhausted.as_deref()?;
    let reason = || match &agent.model {
        Some(before) => format!("on_exhausted: the retries with {before} are used up"),
        None => "on_exhausted: the retries are used up".to_owned(),
    };
    (policy.round(failures) > 0).then(|| (model, reason()))
}
