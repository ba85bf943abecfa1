//! Chooses an executor for demands: hard ones filter, the rest is a preference; what cannot be had is a conflict with
//! its reasons, never a silent violation. It does not know how executors are found.

use std::fmt;

use crate::executor::Capabilities;

/// What is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// No task may disturb another.
    pub isolation: bool,
    /// So many tasks at once.
    pub parallel_tasks: Option<u32>,
    /// No tokens beyond the tasks' own.
    pub minimize_tokens: bool,
    /// Whether tasks must, or must not, see each other's conversation; `None`: it does not matter.
    pub shared_context: Option<bool>,
}

/// An executor that may be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Why it cannot be used here; `None` when it can.
    pub unavailable: Option<String>,
}

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The executor's name.
    pub executor: String,
    /// Why this one, in words.
    pub reason: String,
    /// The others that were refused, with the reason of each.
    pub refused: Vec<(String, String)>,
}

/// Nobody satisfies all demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The demands, in words.
    pub needs: String,
    /// What each executor lacks.
    pub refused: Vec<(String, String)>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no executor satisfies {}", self.needs)
    }
}

impl std::error::Error for Conflict {}

/// Chooses among the candidates; between equals the first one.
pub fn select(candidates: &[Candidate], needs: Needs) -> Result<Choice, Conflict> {
    let (mut fit, mut refused) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let what = &candidate.capabilities;
        let lacks = lacks(what, needs).or_else(|| {
            candidate.unavailable.as_ref().map(|why| format!("would do, but is not available here: {why}"))
        });
        match lacks {
            None => fit.push(what),
            Some(why) => refused.push((what.name.to_string(), why)),
        }
    }
    let tasks = needs.parallel_tasks.unwrap_or(1);
    let best = fit.into_iter().min_by_key(|c| (c.practical_max < tasks, c.token_overhead_per_task));
    let Some(best) = best else { return Err(Conflict { needs: in_words(needs), refused }) };
    let mut reason = format!("{}; {}", best.best_for, in_numbers(best));
    if best.practical_max < tasks {
        reason.push_str(&format!("; beyond {} tasks at once nothing is gained", best.practical_max));
    }
    Ok(Choice { executor: best.name.to_string(), reason, refused })
}

/// The first demand that is not satisfied, in words.
fn lacks(what: &Capabilities, needs: Needs) -> Option<String> {
    if needs.isolation && !what.true_isolation {
        return Some("has no isolation: its tasks share one session".to_owned());
    }
    match needs.shared_context {
        Some(true) if !what.shared_context => return Some("has no shared context".to_owned()),
        Some(false) if what.shared_context => return Some("shares the context between tasks".to_owned()),
        _ => {}
    }
    if let (Some(most), Some(wanted)) = (what.max_parallelism, needs.parallel_tasks)
        && wanted > most
    {
        return Some(format!("performs at most {most} tasks at once, not {wanted}"));
    }
    if needs.minimize_tokens && what.token_overhead_per_task > 0 {
        return Some(format!("costs {} tokens of overhead per task", what.token_overhead_per_task));
    }
    None
}

fn in_words(needs: Needs) -> String {
    let mut words = Vec::new();
    if needs.isolation {
        words.push("isolation".to_owned());
    }
    match needs.shared_context {
        Some(true) => words.push("a shared context".to_owned()),
        Some(false) => words.push("no shared context".to_owned()),
        None => {}
    }
    words.extend(needs.parallel_tasks.map(|n| format!("{n} tasks at once")));
    if needs.minimize_tokens {
        words.push("minimal tokens".to_owned());
    }
    if words.is_empty() { "being available".to_owned() } else { words.join(" and ") }
}

fn in_numbers(what: &Capabilities) -> String {
    format!("{} tokens of overhead per task, isolation {}", what.token_overhead_per_task, what.isolation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cheap one with room, and one that shares everything.
    fn candidates() -> Vec<Candidate> {
        let shared = Capabilities {
            token_overhead_per_task: 20_000,
            max_parallelism: Some(10),
            shared_context: true,
            true_isolation: false,
            ..Capabilities::of_agents("shared")
        };
        let few = Capabilities { practical_max: 10, ..Capabilities::of_agents("few") };
        let all = [few, Capabilities::of_agents("many"), shared];
        all.map(|capabilities| Candidate { capabilities, unavailable: None }).to_vec()
    }

    #[test]
    fn hard_demands_filter_and_the_rest_is_a_preference() {
        let any = Needs::default();
        let chosen = |needs| select(&candidates(), needs).map(|choice| choice.executor);
        assert_eq!(chosen(any).as_deref(), Ok("few"), "the first of equals");
        assert_eq!(chosen(Needs { parallel_tasks: Some(20), ..any }).as_deref(), Ok("many"));
        assert_eq!(
            chosen(Needs { shared_context: Some(true), parallel_tasks: Some(10), ..any }).as_deref(),
            Ok("shared")
        );
        for needs in [
            Needs { isolation: true, shared_context: Some(true), ..any },
            Needs { parallel_tasks: Some(11), shared_context: Some(true), ..any },
            Needs { minimize_tokens: true, shared_context: Some(true), ..any },
        ] {
            let conflict = chosen(needs).expect_err("nobody has both");
            assert_eq!(conflict.refused.len(), 3, "{conflict:?}");
        }
    }

    #[test]
    fn what_is_not_here_is_not_chosen() {
        let mut candidates = candidates();
        candidates[2].unavailable = Some("`claude` is not on the PATH".to_owned());
        let conflict =
            select(&candidates, Needs { shared_context: Some(true), ..Needs::default() }).expect_err("none left");
        assert!(conflict.refused[2].1.contains("not on the PATH"), "{conflict:?}");
    }
}
