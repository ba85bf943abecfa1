//! Deliberate faults of the machinery around the engine. A simulation that does not notice them proves nothing. They
//! live in the simulator's own ports only; shipped code has no such switch.

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The journal says yes and keeps something else in place of a result.
    LoseResult,
    /// The journal says yes before anything is durable; what was not written yet dies with the process.
    LieAboutDurability,
    /// The journal takes records of an owner that was replaced.
    ForgetOwners,
    /// The dispatcher reports an end, with the right epoch, of an attempt that goes on.
    ReportTooEarly,
    /// The dispatcher does not end what it is told to end.
    IgnoreStops,
    /// A new owner does not claim that unheld attempts are lost.
    ForgetTakeOver,
    /// The gates let one more through than the caps say.
    RaiseCaps,
    /// The gates let fewer through than the caps say.
    LowerCaps,
    /// The engine does not know what comes first.
    ForgetPriorities,
    /// The engine runs effectful attempts of unknown fate again although the story says ask or fail.
    RerunInDoubt,
    /// The engine does not know the edges.
    ForgetEdges,
    /// The engine does not know the waves.
    ForgetWaves,
    /// The engine retries at once.
    HurryRetries,
    /// The engine retries once more than it may.
    RetryOnceMore,
    /// The engine treats failures that are values as failures.
    ForgetSafety,
    /// A resumed engine is not told the last record.
    LoadTooLittle,
    /// A resumed engine does not know what was spent before.
    ForgetSpending,
    /// The gates do not ask what the budget pays for.
    OverlookBudget,
    /// Nobody is asked.
    ForgetGates,
    /// What has changed since a yes looks the same.
    OverlookChange,
    /// Last failures are nobody's to judge.
    ForgetPeople,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 21] = [
        Self::LoseResult,
        Self::LieAboutDurability,
        Self::ForgetOwners,
        Self::ReportTooEarly,
        Self::IgnoreStops,
        Self::ForgetTakeOver,
        Self::RaiseCaps,
        Self::LowerCaps,
        Self::ForgetPriorities,
        Self::RerunInDoubt,
        Self::ForgetEdges,
        Self::ForgetWaves,
        Self::HurryRetries,
        Self::RetryOnceMore,
        Self::ForgetSafety,
        Self::LoadTooLittle,
        Self::ForgetSpending,
        Self::OverlookBudget,
        Self::ForgetGates,
        Self::OverlookChange,
        Self::ForgetPeople,
    ];
}
