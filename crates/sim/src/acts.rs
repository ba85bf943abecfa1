//! What an attempt does: how long it takes, whether and how it fails, what it uses and whether its work is done in the
//! world. All of it follows from the seed and the task's turn. It does not know when the attempt runs.

use raddle_engine::attempt::{CostIs, Usage};
use raddle_kernel::FailureClass;
use raddle_model::workflow::{OutputFormat, Task};

use crate::chance::Chance;
use crate::faults::{Kind, Luck, Place};

/// How an attempt goes when nobody disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It ends well.
    Succeed,
    /// It fails; its work may be done all the same.
    Fail { class: FailureClass, done: bool },
    /// It goes on until it is stopped; its work may be done all the same.
    Hang { done: bool },
}

/// An attempt's script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) deed: Deed,
    pub(crate) takes_ms: u64,
    pub(crate) stop_takes_ms: u64,
    /// Something is refused to it on its way.
    pub(crate) denied: bool,
}

/// The script of a task's turn.
pub(crate) fn act(luck: &Luck, index: u32, task: &Task, turn: u32) -> Act {
    let place = Place::Turn(index, turn);
    let mut chance = luck.at(place, 0);
    let takes_ms = takes_ms(task, &mut chance);
    let stop_takes_ms = if chance.one_in(4) { 5000 + chance.below(300) } else { chance.below(50) };
    let mut act = Act { deed: Deed::Succeed, takes_ms, stop_takes_ms, denied: false };
    let id = &task.id;
    if let Some(mut chance) = luck.strikes(Kind::Failures, place) {
        let class = chance.pick(classes(task));
        let late = matches!(class, FailureClass::Output | FailureClass::Schema);
        let maybe = matches!(class, FailureClass::Exit | FailureClass::Signal | FailureClass::Tool);
        let done = late || maybe && chance.one_in(4);
        act.deed = Deed::Fail { class, done };
        luck.tell(Kind::Failures, place, || {
            format!("{id} fails at its turn {turn} ({}){}", class.name(), if done { ", its work done" } else { "" })
        });
    }
    if let Some(mut chance) = luck.strikes(Kind::Timeouts, place) {
        let done = chance.one_in(4);
        let silent = task.timeout.idle.filter(|_| chance.one_in(2));
        act.deed = match silent {
            Some(_) => Deed::Fail { class: FailureClass::Idle, done },
            None => Deed::Hang { done },
        };
        act.takes_ms = silent.map_or(act.takes_ms, |idle| idle.as_millis() as u64);
        luck.tell(Kind::Timeouts, place, || {
            let how = if silent.is_some() { "falls silent" } else { "hangs" };
            format!("{id} {how} at its turn {turn}{}", if done { ", its work done" } else { "" })
        });
    }
    if task.kind_name() == "agent" && luck.strikes(Kind::Limits, place).is_some() {
        act.deed = Deed::Fail { class: FailureClass::Quota, done: false };
        luck.tell(Kind::Limits, place, || format!("the provider of {id} refuses its turn {turn} (quota)"));
    }
    if let Some(mut chance) = luck.strikes(Kind::Denials, place) {
        act.denied = true;
        let fatal = chance.one_in(2);
        if fatal {
            act.deed = Deed::Fail { class: FailureClass::Permission, done: false };
        }
        luck.tell(Kind::Denials, place, || {
            let then = if fatal { ", and it fails (permission)" } else { ", and it goes on" };
            format!("something is refused to {id} at its turn {turn}{then}")
        });
    }
    act
}

/// The script of an attempt to undo a task.
pub(crate) fn undo(luck: &Luck, index: u32, task: &Task, turn: u32) -> Act {
    let place = Place::Turn(index, turn);
    let mut chance = luck.at(place, 0);
    let (takes_ms, stop_takes_ms) = (100 + chance.below(2000), chance.below(50));
    let mut act = Act { deed: Deed::Succeed, takes_ms, stop_takes_ms, denied: false };
    if luck.strikes(Kind::Failures, place).is_some() {
        act.deed = Deed::Fail { class: FailureClass::Exit, done: false };
        luck.tell(Kind::Failures, place, || format!("undoing {} fails (exit)", task.id));
    }
    act
}

/// What the task's executors can fail with.
fn classes(task: &Task) -> &'static [FailureClass] {
    use FailureClass::{Auth, Exit, Idle, Logic, Oom, Output, Schema, Signal, Start, Tool, TurnLimit};
    let reads = task.output_schema.is_some() || task.output_format == OutputFormat::Json;
    match (task.kind_name(), reads) {
        ("agent", false) => &[Exit, Exit, Start, Signal, Idle, Auth, TurnLimit],
        ("agent", true) => &[Exit, Exit, Start, Signal, Idle, Auth, TurnLimit, Output, Schema],
        ("tool", false) => &[Tool, Tool, Start],
        ("tool", true) => &[Tool, Tool, Start, Schema],
        ("code", false) => &[Logic, Logic, Oom],
        ("code", true) => &[Logic, Logic, Oom, Schema],
        (_, false) => &[Exit, Exit, Start, Signal, Oom],
        (_, true) => &[Exit, Exit, Start, Signal, Oom, Output],
    }
}

/// Around its estimate where it has one, else what such tasks usually take, always below its limits.
fn takes_ms(task: &Task, chance: &mut Chance) -> u64 {
    let limit = task.timeout.idle.map_or(task.timeout.wall, |idle| idle.min(task.timeout.wall));
    let usual = match (task.estimate.duration, task.kind_name()) {
        (Some(estimate), _) => estimate.as_millis() as u64,
        (None, "agent") => 60_000,
        (None, "tool") => 800,
        (None, "code") => 40,
        (None, _) => 5_000,
    };
    // A quarter to four times as long, short ones as often as long ones.
    let factor = chance.pick(&[25, 50, 80, 100, 120, 200, 400]);
    let most = (limit.as_millis() as u64).saturating_mul(9) / 10;
    (usual.saturating_mul(factor) / 100 + chance.below(20)).clamp(1, most.max(1))
}

/// What an agent's attempt reports of what it used; nothing else is metered.
pub(crate) fn usage(luck: &Luck, index: u32, task: &Task, turn: u32) -> Option<Usage> {
    if task.kind_name() != "agent" {
        return None;
    }
    let mut chance = luck.at(Place::Turn(index, turn), 100);
    let percent = 40 + chance.below(160);
    let tokens = task.estimate.tokens.unwrap_or(8_000).saturating_mul(percent) / 100;
    let cost = task.estimate.cost_usd.unwrap_or(0.05) * percent as f64 / 100.0;
    let used = Usage { input_tokens: tokens - tokens / 5, output_tokens: tokens / 5, ..Usage::default() };
    match chance.below(10) {
        0 => None,
        1 => Some(used),
        _ => Some(Usage { cost_usd: Some(cost), cost_is: CostIs::Reported, ..used }),
    }
}
