//! stub
/// stub
#[derive(Debug)] pub struct Run;
/// stub
#[derive(Debug)] pub struct Command;
/// How a run ended: a pure function of its tasks' states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Work is going on or could.
    Running = 0,
    /// A person or a quota is waited for and nothing else can go on.
    Waiting = 1,
    /// Every required task completed and nothing failed.
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
