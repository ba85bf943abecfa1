//! How a run stands as a whole, in one word. It does not know how that follows from the tasks.

/// How a run ended, or stands: a pure function of its tasks' states, of whether a person ended it, and of whether the
/// kernel was told that the budget lets nothing more start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Work is going on or could.
    Running = 0,
    /// Nothing can go on before a person or a quota lets it.
    Waiting = 1,
    /// Every required task completed and nothing failed. A skipped task is not required any more.
    Succeeded = 2,
    /// Every required task completed; some task failed safely or over soft dependencies only.
    Degraded = 3,
    /// A required task did not complete.
    Failed = 4,
    /// A person ended it.
    Cancelled = 5,
    /// Money ran out.
    BudgetExhausted = 6,
}

impl Outcome {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Waiting => "waiting",
            Outcome::Succeeded => "succeeded",
            Outcome::Degraded => "degraded",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::BudgetExhausted => "budget_exhausted",
        }
    }
}
